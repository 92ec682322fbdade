"""How many actors each pool should have: a pure function of what waits, what runs and how long is left.

A pool's need is the demand bound of earliest-deadline-first scheduling (Baruah, Rosier and Howell, 1990) over the
utilisation we aim at: for every deadline, the predicted seconds due by then ÷ the seconds until then; the largest wins.
Due by then is what waits, and what will have come by then and be due, if work arrives as it has of late. What runs is
not interrupted: until it ends, its actor is nobody else's (the blocking term of Jeffay, Stanat and Martel, 1991).
Up at once, down only after `idle_s`, and a leased actor is never taken: where a starving pool needs the room, `feed`
falls below `desired`, and an actor gives way when its lease ends.

Everything that a decision rests on is in `Demand` and `Limits`, so that a logged one can be taken again (journal.py).
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Sequence
from itertools import accumulate
from typing import Literal, NamedTuple

import msgspec

from ray_cluster.horizon import Arriving, Due

MIN_SLACK_S = 1.0
"""A deadline nearer than this counts as this near: such a job is urgent, not infinitely so."""

AIM = 0.5
"""Share of the time left within which work should be done: it is not served by deadline alone, but lanes and tenants in
turn, and what it takes is only predicted. Sooner costs hardly more, since the same seconds are then paid earlier."""

LATE_WITHIN_S = 60.0
"""Jobs that can no longer be in time count as due in this: more actors at once would not save them."""

GIVE_WAY_S = 5.0
"""How long a pool without an actor waits before a busy pool must let one go: longer than an engine takes to load."""

LOOK_AHEAD_S = 600.0
"""What runs, and what keeps arriving, is reckoned with up to here, if no deadline is further away."""

LONG_AGO_S = 1e9

Cause = Literal["jobs", "floor", "rests", "nothing", "limit", "ceiling", "blocked", "gives-way"]
"""Why so many, as a closed set; the last four say that it is not what the pool would have."""

_GIVES_WAY: tuple[Cause, str] = ("gives-way", "gives way to a pool that has none")


class Demand(msgspec.Struct, frozen=True):
    """A pool as it is. Seconds on the promise clock's rate; `jobs`: (deadline − now, predicted remaining) of each."""

    pool: str
    max_actors: int
    jobs: tuple[tuple[float, float], ...] = ()  # running, one by one
    actors: int = 0  # living or starting
    leased: int = 0  # of them
    idle_s: tuple[float, ...] = ()  # since when each other one has had nothing to do
    starved_s: float = 0.0  # how long the oldest queued job has waited while there was no actor
    blocked: bool = False  # starting failed: not before the backoff is over
    queued: tuple[Due, ...] = ()  # by deadline
    arriving: tuple[Arriving, ...] = ()  # what keeps coming, lane by lane
    floor: int = 0  # actors that are kept whatever comes: the warm minimum, or what the timetable says now
    price_per_hour: float = 0.0  # of one actor, in whatever unit the ceiling has
    grown_s: float = LONG_AGO_S  # since it last got an actor


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """What holds for all pools together."""

    max_actors: int
    idle_s: float
    target_utilisation: float = 0.8
    cooldown_s: float = 0.0  # nothing idle is let go so soon after its pool has grown
    ceiling_per_hour: float | None = None  # what all actors may cost


class Decision(msgspec.Struct, frozen=True):
    """`desired` actors, of which `feed` may get further work; the rest end their lease and go."""

    desired: int
    feed: int
    reason: str
    cause: Cause = "nothing"


def needed(demand: Demand, target_utilisation: float) -> int:
    """Actors that meet every deadline that can be met; at least one if there is work, at most one for each job."""
    if not demand.queued and not demand.jobs:
        return 0
    due: list[Due] = [(LOOK_AHEAD_S, 0.0, 0)]
    for group in demand.queued:
        left_s, seconds, jobs = group
        due.append(group if left_s * jobs >= seconds and left_s > 0 else (max(left_s, LATE_WITHIN_S), seconds, jobs))
    due.sort()
    coming = [(rate / target_utilisation, within_s) for rate, within_s in demand.arriving]
    running = _Running([remaining_s for _, remaining_s in demand.jobs])
    due_s = worst = 0.0
    count = 0
    for left_s, seconds, jobs in due:
        due_s += seconds / target_utilisation
        count += jobs
        over_s = left_s * AIM
        over_s = max(over_s, MIN_SLACK_S)
        actors = due_s / over_s
        actors = min(actors, count) + running.taken(over_s)
        for rate, within_s in coming:
            if within_s < over_s:
                actors += rate * (1 - within_s / over_s)
        worst = max(worst, actors)
    return min(max(math.ceil(worst), 1), demand.max_actors)


class _Running:
    """What runs has an actor each until it ends, whatever is due before: how many those are over some time."""

    def __init__(self, remaining_s: list[float]) -> None:
        self._remaining_s = sorted(remaining_s)
        self._sums_s = [0.0, *accumulate(self._remaining_s)]

    def taken(self, over_s: float) -> float:
        """In the mean of the next `over_s`."""
        ended = bisect_left(self._remaining_s, over_s)
        return self._sums_s[ended] / over_s + len(self._remaining_s) - ended


def decide(
    demands: Sequence[Demand],
    *,
    max_actors: int,
    idle_s: float,
    target_utilisation: float = 0.8,
    cooldown_s: float = 0.0,
    ceiling_per_hour: float | None = None,
) -> dict[str, Decision]:
    """What every pool should have, within the total and the ceiling: leased actors, then need, floors and warmth."""
    wants = {d.pool: _Want.of(d, target_utilisation) for d in demands}
    room = _Room(demands, max_actors, ceiling_per_hour)
    while short := [d for d in demands if room.grant[d.pool] < wants[d.pool].need and room.fits(d)]:
        room.give(min(short, key=lambda d: _turn(d, room.grant[d.pool] / wants[d.pool].need)))
    for d in demands:
        while room.grant[d.pool] < wants[d.pool].floor and room.fits(d):
            room.give(d)
    grant = dict(room.grant)
    for d in demands:
        resting = sum(idle < idle_s or d.grown_s < cooldown_s for idle in d.idle_s)
        while room.grant[d.pool] < min(d.leased + resting, d.max_actors) and room.fits(d):
            room.give(d)
    giver = _giver(demands, grant)
    decisions = {}
    for d in demands:
        if d.pool == giver:
            cause, reason = _GIVES_WAY
        else:
            cause, reason = _reason(d, wants[d.pool], grant[d.pool], full=room.full)
        desired = room.grant[d.pool]
        decisions[d.pool] = Decision(desired, desired - (d.pool == giver), reason, cause)
    return decisions


class _Want(NamedTuple):
    """What a pool would have, if there were room."""

    need: int  # for its jobs; what is leased counts
    floor: int

    @classmethod
    def of(cls, d: Demand, target_utilisation: float) -> _Want:
        if d.blocked:
            return cls(d.leased, 0)
        return cls(max(d.leased, needed(d, target_utilisation)), min(d.floor, d.max_actors))


class _Room:
    """What may still be given; leased actors have theirs, whatever the limits say."""

    def __init__(self, demands: Sequence[Demand], max_actors: int, ceiling_per_hour: float | None) -> None:
        self.grant = {d.pool: d.leased for d in demands}
        self._left = max_actors - sum(self.grant.values())
        ceiling = math.inf if ceiling_per_hour is None else ceiling_per_hour
        self._money = ceiling - sum(d.leased * d.price_per_hour for d in demands)

    @property
    def full(self) -> bool:
        return self._left <= 0

    def fits(self, d: Demand) -> bool:
        return self._left > 0 and (d.price_per_hour <= self._money or not d.price_per_hour)

    def give(self, d: Demand) -> None:
        self.grant[d.pool] += 1
        self._left -= 1
        self._money -= d.price_per_hour


def _turn(d: Demand, share: float) -> tuple[bool, bool, float, float]:
    """Whose turn it is for the next actor: pools without one, the starving before others, then the worst served."""
    nearest_s = min((due[0] for due in (*d.queued, *d.jobs)), default=math.inf)
    return share > 0, d.starved_s < GIVE_WAY_S, share, nearest_s


def _giver(demands: Sequence[Demand], grant: dict[str, int]) -> str:
    """The pool that lets an actor go, if another has waited long enough for its first; '' for none."""
    if not any(d.starved_s >= GIVE_WAY_S and not grant[d.pool] and not d.blocked for d in demands):
        return ""
    return max(((d.leased, d.pool) for d in demands if d.leased), default=(0, ""))[1]


def _reason(d: Demand, want: _Want, grant: int, *, full: bool) -> tuple[Cause, str]:
    if d.blocked:
        return "blocked", "waits after a failed start"
    if grant < max(want):
        if full:
            return "limit", f"needs {max(want)}, the total limit leaves {grant}"
        return "ceiling", f"needs {max(want)}, the cost ceiling leaves {grant}"
    if want.floor > want.need:
        return "floor", f"keeps {want.floor} whatever comes"
    if want.need:
        jobs = len(d.jobs) + sum(due[2] for due in d.queued)
        return "jobs", f"{jobs} jobs need {want.need}"
    return ("rests", "rests") if d.actors else ("nothing", "nothing to do")
