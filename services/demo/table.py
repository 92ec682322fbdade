"""The one table: what was promised of each asset, and when it happened."""

from __future__ import annotations

import time
from collections.abc import Iterable

from rich.box import SIMPLE_HEAD
from rich.table import Table

from services.demo.erasure import Erasure, broken
from services.demo.terms import Ends

COLUMNS = ("asset", "data class", "promised", "clause", "due", "hidden", "unreadable", "gone")
CAPTION = "hidden, unreadable, gone: seconds after due"
WIDE = 100
"""Characters of a terminal; below, each column is as narrow as its longest word, which 80 have room for."""
_LONGEST_WORDS = (11, 7, 11, 11, 8, 6, 10, 5)


def rows(erasures: Iterable[Erasure]) -> list[tuple[str, ...]]:
    """The table's cells; times after `due` are relative to it."""
    return [
        (
            found.name,
            found.data_class.replace("_", " "),
            found.promised,
            found.clause,
            _due(found),
            _after(found.hidden_at, found.due),
            _after(found.unreadable_at, found.due),
            _after(found.gone_at, found.due),
        )
        for found in erasures
    ]


def table(erasures: list[Erasure], *, width: int) -> Table:
    """For a terminal of so many characters; what was not kept is red."""
    drawn = Table(box=SIMPLE_HEAD, show_edge=False, show_lines=True, padding=0)
    for name, longest in zip(COLUMNS, _LONGEST_WORDS, strict=True):
        drawn.add_column(name, width=longest if width < WIDE else None)
    for found, cells in zip(erasures, rows(erasures), strict=True):
        drawn.add_row(*cells, style="bold red" if broken(found) else None)
    return drawn


def _due(found: Erasure) -> str:
    words = {Ends.JOB: "as its job ends", Ends.RETURN: "once returned"}
    at = time.strftime("%d %b %H:%M:%S UTC", time.gmtime(found.due))
    return f"{words[found.ends]}\n{at}" if found.ends in words else at


def _after(moment: float, due: float) -> str:
    return f"{moment - due:+.2f}" if moment else "never"
