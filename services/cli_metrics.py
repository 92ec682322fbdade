"""`mayfly metrics`: anonymised statistics as they are published, and their schema."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Callable
from typing import Annotated

import msgspec
import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from services import settings
from services.local import interrupts
from services.local.running import settings_file
from services.topic_follow import follow, read_whole
from stream import topics
from stream.metrics import anonymity, cells
from stream.metrics.cells import Cell

app = typer.Typer(no_args_is_help=True, help="Anonymised statistics, as published in metrics.v1.")

OF_TABLE = 20


@app.callback()
def _metrics() -> None:
    """Anonymised statistics, as published in metrics.v1."""


@app.command()
def tail(
    app_name: Annotated[str, typer.Option("--app", help="Only cells of this app")] = "",
    last: Annotated[int, typer.Option("--last", "-n", min=0, help="Only so many of them; 0: all")] = OF_TABLE,
    forever: Annotated[bool, typer.Option("--follow", "-f", help="Go on, as with --json")] = False,  # noqa: FBT002
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line, for programs")] = False,  # noqa: FBT002
) -> None:
    """Show the newest published cells: users an hour, with noise, none of them below the threshold."""
    kafka = settings.load(settings_file()).kafka
    found: list[Cell] = []

    def keep(into: Callable[[Cell], None]) -> Callable[[bytes, bytes | None], None]:
        def apply(_key: bytes, value: bytes | None) -> None:
            if value is not None and (cell := cells.decode(value)).app == (app_name or cell.app):
                into(cell)

        return apply

    if forever:
        interrupts.run(follow(kafka, topics.STATISTICS, keep(_line), asyncio.Event()))
        return
    asyncio.run(read_whole(kafka, topics.STATISTICS, keep(found.append)))
    shown = found[-last:] if last else found
    if as_json:
        for cell in shown:
            _line(cell)
    else:
        Console().print(_table(shown))


@app.command()
def schema() -> None:
    """Print the JSON Schema of a record's value."""
    json.dump(cells.schema(), sys.stdout, indent=2, ensure_ascii=False)
    sys.stdout.write("\n")


def _line(cell: Cell) -> None:
    sys.stdout.write(msgspec.json.encode(cell).decode() + "\n")
    sys.stdout.flush()


def _table(found: list[Cell]) -> Table:
    within = f"± {anonymity.half_width()} in 19 of 20 cells"
    title = f"\n[bold]Users an hour[/], {within}; nothing below {anonymity.THRESHOLD} is published"
    table = Table(
        "hour", "app", "operation", "outcome", "users", "partitions", title=title, title_justify="left", box=SIMPLE_HEAD
    )
    for cell in found:
        heard = f"{cell.partitions} of {cell.of}"
        table.add_row(cell.hour, cell.app, cell.operation, cell.outcome, str(cell.count), heard)
    return table
