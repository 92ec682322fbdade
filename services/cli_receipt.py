"""`mayfly receipt verify`: does this file prove that this asset is gone? Offline; nobody is asked."""

from __future__ import annotations

import base64
import binascii
import time
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from stream.audit.receipt_file import verify as verify_file
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
    key: Annotated[str, typer.Option("--key", help="The operator's public key that you trust (base64)")] = "",
) -> None:
    """Exit 0 if the file proves that the asset was erased, 1 if it does not."""
    try:
        found = verify_file(file.read_bytes(), asset, salt, trusted_key=_trusted(key))
    except OSError as error:
        raise _fail(f"expected a readable file, got: {error.strerror}") from None
    except MayflyError as error:
        raise _fail(str(error)) from None
    gone = f", and absent since {_utc(found.absent.t_gone_ms)}" if found.absent else ""
    signed = "by the key you trust" if found.trusted else f"by key {found.key_id}, which you did not name as trusted"
    typer.echo(
        f"Proven: this asset ({found.data_class}, due {_utc(found.deadline_ms)}) was unreadable at "
        f"{_utc(found.receipt.t_unreadable_ms)}{gone}; signed {signed}."
    )


def _trusted(key: str) -> bytes | None:
    try:
        return base64.b64decode(key, validate=True) if key else None
    except binascii.Error:
        raise _fail("expected --key to be a public key in base64") from None


def _utc(milliseconds: int) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(milliseconds / 1000))


def _fail(sentence: str) -> typer.Exit:
    Console(stderr=True).print(f"Not proven: {sentence}", soft_wrap=True, highlight=False, markup=False)
    return typer.Exit(1)
