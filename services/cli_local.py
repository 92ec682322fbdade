"""`mayfly local`: what must stay on the user's device, done there. It opens no socket."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ray_cluster.device import files
from ray_cluster.device.operations import OPERATIONS, Options, Tools, find
from services.terminal import failed
from stream.errors import MayflyError

_NAMES = ", ".join(OPERATIONS)


def local(
    operation: Annotated[str, typer.Argument(help=f"One of {_NAMES}")],
    sources: Annotated[list[Path] | None, typer.Argument(metavar="FILE...", help="Pictures or clips")] = None,
    *,
    out: Annotated[Path, typer.Option(help="Folder for what is made")] = Path("out"),
    style: Annotated[str, typer.Option(help="Of a live effect: warm, crown, evening ...; else its first")] = "",
    strength: Annotated[float, typer.Option(min=0, max=1, help="Of retouching")] = 0.7,
    camera: Annotated[int, typer.Option(help="Film with this camera instead of reading files: 0 is the first")] = -1,
    seconds: Annotated[float, typer.Option(min=0.1, max=600, help="How long to film")] = 5.0,
) -> None:
    """Do on this device what its app's policy keeps off servers. Nothing is sent anywhere: no socket is opened."""
    options = Options(style=style, strength=strength)
    bad = 0
    try:
        chosen = find(operation)
        tools = Tools()
        out.mkdir(parents=True, exist_ok=True)
        if camera >= 0:
            _tell(files.film(chosen, out, tools, options, camera=camera, seconds=seconds))
        elif not sources:
            raise failed("Not done", "expected a file, or --camera; got neither")
    except OSError as error:
        raise failed("Not done", f"expected to write in {out}, got: {error.strerror}") from None
    except MayflyError as error:
        raise failed("Not done", str(error)) from None
    for source in sources or ():
        try:
            _tell(files.edit(chosen, source, out, tools, options))
        except OSError as error:
            bad += 1
            failed(f"{source.name} not done", f"expected to read it and to write in {out}, got: {error.strerror}")
        except MayflyError as error:
            bad += 1
            failed(f"{source.name} not done", str(error))
    if bad:
        raise typer.Exit(1)


def main() -> int:
    """The command alone, without those beside it (`services.command` says why)."""
    app = typer.Typer(name="mayfly", pretty_exceptions_enable=False)
    app.callback()(lambda: None)
    app.command()(local)
    app(prog_name="mayfly")
    return 0


def _tell(written: files.Written) -> None:
    rate = f", {written.drawn_per_s:.0f} frames/s drawn" if written.drawn_per_s else ""
    typer.echo(f"{written.path}{rate}")
