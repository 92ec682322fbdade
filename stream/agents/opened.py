"""Rows that unfinished jobs hold, opened once: a job reads each of its rows dozens of times on its way.

Plaintext that stays in memory must go when its key goes, so a row is kept only while a job under way holds it, and is
told only while its key lives. What jobs under way hold is not dropped with its bucket (`drops`): its key dies by an
erasure of its own, which forgets it here (`Book.detach`).
"""

from __future__ import annotations

from typing import Generic, TypeVar

from stream.ids import entry_of
from stream.vault.pages import KeyPages

ROWS = 4096
"""Kept at most; the oldest makes room. A waiting job is read when it moves, and is opened again then."""

R = TypeVar("R")


class Opened(Generic[R]):
    """Row id → what is in it. A row that was written anew is another value, and is opened again."""

    def __init__(self, pages: KeyPages, limit: int = ROWS) -> None:
        self._pages, self._limit = pages, limit
        self._rows: dict[str, tuple[bytes, bytes, bytes, R]] = {}

    def __repr__(self) -> str:
        return f"Opened({len(self._rows)})"

    def get(self, row_id: str, value: bytes) -> R | None:
        """What was opened of this very value, if its key lives."""
        kept = self._rows.get(row_id)
        if kept is None or kept[0] is not value:  # a decision that failed wrote one that the ledger never saw
            return None
        if not self._pages.holds(kept[1], kept[2]):
            self.forget(row_id)
            return None
        return kept[3]

    def keep(self, row_id: str, value: bytes, page: bytes, row: R) -> None:
        """`row` is what is in `value`, under a key of `page`."""
        self._rows.pop(row_id, None)
        self._rows[row_id] = (value, page, entry_of(row_id), row)
        if len(self._rows) > self._limit:
            del self._rows[next(iter(self._rows))]

    def forget(self, row_id: str) -> None:
        """Its key is dying, or no unfinished job holds it any more."""
        self._rows.pop(row_id, None)

    def clear(self) -> None:
        """All keys are wiped."""
        self._rows.clear()
