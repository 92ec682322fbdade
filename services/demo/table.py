"""The one table: what was promised of each asset, and when it happened."""

from __future__ import annotations

import time
from collections.abc import Iterable

from rich.table import Table

from services.demo.erasure import Erasure, broken
from services.demo.terms import Ends

_DAY_S, _HOUR_S, _MINUTE_S = 86_400, 3_600, 60

COLUMNS = ("asset", "data class", "promised", "clause", "due", "hidden", "unreadable", "gone")


def rows(erasures: Iterable[Erasure]) -> list[tuple[str, ...]]:
    """The table's cells; times after `due` are relative to it."""
    return [
        (
            found.name,
            found.data_class,
            found.promised,
            found.clause,
            _due(found),
            _after(found.hidden_at, found.due),
            _after(found.unreadable_at, found.due),
            _after(found.gone_at, found.due),
        )
        for found in erasures
    ]


def table(erasures: list[Erasure]) -> Table:
    """For a terminal; what was not kept is red."""
    drawn = Table(*COLUMNS, title="What was promised, and when it happened", title_justify="left", show_lines=True)
    for found, cells in zip(erasures, rows(erasures), strict=True):
        drawn.add_row(*cells, style="bold red" if broken(found) else None)
    return drawn


def span(seconds: float) -> str:
    """`2 d 23 h 43 min`, to the minute; below one, seconds."""
    if seconds < _MINUTE_S:
        return f"{seconds:.1f} s"
    days, rest = divmod(round(seconds / _MINUTE_S) * _MINUTE_S, _DAY_S)
    hours, rest = divmod(rest, _HOUR_S)
    parts = ((days, "d"), (hours, "h"), (rest // _MINUTE_S, "min"))
    return " ".join(f"{number} {unit}" for number, unit in parts if number)


def _due(found: Erasure) -> str:
    words = {Ends.JOB: "as its job ends", Ends.RETURN: "once returned"}
    at = time.strftime("%a %d %b %H:%M:%S UTC", time.gmtime(found.due))
    return f"{words[found.ends]}, {at}" if found.ends in words else at


def _after(moment: float, due: float) -> str:
    return f"{moment - due:+.2f} s" if moment else "never"
