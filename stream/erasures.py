"""Changes whose rows are committed and whose keys are not dead yet, in the order of their commits.

First they wait for a commit that takes their removals, which needs a root wrapped ahead: while the root store does not
answer, there is none. Then they wait until the older roots are destroyed. Only then is anybody told.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from stream.ledger import Change, Commit


@dataclass(slots=True, eq=False)
class Erasure:
    """One change. `commit`: the one that took its removals."""

    change: Change
    future: asyncio.Future[Commit]
    since: float
    commit: Commit | None = None


class Erasures:
    """Of one ledger. `clock`: seconds, for ages only."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._waiting: list[Erasure] = []  # for a commit
        self._taken: list[Erasure] = []  # by a commit, whose older roots live
        self._rows: Counter[bytes] = Counter()

    def __len__(self) -> int:
        return len(self._waiting) + len(self._taken)

    @property
    def waiting(self) -> bool:
        """Something waits for a commit."""
        return bool(self._waiting)

    @property
    def age_s(self) -> float:
        """Of the oldest; 0 where there is none."""
        oldest = self._taken or self._waiting
        return self._clock() - oldest[0].since if oldest else 0.0

    def touches(self, row: bytes) -> bool:
        """Whether one of them wrote this row: what it says has not come true yet."""
        return row in self._rows

    def add(self, change: Change, future: asyncio.Future[Commit]) -> None:
        """Its rows are in the commit being staged."""
        self._waiting.append(Erasure(change, future, self._clock()))
        self._rows.update(change.rows.keys())

    def take(self) -> list[Erasure]:
        """All that wait: the commit being staged removes their keys."""
        taken, self._waiting = self._waiting, []
        self._taken += taken
        return taken

    def dead(self, taken: list[Erasure]) -> None:
        """Their keys are dead, and so is everything that could open them: tell."""
        gone = set(taken)
        self._taken = [each for each in self._taken if each not in gone]
        for each in taken:
            for row in each.change.rows:
                self._rows[row] -= 1
                if not self._rows[row]:
                    del self._rows[row]
            if not each.future.done():
                assert each.commit is not None
                each.future.set_result(each.commit)

    def last(self) -> asyncio.Future[Commit] | None:
        """The future of the latest of them."""
        latest = self._waiting or self._taken
        return latest[-1].future if latest else None

    def fail(self, error: BaseException) -> None:
        """Nothing is known of them any more."""
        for each in (*self._taken, *self._waiting):
            if not each.future.done():
                each.future.set_exception(error)
        self._taken, self._waiting = [], []
        self._rows.clear()
