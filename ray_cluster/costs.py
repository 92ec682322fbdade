"""How many seconds of an actor a job will take: the registry's figure, corrected by what attempts really took. Pure.

Each attempt tells a ratio, actual ÷ seed. Ratios are kept in small windows: of the operation at about that size, of the
operation, of everything; the narrowest that has heard enough decides. So a size that the seed gets wrong is learnt by
itself, and on a slower machine even an operation that has not run yet is predicted slower. What is kept is numbers by
operation and size, in memory.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable

from stream.events.lease import UNKNOWN_SIZE, Size

WINDOW = 64
"""Attempts that a window remembers."""

ENOUGH = 5
"""With fewer attempts, the next wider window decides."""

TRIMMED = 0.05
"""Share at either end of a window that counts as no more than its neighbour: outliers."""

CHANGED = 8
"""So many in a row beyond nine tenths of the window are no outliers but another machine: the older are forgotten."""

UNSEEN_S = 1.0
"""Of an operation that no registry knows."""

MOST = 1e4
"""A ratio beyond this, or below its inverse, is taken for it."""


class Costs:
    """`seed(operation, size)`: the registry's seconds, None where it has no such operation."""

    def __init__(self, seed: Callable[[str, Size], float | None]) -> None:
        self._seed = seed
        self._windows: dict[tuple[str, ...] | tuple[str, int], _Window] = {}

    def predict(self, operation: str, size: Size = UNKNOWN_SIZE) -> float:
        """Expected seconds."""
        window = self._window(operation, size)
        return self._seed_s(operation, size) * (window.mean if window else 1.0)

    def quantile(self, operation: str, size: Size = UNKNOWN_SIZE, *, share: float) -> float:
        """Seconds that `share` of such jobs do not exceed; as expected, while too little is known."""
        window = self._window(operation, size)
        return self._seed_s(operation, size) * (window.quantile(share) if window else 1.0)

    def learn(self, operation: str, size: Size, seconds: float) -> float:
        """An attempt that succeeded took `seconds`; predicted ÷ actual, as it was predicted a moment ago.

        0, and nothing is learnt, for seconds that no attempt can have taken.
        """
        if not 0 < seconds < math.inf:
            return 0.0
        predicted = self.predict(operation, size)
        ratio = min(max(seconds / self._seed_s(operation, size), 1 / MOST), MOST)
        keys: list[tuple[str, ...] | tuple[str, int]] = [(operation, _class(size)), (operation,)]
        if self._seed(operation, size) is not None:  # else it says nothing of the machine
            keys.append(())
        for key in keys:
            self._windows.setdefault(key, _Window()).add(ratio)
        return predicted / seconds

    def _window(self, operation: str, size: Size) -> _Window | None:
        for key in ((operation, _class(size)), (operation,)):
            if (window := self._windows.get(key)) and len(window) >= ENOUGH:
                return window
        machine = self._windows.get(())
        return machine if machine and len(machine) >= ENOUGH and self._seed(operation, size) is not None else None

    def _seed_s(self, operation: str, size: Size) -> float:
        seed = self._seed(operation, size)
        return UNSEEN_S if seed is None else seed


class _Window:
    """The last ratios. `mean`: of all, with the outermost drawn in."""

    def __init__(self) -> None:
        self.mean = 1.0
        self._ratios: deque[float] = deque(maxlen=WINDOW)
        self._sorted: list[float] = []

    def __len__(self) -> int:
        return len(self._ratios)

    def add(self, ratio: float) -> None:
        self._ratios.append(ratio)
        if len(self._ratios) >= 2 * CHANGED:
            ratios = list(self._ratios)
            older, newest = sorted(ratios[:-CHANGED]), ratios[-CHANGED:]
            tenth = len(older) // 10
            if min(newest) > older[-1 - tenth] or max(newest) < older[tenth]:
                self._ratios = deque(newest, maxlen=WINDOW)
        self._sorted = sorted(self._ratios)
        cut = math.ceil(len(self._sorted) * TRIMMED) if len(self._sorted) >= ENOUGH else 0
        inner = self._sorted[cut : len(self._sorted) - cut]
        self.mean = (math.fsum(inner) + cut * (inner[0] + inner[-1])) / len(self._sorted)

    def quantile(self, share: float) -> float:
        return self._sorted[min(int(share * len(self._sorted)), len(self._sorted) - 1)]


def _class(size: Size) -> int:
    """Sizes within a factor of two are alike."""
    return math.floor(math.log2(size.units))
