"""`mayfly export`: a key pair to ask with, and the opening of what came back."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Annotated

import typer
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from services.terminal import failed
from stream.errors import MayflyError
from stream.vault.envelope import Recipient
from stream.vault.purposes import export_info

app = typer.Typer(no_args_is_help=True, help="Open what a request for access was answered with.")
_SEED_BYTES = 64


@app.callback()
def _export() -> None:
    """Open what a request for access was answered with."""


@app.command()
def key(path: Annotated[Path, typer.Argument(metavar="FILE", help="For the private key; it must be new")]) -> None:
    """Make a key pair. Prints the public key, for `public_key` of the request; whoever has FILE can open the answer."""
    mlkem, x25519 = MLKEM768PrivateKey.generate(), X25519PrivateKey.generate()
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError as error:
        raise failed("No key", f"expected FILE to be new and writable, got: {error.strerror}") from None
    with os.fdopen(handle, "wb") as file:
        file.write(mlkem.private_bytes_raw() + x25519.private_bytes_raw())
    typer.echo(Recipient(mlkem, x25519).public.hex())


@app.command("open")
def open_(
    path: Annotated[Path, typer.Argument(metavar="FILE", help="What GET …/export answered")],
    private: Annotated[Path, typer.Option("--key", help="The file that `mayfly export key` made")],
    request: Annotated[str, typer.Option(help="The request's id")],
    name: Annotated[str, typer.Option("--app", help="The app")],
) -> None:
    """Print the export as JSON."""
    try:
        opened = recipient_of(private).open_bytes(path.read_bytes(), export_info(request, name))
    except (OSError, ValueError, MayflyError) as error:
        raise failed("Not opened", str(error)) from None
    typer.echo(json.dumps(json.loads(opened), indent=2, ensure_ascii=False))


def recipient_of(private: Path) -> Recipient:
    """The holder of the key in this file. Raises OSError, ValueError."""
    raw = private.read_bytes()
    mlkem = MLKEM768PrivateKey.from_seed_bytes(raw[:_SEED_BYTES])
    return Recipient(mlkem, X25519PrivateKey.from_private_bytes(raw[_SEED_BYTES:]))
