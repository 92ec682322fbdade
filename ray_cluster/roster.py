"""Every engine actor as the scheduler sees it, and the matching of queued work to them. Pure; `now` is passed in."""

from __future__ import annotations

import math
from collections.abc import Iterator

import msgspec

from ray_cluster.autoscaler import Demand
from ray_cluster.lanes import Lanes
from ray_cluster.leases import Inventory, Proposal, Work

LEASES_PER_ACTOR = 6
"""One runs, one is prefetched: its inputs are fetched meanwhile. More only while all together cost `SHORT_S`."""

SHORT_S = 0.25
"""Of jobs as short as this, a hand-over takes longer than the work: the actor would wait for its owners' commits."""

PREFETCH_AHEAD_S = 1.0
"""A busy actor gets its next lease this long before it is predicted to be free: later jobs keep their choice."""

HEADROOM_MOST = 0.4
"""Share of a pool that may be left free; a pool of one or two actors leaves none."""

STOCK = 6
"""Key pairs of an actor that lie ready, so that a proposal costs no further round trip."""

AGE = 0.5
"""Least that a job is taken to have before it, ÷ what it has behind it."""


def remaining_s(cost_s: float, ran_s: float) -> float:
    """Predicted seconds that a job still takes which was predicted `cost_s` and has run for `ran_s`.

    The longer it has run, the longer it will: times of one operation have a long tail, and what outlives its prediction
    is of that tail (Harchol-Balter and Downey, SIGMETRICS 1996: half of what has reached an age reaches twice that).
    Taken to end at once, a long job would be given the next one to hold, and its actor be counted as free.
    """
    return max(cost_s - ran_s, AGE * ran_s, 0.0)


class Proposed(msgspec.Struct, frozen=True):
    """Work offered to its owner, not yet answered."""

    work: Work
    at: float


class Seat:
    """One actor: what it runs, what it was proposed for, which key pairs are left."""

    def __init__(self, name: str, pool: str) -> None:
        self.name = name
        self.pool = pool
        self.ready = False
        self.fed = True  # gets further work
        self.drained = False  # was asked to go
        self.retiring = False
        self.unplaced = False  # no machine has room for it yet
        self.jobs = 0
        self.grown_bytes = 0
        self.stock: dict[int, bytes] = {}
        self.proposed: dict[int, Proposed] = {}
        self.running: dict[str, Proposed] = {}  # `at`: since when
        self.held: frozenset[str] = frozenset()
        self.idle_since = 0.0

    def begin(self, now: float) -> None:
        """Its engines are loaded."""
        self.ready = True
        self.unplaced = False
        self.idle_since = now

    @property
    def load(self) -> int:
        """Slots taken, by leases and by proposals."""
        return len(self.held) + len(self.proposed)

    def busy_s(self, now: float) -> float:
        """Predicted seconds until it has nothing to do."""
        if not self.proposed and len(self.running) == 1:  # as most are, most of the time
            (only,) = self.running.values()
            return remaining_s(only.work.cost_s, now - only.at)
        taken = [*self.proposed.values(), *self.running.values()]
        began = min((p.at for p in taken), default=now)
        return remaining_s(sum(p.work.cost_s for p in taken), now - began)

    def idle_s(self, now: float) -> float:
        """Since when it has had nothing to do; one that is still starting has not yet had its chance.

        One without a machine keeps nothing warm.
        """
        if self.unplaced:
            return math.inf
        return now - self.idle_since if self.ready else 0.0

    def can_take(self, now: float) -> bool:
        """Whether the next job of its pool may be proposed to it now."""
        if not (self.ready and self.fed and self.stock) or self.drained or self.retiring:
            return False
        if any(p.work.alone for p in (*self.proposed.values(), *self.running.values())):
            return False
        load = len(self.held) + len(self.proposed)
        if load > 1:
            taken = [*self.proposed.values(), *self.running.values()]
            short = len(taken) >= load and sum(p.work.cost_s for p in taken) <= SHORT_S
            return short and load < LEASES_PER_ACTOR
        return load == 0 or self.busy_s(now) <= PREFETCH_AHEAD_S

    def tell(self, inventory: Inventory, now: float) -> None:
        """Take over what the actor said. A proposal whose key pair is gone was answered: it runs, or has ended."""
        was_busy = self.load > 0
        self.held = frozenset(inventory.held)
        for offer in [offer for offer in self.proposed if offer not in inventory.open]:
            self._answered(offer, now)
        self.running = {job: p for job, p in self.running.items() if job in self.held}
        self.stock = {offer: public for offer, public in self.stock.items() if offer in inventory.open}
        self.stock |= dict(inventory.fresh)
        if was_busy and not self.load:
            self.idle_since = now
        self.jobs, self.grown_bytes = inventory.jobs, inventory.grown_bytes

    def wear(self, max_jobs: int, max_growth_bytes: int) -> bool:
        """Drain it if it has run too many jobs, or grown too much; whether that is news."""
        worn = self.jobs >= max_jobs or self.grown_bytes >= max_growth_bytes
        news = worn and not self.drained
        self.drained |= worn
        return news

    def answered(self, offer: int, now: float) -> None:
        """The actor says that a task has used `offer`: its job runs, until the actor says otherwise."""
        self.held |= {self._answered(offer, now)}

    def _answered(self, offer: int, now: float) -> str:
        work = self.proposed.pop(offer).work
        self.running[work.job] = Proposed(work, now)
        return work.job


class Roster:
    """All seats."""

    def __init__(self) -> None:
        self.seats: dict[str, Seat] = {}
        self.paused: set[str] = set()  # pools that lease nothing more
        self._hungry_since: dict[str, float] = {}
        self._turned_back: dict[str, set[str]] = {}  # pool → jobs that wait for an actor of their own

    def of(self, pool: str) -> list[Seat]:
        """The seats of a pool that are not on their way out."""
        return [seat for seat in self.seats.values() if seat.pool == pool and not seat.retiring]

    def proposal_of(self, job: str) -> tuple[Seat, int] | None:
        """Who was proposed `job`, by which offer."""
        for seat in self.seats.values():
            for offer, proposed in seat.proposed.items():
                if proposed.work.job == job:
                    return seat, offer
        return None

    def overdue(self, before: float) -> list[tuple[Seat, int]]:
        """Proposals made before then and unanswered."""
        return [(seat, offer) for seat in self.seats.values() for offer, p in seat.proposed.items() if p.at < before]

    def match(self, lanes: Lanes, now: float, *, promise_now: float = -math.inf) -> Iterator[tuple[str, Proposal]]:
        """(worker, proposal) for as much of the queue as there is room for; idle actors first.

        Some idle actors are left to interactive jobs that may come: `Lanes.headroom`, within `HEADROOM_MOST`.
        Work that must be alone waits for an idle actor, and until it has one no busy actor of the pool gets more.
        """
        for pool in dict.fromkeys(seat.pool for seat in self.seats.values()):
            if pool in self.paused or not lanes.waiting(pool):
                continue
            seats = self.of(pool)
            free = [seat for seat in seats if seat.can_take(now)]
            turned_back = self._turned_back.setdefault(pool, set())
            turned_back &= {job for job in turned_back if job in lanes}
            while free:
                seat = min(free, key=lambda s: (s.load, s.busy_s(now)))
                if seat.load and turned_back:
                    break
                idle = sum(not s.load for s in free if s is not seat)
                spare = idle >= min(lanes.headroom(pool, promise_now), int(len(seats) * HEADROOM_MOST))
                work = lanes.pop(pool, now=promise_now, spare=spare)
                if not work:
                    break
                if work.alone and seat.load:
                    lanes.add(work)
                    turned_back.add(work.job)
                    break
                turned_back.discard(work.job)
                offer = next(iter(seat.stock))
                public = seat.stock.pop(offer)
                seat.proposed[offer] = Proposed(work, now)
                if not seat.can_take(now):
                    free.remove(seat)
                yield work.worker, Proposal(work.job, seat.name, public, offer)

    def feed(self, pool: str, count: int) -> None:
        """Give further work to `count` seats of the pool; the rest end their leases. Busy ones stay, idle ones go."""
        seats = self.of(pool)
        if count >= len(seats):
            for seat in seats:
                seat.fed = True
            return
        ranked = sorted(seats, key=lambda s: (s.drained, s.load == 0, s.name))
        for rank, seat in enumerate(ranked):
            seat.fed = rank < count

    def surplus(self, pool: str, desired: int) -> list[Seat]:
        """Idle seats to retire: those told to go, and of the others what exceeds `desired`, longest idle first."""
        idle = [seat for seat in self.of(pool) if (seat.ready and not seat.load) or seat.unplaced]
        staying = sorted((seat for seat in idle if not seat.drained), key=lambda s: (s.fed, s.idle_since))
        excess = max(self.staying(pool) - desired, 0)
        return [seat for seat in idle if seat.drained] + staying[:excess]

    def staying(self, pool: str) -> int:
        """How many seats of the pool were not told to go: those are replaced before they have gone."""
        return sum(not seat.drained for seat in self.of(pool))

    def demand(
        self, pool: str, lanes: Lanes, *, now: float, promise_now: float, max_actors: int, blocked: bool
    ) -> Demand:
        """What the autoscaler asks about a pool."""
        seats = self.of(pool)
        queued = lanes.due(pool, promise_now)
        idle: list[float] = []
        jobs: list[tuple[float, float]] = []
        for seat in seats:
            if not seat.load:
                idle.append(seat.idle_s(now))
            for taken in (seat.proposed, seat.running):
                jobs += [
                    (p.work.deadline - promise_now, remaining_s(p.work.cost_s, now - p.at)) for p in taken.values()
                ]
        if seats or not queued:
            self._hungry_since.pop(pool, None)
        else:
            self._hungry_since.setdefault(pool, now)
        return Demand(
            pool,
            max_actors=max_actors,
            queued=queued,
            arriving=lanes.arriving(pool, promise_now),
            jobs=tuple(jobs),
            actors=len(seats),
            leased=len(seats) - len(idle),
            idle_s=tuple(idle),
            starved_s=now - self._hungry_since.get(pool, now),
            blocked=blocked,
        )
