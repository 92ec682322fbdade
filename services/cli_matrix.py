"""`mayfly policy matrix`: every promise of every app, the rule that keeps it, and what shows it."""

from __future__ import annotations

from collections import Counter
from typing import Annotated

import msgspec
import typer
from rich.table import Table

from services.terminal import console
from stream.policies import matrix as rows_of
from stream.policies.matrix import KEPT, OPEN, ORGANISATIONAL, Row

WIDTH = 140
STYLES = {KEPT: "green", ORGANISATIONAL: "cyan", OPEN: "bold red"}
SIGNS = {KEPT: "●", ORGANISATIONAL: "◐", OPEN: "○"}


def matrix(
    *,
    app: Annotated[str, typer.Argument(help="Only this app's promises, one a line")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="For machines")] = False,
) -> None:
    """Every promise, by which rule it is kept, and which tests show that. Exits 1 while any is open."""
    found = [row for row in rows_of.rows() if not app or row.app == app]
    if not found:
        raise typer.BadParameter("expected an app that has a policy")
    if as_json:
        typer.echo(msgspec.json.encode({"rows": found}).decode())
    else:
        console(WIDTH).print(_listed(found) if app else _across(found))
        console(WIDTH).print(_summary(found))
    raise typer.Exit(any(row.status == OPEN for row in found))


def _listed(found: list[Row]) -> Table:
    table = Table(box=None, pad_edge=False, show_lines=False)
    for heading in ("", "promise", "clause", "rule", "shown by"):
        table.add_column(heading, overflow="fold")
    for row in found:
        line = row.toml.rsplit("/", 1)[-1]
        shown = f"{len(row.kept_by)} tests" if len(row.kept_by) > 1 else "1 test" if row.kept_by else "nothing"
        sign = f"[{STYLES[row.status]}]{SIGNS[row.status]}[/]"
        table.add_row(sign, row.promise, row.clause, line, row.note or shown)
    return table


def _across(found: list[Row]) -> Table:
    """The lines over all apps: one sign for each app, the worst of the rows that answer it."""
    apps = sorted({row.app for row in found})
    table = Table(box=None, pad_edge=False)
    table.add_column("promise")
    for name in apps:
        table.add_column(name, justify="center")
    worst = (OPEN, ORGANISATIONAL, KEPT)
    for line in dict.fromkeys(line for row in found for line in row.across):
        cells = []
        for name in apps:
            met = {row.status for row in found if row.app == name and line in row.across}
            status = next((one for one in worst if one in met), "")
            cells.append(f"[{STYLES[status]}]{SIGNS[status]}[/]" if status else "")
        table.add_row(line, *cells)
    return table


def _summary(found: list[Row]) -> str:
    counts = Counter(row.status for row in found)
    said = ", ".join(f"[{STYLES[status]}]{SIGNS[status]}[/] {counts[status]} {status}" for status in STYLES)
    return f"\n{len(found)} promises of {len({row.app for row in found})} apps: {said}"
