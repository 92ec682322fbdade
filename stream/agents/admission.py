"""Whether one more job may wait, and how long it will: pure functions of what everybody has claimed.

A lane of a pool is full when what waits in it is predicted to take all of the pool's actors longer than the lane's
limit, or is too many jobs. A full lane is closed to whoever has their share of it; a tenant with less than an equal
share is let in still, so that nobody's flood fills it for others. It may then hold more than its limit: by the sum
1 + 1/2 + … + 1/n for n tenants, and no more. Beside that, each tenant has limits of their own.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import ClassVar

import msgspec

from stream.errors import BadRequest
from stream.events.lease import Claim, Place, Standing
from stream.events.rows import Lane

LEAST_S, MOST_S = 1.0, 3600.0
"""Bounds of what a refusal says when to come again."""

UNKNOWN_S = 30.0
"""Until room comes where it depends on inputs that users have not sent yet."""

MAX_WAIT_S = {Lane.INTERACTIVE: 300.0, Lane.STANDARD: 3600.0, Lane.BATCH: 86_400.0}


class Limits(msgspec.Struct, frozen=True):
    """Of one lane of one pool. `max_wait_s`: predicted, with all the actors that the pool may have."""

    max_wait_s: Mapping[Lane, float] = msgspec.field(default_factory=lambda: dict(MAX_WAIT_S))
    max_waiting: int = 100_000  # jobs


class Limit(BadRequest):
    """Not now; nothing was begun. `retry_after_s`: until there is room, as predicted."""

    kind: ClassVar[str] = "limit"
    status: ClassVar[int] = 429

    def __init__(self, message: str, retry_after_s: float) -> None:
        super().__init__(message)
        self.retry_after_s = min(max(retry_after_s, LEAST_S), MOST_S)


class QueueFull(Limit):
    """The lane is full, and this tenant has their share of it."""

    kind: ClassVar[str] = "queue-full"


class TooManyJobs(Limit):
    """The tenant has as many unfinished jobs as they may."""

    kind: ClassVar[str] = "too-many-jobs"


class TooMuchWork(Limit):
    """The tenant's jobs would take more seconds of actors than they may have waiting."""

    kind: ClassVar[str] = "too-much-work"


class Ask(msgspec.Struct, frozen=True):
    """One more job, predicted to take `cost_s` of one actor. 0: the tenant has no such limit."""

    pool: str
    lane: str
    tenant: str
    cost_s: float
    max_jobs: int = 0
    max_work_s: float = 0.0


def check(standing: Standing, ask: Ask, limits: Limits) -> None:
    """Raises TooManyJobs, TooMuchWork or QueueFull."""
    jobs, work_s = 0, 0.0  # this tenant's, wherever they are
    own, own_s, total, total_s, tenants = 0, 0.0, 0, 0.0, 1  # what waits in this lane
    for claim in standing.claims:
        mine = claim.tenant == ask.tenant
        if mine:
            jobs, work_s = jobs + claim.waiting + claim.leased, work_s + claim.waiting_s + claim.leased_s
        if claim.lane == ask.lane and claim.waiting and claim.pool == ask.pool:
            total, total_s = total + claim.waiting, total_s + claim.waiting_s
            if mine:
                own, own_s = claim.waiting, claim.waiting_s
            else:
                tenants += 1
    if ask.max_jobs and jobs >= ask.max_jobs:
        each_s = work_s / jobs if work_s else UNKNOWN_S
        raise TooManyJobs(
            f"expected fewer than {ask.max_jobs} unfinished jobs of this tenant: wait for one to end",
            each_s / _rate(standing, ask),
        )
    if ask.max_work_s and work_s + ask.cost_s > ask.max_work_s:
        raise TooMuchWork(
            f"expected at most {ask.max_work_s:.0f} predicted seconds of unfinished work of this tenant",
            (work_s + ask.cost_s - ask.max_work_s) / _rate(standing, ask),
        )
    actors = max(1, standing.actors.get(ask.pool, 1))
    limit_s = limits.max_wait_s[Lane(ask.lane)] * actors
    over_s, own_over_s = total_s + ask.cost_s - limit_s, own_s + ask.cost_s - limit_s / tenants
    over, own_over = total + 1 - limits.max_waiting, own + 1 - limits.max_waiting // tenants
    if not own or not ((over_s > 0 and own_over_s > 0) or (over > 0 and own_over > 0)):
        return  # who has nothing there is let in, whatever the job takes
    over_s, own_over_s = max(over_s, over * total_s / total), max(own_over_s, own_over * own_s / own)
    raise QueueFull(
        f"expected room in the lane {ask.lane}: it is full, and this tenant has its share of it",
        min(over_s, own_over_s * tenants) / actors,
    )


def place(standing: Standing, ask: Ask) -> Place:
    """Where this job would wait if it came to the queue now, behind all that its tenant has in that lane.

    A fluid reading of the scheduler's order: tenants of a lane are served alike, lanes by their weights.
    """
    own_s, ahead, running_s, leased = 0.0, 0.0, 0.0, 0
    rivals: list[Claim] = []
    lanes: dict[str, tuple[float, int]] = {}
    for claim in standing.claims:
        if claim.pool != ask.pool:
            continue
        leased, running_s = leased + claim.leased, running_s + claim.leased_s / 2  # half done, in the mean
        if claim.lane != ask.lane:
            total_s, total = lanes.get(claim.lane, (0.0, 0))
            lanes[claim.lane] = total_s + claim.waiting_s, total + claim.waiting
        elif claim.tenant != ask.tenant:
            rivals.append(claim)
        else:
            own_s, ahead = own_s + claim.waiting_s, ahead + claim.waiting
    ahead_s, turn_s = own_s, own_s + standing.quantum_s / 2  # a turn begins anywhere in the round
    for claim in rivals:
        served_s = min(claim.waiting_s, turn_s)
        ahead_s, ahead = ahead_s + served_s, ahead + claim.waiting * _part(served_s, claim.waiting_s)
    in_lane_s, weight = ahead_s, standing.weights.get(ask.lane, 1.0)
    for lane, (total_s, total) in lanes.items():
        served_s = min(total_s, in_lane_s * standing.weights.get(lane, 1.0) / weight)
        ahead_s, ahead = ahead_s + served_s, ahead + total * _part(served_s, total_s)
    actors = max(1, standing.actors.get(ask.pool, 1))
    if leased < actors and not ahead:
        running_s = 0.0  # one is free
    return Place(position=round(ahead), eta_s=(ahead_s + running_s) / actors)


def without(standing: Standing, told: Iterable[Claim]) -> dict[tuple[str, str, str], Claim]:
    """What others have claimed: all, less what this worker had told when it heard that."""
    rest = {(claim.pool, claim.lane, claim.tenant): claim for claim in standing.claims}
    for mine in told:
        where = mine.pool, mine.lane, mine.tenant
        if (claim := rest.get(where)) is not None:
            rest[where] = msgspec.structs.replace(
                claim,
                waiting=max(0, claim.waiting - mine.waiting),
                waiting_s=max(0.0, claim.waiting_s - mine.waiting_s),
                leased=max(0, claim.leased - mine.leased),
                leased_s=max(0.0, claim.leased_s - mine.leased_s),
            )
    return rest


def _rate(standing: Standing, ask: Ask) -> float:
    """Seconds of work that are done for this tenant in a second, as long as the pool's others have work too."""
    tenants = {claim.tenant for claim in standing.claims if claim.pool == ask.pool} | {ask.tenant}
    return max(1, standing.actors.get(ask.pool, 1)) / len(tenants)


def _part(some: float, all_: float) -> float:
    return some / all_ if all_ > 0 else 0.0
