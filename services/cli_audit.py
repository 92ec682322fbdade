"""`mayfly audit`: copy the tamper-evident logs, check a copy offline, rotate the key that signs them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer

from services import audit_export, audit_rotate, settings
from services.local.running import running, settings_file
from services.public_key import parse_public_key
from services.terminal import failed
from stream.audit.checkpoint import decode_note, parse_note
from stream.audit.signer import key_id
from stream.audit.tiles import CHECKPOINT
from stream.audit.verify import Audited, Read, audit
from stream.errors import BadRequest, MayflyError

app = typer.Typer(no_args_is_help=True, help="The tamper-evident logs.")

Key = Annotated[str, typer.Option("--key", help="A public key that you trust to have signed the logs (hex or base64)")]


@app.callback()
def _audit() -> None:
    """The tamper-evident logs."""


@app.command()
def export(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Where the copies are, or will be")],
    url: Annotated[str, typer.Option("--url", envvar="API", help="Of the API; else the system that runs here")] = "",
    api_key: Annotated[str, typer.Option("--api-key", envvar="KEY", help="A tenant's")] = "",
) -> None:
    """Copy every log, or what is new of it. A log that shrank or forked is refused, and the copy left as it was."""
    if not api_key:
        raise failed("Not exported", "expected a tenant's API key in --api-key or KEY")
    try:
        found = asyncio.run(audit_export.export(url or running().url, api_key, folder))
    except MayflyError as error:
        raise failed("Not exported", str(error)) from None
    for each in found:
        size = each.audited.head.size
        typer.echo(f"{each.folder}: {size:,} leaves, {size - each.before:,} of them new")


@app.command()
def verify(
    path: Annotated[Path, typer.Argument(metavar="DIR|FILE", help="What `mayfly audit export` wrote, or a zip of it")],
    key: Key = "",
    since: Annotated[
        list[Path] | None, typer.Option("--since", help="A checkpoint that you kept: the log must go on from it")
    ] = None,
) -> None:
    """Check every log there offline: leaves, tiles, root, signatures, keys, order. Exit 1 if anything is wrong."""
    try:
        trusted = parse_public_key(key) if key else None
        seen = _checkpoints(since or [])
        for name, read in audit_export.logs_of(path):
            typer.echo(_summary(_audited(name, read, trusted, seen)))
        if seen:
            raise BadRequest(f"expected the log of every --since, found none of {', '.join(sorted(seen))}")
    except MayflyError as error:
        raise failed("Not proven", str(error)) from None


@app.command()
def rotate() -> None:
    """Replace the key that signs the logs, while the system runs. The former one is forgotten once no log needs it."""
    try:
        known = settings.load(settings_file())
        found = asyncio.run(audit_rotate.rotate(known, list(running().workers.values())))
    except MayflyError as error:
        raise failed("Not rotated", str(error)) from None
    typer.echo(f"All logs are signed by {found.key_id} from here on: {found.public.hex()}")


def _audited(name: str, read: Read, trusted: bytes | None, seen: dict[str, str]) -> Audited:
    """Whose failure names the log's folder, too."""
    try:
        origin = parse_note(decode_note(read(CHECKPOINT) or b"")).origin
        return audit(read, trusted_key=trusted, since=seen.pop(origin, None))
    except MayflyError as error:
        raise failed("Not proven", f"{name}: {error}") from None


def _summary(found: Audited) -> str:
    history = found.history
    counts: Mapping[str, int] = history.counts
    kinds = ", ".join(f"{counts[kind]:,} {kind}" for kind in sorted(counts))
    times = f"; erasures from {_utc(history.first_ms)} to {_utc(history.last_ms)}" if history.first_ms else ""
    handed = f", {history.disclosed:,} disclosed" if history.disclosed else ""
    chain = " → ".join(key_id(public) for _, public in history.keys)
    trust = "which leads from the key you trust" if found.trusted else "none of which you named as trusted"
    return (
        f"Proven: {found.head.origin}, {found.head.size:,} leaves: {kinds}. {history.covered:,} assets erased, "
        f"{history.held:,} kept by holds{handed}, {history.pending:,} receipts wait for their sweep{times}. "
        f"Signed by {chain}, {trust}."
    )


def _checkpoints(paths: list[Path]) -> dict[str, str]:
    try:
        notes = [decode_note(path.read_bytes()) for path in paths]
    except OSError as error:
        raise BadRequest(f"expected --since to be a readable file, got: {error.strerror}") from None
    return {parse_note(note).origin: note for note in notes}


def _utc(milliseconds: int) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(milliseconds / 1000))
