"""What operators do to pools and ask about them: on the scheduler's own lanes, seats and decisions. No I/O."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, ClassVar

from ray_cluster.desk import Desk
from ray_cluster.hand import NOTHING
from ray_cluster.helm import Helm
from ray_cluster.lanes import Lanes
from ray_cluster.leases import Work
from ray_cluster.orders import (
    Drain,
    Draining,
    Order,
    Pause,
    Reasons,
    Resume,
    Scale,
    Seats,
    SeatStatus,
    Waiting,
    WaitsFor,
    Why,
)
from ray_cluster.pools import Pool, PoolStatus
from ray_cluster.roster import Roster, Seat
from stream.errors import BadRequest

HELD: frozenset[WaitsFor] = frozenset(("resume", "retry", "machine", "ceiling", "maximum"))
"""What nobody but a person, or a machine that comes, will change."""


class UnknownPool(BadRequest):
    """There is no pool of this name."""

    kind: ClassVar[str] = "unknown-pool"


class UnknownActor(BadRequest):
    """There is no engine actor of this name, or no more."""

    kind: ClassVar[str] = "unknown-actor"


class Operating:
    """See the module. `status`: how a pool stands."""

    def __init__(
        self,
        pools: dict[str, Pool],
        *,
        lanes: Lanes,
        roster: Roster,
        desk: Desk,
        helm: Helm,
        status: Callable[[str], PoolStatus],
    ) -> None:
        self._pools, self._lanes, self._roster, self._desk = pools, lanes, roster, desk
        self._helm, self._status = helm, status

    def answer(self, order: Order) -> Any:
        """Do it; what `orders.py` says it answers. Raises UnknownPool, UnknownActor, BadScale."""
        match order:
            case Pause() | Resume():
                self._known(order.pool)
                hand = self._helm.hands.get(order.pool, NOTHING)
                self._helm.hands[order.pool] = type(hand)(isinstance(order, Pause), hand.min_actors, hand.max_actors)
                return self._status(order.pool)
            case Scale():
                usual = self._known(order.pool).max_actors
                hand = self._helm.hands.get(order.pool, NOTHING)
                self._helm.hands[order.pool] = hand.scaled(order.min_actors, order.max_actors, usual_max=usual)
                return self._status(order.pool)
            case Drain():
                return self._drain(order)
            case Seats():
                now = time.monotonic()
                return [seat_status(seat, now) for pool in self._asked(order.pool) for seat in self._all_of(pool)]
            case Why():
                return [self._reasons(pool, order.jobs) for pool in self._asked(order.pool)]

    def _drain(self, order: Drain) -> Draining:
        if order.actor:
            if order.actor not in self._roster.seats:
                raise UnknownActor("expected an engine actor that lives, got another name: `mayfly pool ls POOL`")
            seats = [self._roster.seats[order.actor]]
        else:
            self._known(order.pool)
            seats = self._all_of(order.pool)
        for seat in seats:
            seat.drained = True
        return Draining(tuple(seat.name for seat in seats), sum(seat.load for seat in seats))

    def _reasons(self, pool: str, most: int) -> Reasons:
        now, promise_now = time.monotonic(), time.time()
        seats = self._roster.of(pool)
        general = waits_for(
            paused=self._helm.hands.get(pool, NOTHING).paused,
            status=self._status(pool),
            cause=self._helm.decisions[pool].cause,
        )
        remaining_s = sum(seat.busy_s(now) for seat in seats)
        places = self._lanes.places(pool, actors=len(seats), remaining_s=remaining_s, now=promise_now)
        asleep = self._desk.asleep(pool)
        proposed = [p.work for seat in seats for p in seat.proposed.values()]
        waiting = [Waiting(work.job, work.lane, "worker") for work in (*asleep, *proposed)]
        idle = any(not seat.load for seat in seats if seat.ready)
        queued = {work.job: work for work in self._lanes.queued(pool)}
        waiting += [
            Waiting(job, queued[job].lane, _own(queued[job], general, idle=idle), place.position, place.eta_s)
            for job, place in list(places.items())[:most]
        ]
        lines = [line.at for line in self._helm.journal.lines if pool in line.decisions]
        return Reasons(
            status=self._status(pool),
            cause=self._helm.decisions[pool].cause,
            decided_at=lines[-1] if lines else 0.0,
            waiting=tuple(waiting[:most]),
            more=len(asleep) + len(proposed) + len(places) - min(most, len(waiting)),
            held=bool(places) and general in HELD,
        )

    def _known(self, pool: str) -> Pool:
        if pool not in self._pools:
            raise UnknownPool(f"expected a pool of {', '.join(self._pools)}, got another name")
        return self._pools[pool]

    def _asked(self, pool: str) -> list[str]:
        return [self._known(pool).name] if pool else list(self._pools)

    def _all_of(self, pool: str) -> list[Seat]:
        """Those on their way out too."""
        return [seat for seat in self._roster.seats.values() if seat.pool == pool]


def waits_for(*, paused: bool, status: PoolStatus, cause: str) -> WaitsFor:
    """What the next job of a pool waits for."""
    if paused:
        return "resume"
    if status.max_actors == 0:
        return "maximum"
    if not status.actors:
        if status.error and status.retry_in_s:
            return "retry"
        return "ceiling" if cause == "ceiling" else "limit" if cause == "limit" else "start"
    if status.unplaced == status.actors:
        return "machine"
    return "start" if status.starting == status.actors else "turn"


def seat_status(seat: Seat, now: float) -> SeatStatus:
    """One actor, in a word."""
    if seat.retiring:
        state = "leaving"
    elif not seat.ready:
        state = "unplaced" if seat.unplaced else "starting"
    elif seat.drained:
        state = "draining"
    else:
        state = "busy" if seat.load else "idle"
    return SeatStatus(
        seat.name,
        seat.pool,
        state,
        leases=seat.load,
        jobs=seat.jobs,
        grown_bytes=seat.grown_bytes,
        free_in_s=seat.busy_s(now),
    )


def _own(work: Work, general: WaitsFor, *, idle: bool) -> WaitsFor:
    return "alone" if general == "turn" and work.alone and not idle else general
