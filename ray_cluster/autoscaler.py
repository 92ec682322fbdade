"""How many actors each pool should have: a pure function of what waits, what runs and how long is left.

A pool's need is the demand bound of earliest-deadline-first scheduling (Baruah, Rosier and Howell, 1990) over the
utilisation we aim at: for every deadline, the predicted seconds due by then ÷ the seconds until then; the largest wins.
Up at once, down only after `idle_s`, and a leased actor is never taken: where a starving pool needs the room, `feed`
falls below `desired`, and an actor gives way when its lease ends.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import msgspec

MIN_SLACK_S = 1.0
"""A deadline nearer than this, or past, counts as this near: an overdue job is urgent, not infinitely so."""

GIVE_WAY_S = 5.0
"""How long a pool without an actor waits before a busy pool must let one go: longer than an engine takes to load."""


class Demand(msgspec.Struct, frozen=True):
    """A pool as it is. Seconds on the promise clock's rate; `jobs`: (deadline − now, predicted remaining) of each."""

    pool: str
    max_actors: int
    jobs: tuple[tuple[float, float], ...] = ()  # queued and running
    actors: int = 0  # living or starting
    leased: int = 0  # of them
    idle_s: tuple[float, ...] = ()  # since when each other one has had nothing to do
    starved_s: float = 0.0  # how long the oldest queued job has waited while there was no actor
    blocked: bool = False  # starting failed: not before the backoff is over


class Decision(msgspec.Struct, frozen=True):
    """`desired` actors, of which `feed` may get further work; the rest end their lease and go."""

    desired: int
    feed: int
    reason: str


def needed(demand: Demand, target_utilisation: float) -> int:
    """Actors that meet every deadline of `demand.jobs`; at least one if there are any, at most the pool's maximum."""
    due_s = worst = 0.0
    for left_s, cost_s in sorted(demand.jobs):
        due_s += max(0.0, cost_s)
        worst = max(worst, due_s / max(left_s, MIN_SLACK_S))
    wanted = math.ceil(min(worst / target_utilisation, demand.max_actors))
    return min(max(wanted, 1 if demand.jobs else 0), demand.max_actors)


def decide(
    demands: Sequence[Demand], *, max_actors: int, idle_s: float, target_utilisation: float = 0.8
) -> dict[str, Decision]:
    """What every pool should have, `max_actors` in total; leased actors count first, then need, then warmth."""
    need = {d.pool: max(d.leased, 0 if d.blocked else needed(d, target_utilisation)) for d in demands}
    grant = {d.pool: d.leased for d in demands}
    room = max_actors - sum(grant.values())
    while room > 0 and (short := [d for d in demands if grant[d.pool] < need[d.pool]]):
        first = min(short, key=lambda d: _turn(d, grant[d.pool] / need[d.pool]))
        grant[first.pool] += 1
        room -= 1
    warm = dict.fromkeys(grant, 0)
    for d in demands:
        resting = sum(idle < idle_s for idle in d.idle_s)
        warm[d.pool] = max(0, min(d.leased + resting, d.max_actors) - grant[d.pool])
        warm[d.pool] = min(warm[d.pool], max(0, room))
        room -= warm[d.pool]
    giver = _giver(demands, grant)
    return {
        d.pool: Decision(
            desired=grant[d.pool] + warm[d.pool],
            feed=grant[d.pool] + warm[d.pool] - (d.pool == giver),
            reason=_reason(d, need[d.pool], grant[d.pool], giver),
        )
        for d in demands
    }


def _turn(d: Demand, share: float) -> tuple[bool, bool, float, float]:
    """Whose turn it is for the next actor: pools without one, the starving before others, then the worst served."""
    return share > 0, d.starved_s < GIVE_WAY_S, share, min((left_s for left_s, _ in d.jobs), default=math.inf)


def _giver(demands: Sequence[Demand], grant: dict[str, int]) -> str:
    """The pool that lets an actor go, if another has waited long enough for its first; '' for none."""
    if not any(d.starved_s >= GIVE_WAY_S and not grant[d.pool] and not d.blocked for d in demands):
        return ""
    return max(((d.leased, d.pool) for d in demands if d.leased), default=(0, ""))[1]


def _reason(d: Demand, need: int, grant: int, giver: str) -> str:
    if d.blocked:
        return "waits after a failed start"
    if d.pool == giver:
        return "gives way to a pool that has none"
    if grant < need:
        return f"needs {need}, the total limit leaves {grant}"
    if need:
        return f"{len(d.jobs)} jobs need {need}"
    return "rests" if d.actors else "nothing to do"
