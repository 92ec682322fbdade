"""How often pictures were worked on in memory, told so that no single one can be seen.

A user's day, by which the published statistics are bounded, cannot be told here: a render names no user. So counts
leave memory another way: of hours that are over, and in steps of `STEP`. A cell's first step is shortened by a random
start, so that no number of renders that somebody knows of tells whether there was one more: one is seen with odds of
1 in `STEP`, and the sum stays right on average.
"""

from __future__ import annotations

import secrets
import time
from collections import Counter
from collections.abc import Callable, Iterable

from prometheus_client import REGISTRY
from prometheus_client.core import CounterMetricFamily, Metric

STEP = 50
HOUR_S = 3600.0

Cell = tuple[str, str, str]
"""App and operation, as the policies name them; succeeded, failed or left."""


class Renders:
    """Counts of one process. `now`: epoch seconds. `draw`: a random number below its argument."""

    def __init__(self, now: Callable[[], float] = time.time, draw: Callable[[int], int] = secrets.randbelow) -> None:
        self._now, self._draw = now, draw
        self._hour = -1
        self._open: Counter[Cell] = Counter()
        self._closed: Counter[Cell] = Counter()

    def __repr__(self) -> str:
        return "<Renders>"

    def count(self, cell: Cell, pictures: int) -> None:
        """So many pictures came to this end."""
        self._turn()
        self._open[cell] += pictures

    def released(self) -> dict[Cell, int]:
        """What may be told: multiples of `STEP`, of hours that are over."""
        self._turn()
        return {cell: count // STEP * STEP for cell, count in self._closed.items() if count >= STEP}

    def _turn(self) -> None:
        hour = int(self._now() // HOUR_S)
        if hour != self._hour:
            for cell, count in self._open.items():
                if cell not in self._closed:
                    self._closed[cell] = self._draw(STEP)
                self._closed[cell] += count
            self._open.clear()
            self._hour = hour


class _Collector:
    def collect(self) -> Iterable[Metric]:
        family = CounterMetricFamily(
            "mayfly_renders", "Pictures of RAM-only apps, in steps, of hours that are over.", labels=_LABELS
        )
        for cell, count in _RENDERS.released().items():
            family.add_metric(cell, count)
        yield family


_LABELS = ("app", "operation", "outcome")
_RENDERS = Renders()
REGISTRY.register(_Collector())


def count(app: str, operation: str, outcome: str, pictures: int) -> None:
    """Pictures of an app whose policy lets its uses be counted. `outcome`: succeeded | failed | left."""
    if pictures:
        _RENDERS.count((app, operation, outcome), pictures)
