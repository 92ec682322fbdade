"""`mayfly label`: what a file says of itself."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import msgspec
import typer

from ray_cluster.labels import verify as labels
from services.terminal import failed
from stream.errors import MayflyError

app = typer.Typer(no_args_is_help=True, help="Labels on what was made by AI.")


@app.callback()
def label() -> None:
    """Labels on what was made by AI."""


@app.command()
def verify(
    file: Annotated[Path, typer.Argument(help="A JPEG, PNG, WebP or MP4")],
    trust: Annotated[
        Path | None, typer.Option("--trust", metavar="PEM", help="Certificates of signers that you trust")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object, no sentences")] = False,  # noqa: FBT002
) -> None:
    """Exit 0 if the file says that it was made by AI and nothing signed was altered, else 1."""
    try:
        report = labels.verify(file.read_bytes(), trust.read_bytes() if trust else b"")
    except OSError as error:
        raise failed("Not looked at", f"expected a readable file, got: {error.strerror}") from None
    except MayflyError as error:
        raise failed("Not looked at", str(error)) from None
    if as_json:
        told = msgspec.to_builtins(report) | {"labelled": report.labelled}
        typer.echo(msgspec.json.format(msgspec.json.encode(told)).decode())
    else:
        typer.echo("\n".join(report.sentences()))
    if not report.labelled:
        raise typer.Exit(1)
