"""How many predicted seconds are due by when, kept up to date with each job that comes and goes.

The autoscaler looks several times a second, at queues of tens of thousands. So deadlines are counted in buckets of
several widths, and a look reads the narrow ones near, the wide ones far: a few hundred numbers, however long the queue.
"""

from __future__ import annotations

import math

WIDTHS_S = (0.25, 2.0, 16.0, 128.0, 1024.0, 8192.0)
"""Each eight times the one before."""

AHEAD = 4
"""A bucket lies at least this many widths ahead, so its deadlines are told at most 1/4 of what is left too early."""

EXACT = 64
"""So few buckets of the narrowest width are told as they are."""

FAR_S = 1e12
"""Deadlines beyond are counted there; "never" has no bucket."""

Due = tuple[float, float, int]
"""(seconds left, predicted seconds, jobs) of one bucket; what is left is told early rather than late."""

Arriving = tuple[float, float]
"""(seconds of work that arrive a second, how long after its arrival it is due) of one lane."""


class Horizon:
    """Queued work of a pool by deadline, on the promise clock."""

    def __init__(self) -> None:
        self._levels: list[dict[int, list[float]]] = [{} for _ in WIDTHS_S]  # bucket → [seconds, jobs]
        self._seconds = 0.0
        self._jobs = 0

    def __len__(self) -> int:
        return self._jobs

    def add(self, deadline: float, cost_s: float) -> None:
        """Count a job."""
        self._count(deadline, cost_s, 1)

    def remove(self, deadline: float, cost_s: float) -> None:
        """Count a job no longer; the very numbers that it was added with."""
        self._count(deadline, -cost_s, -1)

    def due(self, now: float) -> tuple[Due, ...]:
        """What is due, the nearest first; what is overdue in one bucket, with less than nothing left."""
        near = self._near(now) if len(self._levels[0]) > EXACT else self._exact(now)
        jobs = self._jobs - sum(due[2] for due in near)
        if not jobs:
            return tuple(near)
        seconds = max(0.0, self._seconds - math.fsum(due[1] for due in near))
        return ((-WIDTHS_S[0], seconds, jobs), *near)

    def _exact(self, now: float) -> list[Due]:
        return _told(self._levels[0], WIDTHS_S[0], now, math.floor(now / WIDTHS_S[0]))

    def _near(self, now: float) -> list[Due]:
        found: list[Due] = []
        edge = math.floor(now / WIDTHS_S[0]) * WIDTHS_S[0]
        for width, level, wider in zip(WIDTHS_S, self._levels, (*WIDTHS_S[1:], 0.0), strict=True):
            first = round(edge / width)
            if not wider:
                found += _told(level, width, now, first)
                break
            edge = math.ceil((now + AHEAD * wider) / wider) * wider
            found += _told(level, width, now, first, round(edge / width))
        return found

    def _count(self, deadline: float, cost_s: float, jobs: int) -> None:
        deadline = min(max(deadline, -FAR_S), FAR_S)
        self._jobs += jobs
        self._seconds = self._seconds + cost_s if self._jobs else 0.0
        for width, level in zip(WIDTHS_S, self._levels, strict=True):
            key = math.floor(deadline / width)
            cell = level.setdefault(key, [0.0, 0])
            cell[0] += cost_s
            cell[1] += jobs
            if not cell[1]:
                del level[key]


def _told(level: dict[int, list[float]], width: float, now: float, first: int, end: int | None = None) -> list[Due]:
    """The buckets from `first` to before `end`, in order."""
    if end is not None and end - first < len(level):
        keys = [key for key in range(first, end) if key in level]
    else:
        keys = sorted(key for key in level if key >= first and (end is None or key < end))
    found = []
    for key in keys:
        seconds, jobs = level[key]
        found.append((max(0.0, key * width - now), max(0.0, seconds), int(jobs)))
    return found
