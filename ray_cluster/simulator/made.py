"""Traces that are made up: the same seed, the same trace. What each is like is in docs/simulate.md."""

from __future__ import annotations

import bisect
import math
import random
from collections.abc import Callable

import msgspec

from ray_cluster.simulator.trace import Asked

TENANTS = 12
DAY_S = 14_400.0
"""What a made-up day lasts: one rise and fall of traffic, long enough for batch work to wait for the night."""

LOAD_ACTORS = 16
"""A made-up day holds as much work as so many actors can do in it."""

FAIL_ONCE, FAIL_FOR_GOOD = 0.1, 0.005
"""Odds of an attempt, and of a job."""

ALWAYS = 99
"""More attempts than any job gets."""


class Kind(msgspec.Struct, frozen=True):
    """Jobs of one sort. `median_s` and `spread`: of a log-normal; `at_once`: how many a request brings, from and to."""

    share: float  # of all jobs
    lane: str
    operation: str
    median_s: float
    spread: float
    deadline_s: float
    at_once: tuple[int, int] = (1, 1)


IMAGE = Kind(0.55, "interactive", "stylization", 3.0, 0.35, 30.0)
LOOK = Kind(0.10, "interactive", "detect", 0.1, 0.3, 10.0)
VIDEO = Kind(0.10, "standard", "ai_dance", 40.0, 0.5, 600.0)
BULK = Kind(0.25, "batch", "stylization", 3.0, 0.35, 7200.0, (50, 400))

Shape = Callable[[float], float]
"""Traffic at a share of the day, 1 in the mean."""


def diurnal(jobs: int, seed: int = 0) -> list[Asked]:
    """Images and videos whose traffic rises and falls once."""
    return _made((_share(IMAGE, 0.85), _share(VIDEO, 0.15)), jobs, seed, _wave)


def burst(jobs: int, seed: int = 0) -> list[Asked]:
    """Even traffic, with five times as much in three short spells."""
    return _made((_share(IMAGE, 0.85), _share(VIDEO, 0.15)), jobs, seed, _spells)


def mixed(jobs: int, seed: int = 0) -> list[Asked]:
    """Interactive images, videos that may take ten minutes, and bulk orders of images for later, over a day."""
    return _made((IMAGE, LOOK, VIDEO, BULK), jobs, seed, _wave)


def heavy(jobs: int, seed: int = 0) -> list[Asked]:
    """As mixed, but times of an operation spread over two orders of magnitude: predictions are hard."""
    kinds = (msgspec.structs.replace(IMAGE, spread=0.9), LOOK, msgspec.structs.replace(VIDEO, spread=1.2), BULK)
    return _made(kinds, jobs, seed, _wave)


def failing(jobs: int, seed: int = 0) -> list[Asked]:
    """As mixed, but one attempt in ten fails, and one job in two hundred always."""
    rng = random.Random(seed + 1)  # noqa: S311 - a trace is no secret
    made = []
    for job in mixed(jobs, seed):
        fails = ALWAYS if rng.random() < FAIL_FOR_GOOD else 0
        while fails < ALWAYS and rng.random() < FAIL_ONCE:
            fails += 1
        made.append(msgspec.structs.replace(job, fails=fails))
    return made


MAKERS = {"diurnal": diurnal, "burst": burst, "mixed": mixed, "heavy": heavy, "failing": failing}


def _made(kinds: tuple[Kind, ...], jobs: int, seed: int, shape: Shape) -> list[Asked]:
    rng = random.Random(seed)  # noqa: S311 - a trace is no secret
    when = _moments(shape)
    tenants = [1 / rank for rank in range(1, TENANTS + 1)]  # Zipf: the first asks for a third of all
    made: list[Asked] = []
    for kind in kinds:
        left = round(jobs * kind.share)
        while left > 0:
            arrival_s = when(rng.random())
            (tenant,) = rng.choices(range(TENANTS), tenants)
            for _ in range(min(left, rng.randint(*kind.at_once))):
                left -= 1
                gpu_s = kind.median_s * math.exp(rng.gauss(0, kind.spread))
                made.append(Asked(arrival_s, f"t{tenant}", kind.lane, kind.operation, gpu_s, kind.deadline_s))
    made.sort(key=lambda job: job.arrival_s)
    slower = math.fsum(job.gpu_s for job in made) / (LOAD_ACTORS * DAY_S)  # a longer trace has more days' worth
    return [msgspec.structs.replace(job, arrival_s=job.arrival_s * DAY_S * slower) for job in made]


def _moments(shape: Shape, steps: int = 2000) -> Callable[[float], float]:
    """From evenly spread to spread as `shape`: the inverse of its integral, both from 0 to 1."""
    sums = [0.0]
    for step in range(steps):
        sums.append(sums[-1] + shape((step + 0.5) / steps))

    def when(share: float) -> float:
        wanted = share * sums[-1]
        right = min(bisect.bisect_right(sums, wanted), steps)
        step_s = (wanted - sums[right - 1]) / (sums[right] - sums[right - 1])
        return (right - 1 + step_s) / steps

    return when


def _wave(share: float) -> float:
    return 1 - 0.8 * math.cos(2 * math.pi * share)


def _spells(share: float) -> float:
    return 5.0 if any(begin <= share < begin + 0.02 for begin in (0.2, 0.5, 0.8)) else 1.0


def _share(kind: Kind, share: float) -> Kind:
    return msgspec.structs.replace(kind, share=share)
