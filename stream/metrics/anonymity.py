"""What makes a count anonymous: the terms that are published with every number, and the mechanism that keeps them.

The unit is a user's day: a subject of one tenant, in one app, on one UTC day. A user counts at most once in a cell and
in at most `CELLS_A_DAY` cells a day, so that taking one user's day away changes the day's counts by at most that much,
all cells together. Each cell gets discrete Laplace noise of scale `CELLS_A_DAY / EPSILON`; then that user-day is
protected by EPSILON, pure differential privacy, over all hours of the day at once (Ghosh, Roughgarden and Sundararajan,
STOC'09; the L1 argument of Dwork et al., TCC'06). What is dropped below the threshold is dropped by its noisy value:
whoever looked at the true one there would tell it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import ClassVar

from stream.errors import BrokenPromise

K = 50
"""No cell of fewer users is published (but for `BELOW_K_ODDS`), and no smaller number ever."""
CELLS_A_DAY = 4
"""In how many cells of an app a user counts on one day, at one owner of their partition."""
EPSILON = 1.0
"""What one owner's counts of a user's day cost."""
OWNERS_A_DAY = 3
"""How many owners of one partition are heard on one day: each one forgets what the former knew, and bounds anew."""
BUDGET = EPSILON * OWNERS_A_DAY
"""What is ever spent on one app and day, and so the epsilon that holds whatever happens to workers."""
SCALE = CELLS_A_DAY / EPSILON
"""Of the noise; its standard deviation is about SCALE × √2."""
BELOW_K_ODDS = 1e-6
"""How likely a cell of K − 1 users is published."""

Release = Callable[[list[int]], list[int]]


class NoiseTooWeak(BrokenPromise):
    """The mechanism would cost more than the terms say: nothing is published by it."""

    kind: ClassVar[str] = "noise-too-weak"


def tail(least: int, scale: float = SCALE) -> float:
    """How likely the noise is at least `least`, exactly: the distribution is p(x) ∝ exp(−|x| / scale) on integers."""
    alpha = math.exp(-1 / scale)
    return alpha**least / (1 + alpha) if least > 0 else 1 - alpha ** (1 - least) / (1 + alpha)


def _threshold() -> int:
    least = 1
    while tail(least) > BELOW_K_ODDS:
        least += 1
    return K - 1 + least


THRESHOLD = _threshold()
"""The smallest noisy count that is published."""


def half_width(scale: float = SCALE, doubt: float = 0.05) -> int:
    """The noise is at most this far from zero, with a probability of 1 − doubt or more."""
    width = 0
    while 2 * tail(width + 1, scale) > doubt:
        width += 1
    return width


def mechanism(scale: float = SCALE) -> Release:
    """Counts in, noisy counts out; each call draws anew, so call it once for a cell. Raises NoiseTooWeak.

    OpenDP's own accountant has the last word on what it costs.
    """
    # 53 MB and most of a second: only the one worker that publishes pays for it, and not at start.
    from opendp.domains import atom_domain, vector_domain  # noqa: PLC0415
    from opendp.measurements import make_laplace  # noqa: PLC0415
    from opendp.metrics import l1_distance  # noqa: PLC0415
    from opendp.mod import enable_features  # noqa: PLC0415

    enable_features("contrib")
    measurement = make_laplace(vector_domain(atom_domain(T="i64")), l1_distance(T="i64"), scale=scale)
    if not measurement.check(CELLS_A_DAY, EPSILON):
        raise NoiseTooWeak(f"expected epsilon {EPSILON:g} for {CELLS_A_DAY} cells, scale {scale:g} costs more")
    return lambda counts: [int(noisy) for noisy in measurement(counts)]
