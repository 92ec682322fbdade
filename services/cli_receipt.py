"""`mayfly receipt verify`: does this file prove that this asset is gone? Offline; nobody is asked."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

from services.audit_export import logs_of
from services.public_key import parse_public_key
from services.terminal import failed
from stream.audit.checkpoint import decode_note, parse_note
from stream.audit.receipt_file import note_of
from stream.audit.receipt_file import verify as verify_file
from stream.audit.receipt_in_log import OtherLog, verify_in_log
from stream.audit.receipts import NEVER_MS
from stream.audit.tiles import CHECKPOINT
from stream.audit.verify import Audited, audit
from stream.errors import MayflyError

app = typer.Typer(no_args_is_help=True, help="Proofs of erasure.")


@app.callback()
def receipt() -> None:
    """Proofs of erasure."""


@app.command()
def verify(
    file: Annotated[Path, typer.Argument(help="What GET /v1/receipts/{partition}/{leaf} returned")],
    asset: Annotated[str, typer.Option("--id", help="The asset's id, from the job's status")],
    salt: Annotated[str, typer.Option("--salt", help="The asset's salt, from the job's status")],
    key: Annotated[str, typer.Option("--key", help="The operator's public key that you trust (hex or base64)")] = "",
    log: Annotated[
        Path | None,
        typer.Option("--log", metavar="DIR", help="What `mayfly audit export` wrote: check against it, too"),
    ] = None,
) -> None:
    """Exit 0 if the file proves that the asset was erased, 1 if it does not."""
    try:
        raw, trusted = file.read_bytes(), parse_public_key(key) if key else None
        if log is None:
            found = verify_file(raw, asset, salt, trusted_key=trusted)
        else:
            found = verify_in_log(raw, asset, salt, _log(log, raw, trusted))
    except OSError as error:
        raise failed("Not proven", f"expected a readable file, got: {error.strerror}") from None
    except MayflyError as error:
        raise failed("Not proven", str(error)) from None
    gone = f", and absent since {_utc(found.absent.t_gone_ms)}" if found.absent else ""
    signed = "by the key you trust" if found.trusted else f"by key {found.key_id}, which you did not name as trusted"
    typer.echo(
        f"Proven: this asset ({found.data_class}, due {_due(found.deadline_ms)}) was unreadable at "
        f"{_utc(found.receipt.t_unreadable_ms)}{gone}; signed {signed}."
    )


def _log(folder: Path, file: bytes, trusted: bytes | None) -> Audited:
    """The copy of the log that the receipt says it is from, once it has passed its audit."""
    origin = parse_note(note_of(file)).origin
    for _, read in logs_of(folder):
        if parse_note(decode_note(read(CHECKPOINT) or b"")).origin == origin:
            return audit(read, trusted_key=trusted)
    raise OtherLog(f"expected a copy of {origin} in {folder}, found those of other logs")


def _due(ms: int) -> str:
    return "when its user said so" if ms == NEVER_MS else _utc(ms)


def _utc(milliseconds: int) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(milliseconds / 1000))
