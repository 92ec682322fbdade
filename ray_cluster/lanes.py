"""Who is next: three weighted lanes, inside a lane tenants in turn, inside a tenant the earliest deadline.

Pure and single-threaded. A lane's weight is its share of actor-seconds while the others have work too (stride
scheduling: Waldspurger and Weihl, 1995), so batch is slow and never starves. Tenants share a lane by deficit round
robin (Shreedhar and Varghese, SIGCOMM 1995), charged in predicted seconds: ten short jobs weigh as much as a long one.

Two rules keep that order good where it alone is not (docs/scheduling.md). Earliest deadline first collapses under
overload, since each late job makes the next one late (Locke, 1986; Buttazzo, Spuri and Sensini, RTSS 1995): a job that
can no longer be in time goes to a lane of its own, so that others can. And a job that runs is not interrupted: so that
interactive jobs need not wait for one to end, batch leaves some actors free (`headroom`), unless owed or in haste.
"""

from __future__ import annotations

import copy
import math
from bisect import bisect_left, insort
from collections import deque
from collections.abc import Iterator
from typing import ClassVar

from ray_cluster.horizon import FAR_S, Arriving, Due, Horizon
from ray_cluster.leases import Place, Work
from stream.errors import BadRequest

LANE_WEIGHTS = {"interactive": 12.0, "standard": 4.0, "batch": 1.0}
"""Shares of a pool's seconds; the order is that of ties."""

LATE = "late"
"""Where jobs go on that can no longer be in time: slowly, and always."""

_WEIGHTS = LANE_WEIGHTS | {LATE: 1.0}
_FIRST = next(iter(LANE_WEIGHTS))
_PATIENT = ("batch", LATE)  # wait for an actor that interactive jobs will not miss

OWED_DEARER = 4.0
"""What a patient lane is served because it is owed counts so many times. Under overload its share would otherwise be
taken from deadlines that can still be met, for jobs that have hours, or that are late anyway."""

FLOW_OVER_S = 120.0
"""Time constant of the mean of what arrives."""

FLOW_FROM = 0.05
"""Of less work than this, in actors that it keeps busy, nobody needs to think."""

HEADROOM = 1.5
"""Actors that are left free for interactive work, ÷ the root of those that it keeps busy."""

HASTE = 0.5
"""Share of the time that jobs of its lane have in the mean: one with no more to spare does not care about headroom."""

QUANTUM_S = 5.0
"""What a tenant may spend per turn: about one video, so that a turn rarely has to be saved up for."""

MIN_CHARGE_S = 0.001
MAX_CHARGE_S = 3600.0


class BadWork(BadRequest):
    """A job that names no lane, or whose cost or deadline is no number."""

    kind: ClassVar[str] = "bad-work"


class Lanes:
    """Queued work of every pool. A job is in it at most once."""

    def __init__(self) -> None:
        self._pools: dict[str, _Pool] = {}
        self._jobs: dict[str, tuple[Work, int]] = {}
        self._added = 0

    def __len__(self) -> int:
        return len(self._jobs)

    def __contains__(self, job: object) -> bool:
        return job in self._jobs

    def add(self, work: Work, *, now: float = -math.inf) -> None:
        """Queue `work`. Raises `BadWork`. `now` on the promise clock, if it has just arrived.

        A job that is queued already keeps its turn, unless another worker asks: its partition has changed hands, and
        whoever asked before would decline. Likewise for another pool: the job has gone on to its next stage.
        """
        if work.lane not in LANE_WEIGHTS or not work.cost_s >= 0 or math.isnan(work.deadline):
            raise BadWork(
                f"expected a lane of {', '.join(LANE_WEIGHTS)}, a cost and a deadline in seconds, "
                f"got {work.lane!r}, {work.cost_s}, {work.deadline}"
            )
        if work.job in self._jobs:
            queued, _ = self._jobs[work.job]
            if (queued.worker, queued.pool) == (work.worker, work.pool):
                return
            self.withdraw(work.job)
        self._added += 1
        self._jobs[work.job] = (work, self._added)
        pool = self._pools.setdefault(work.pool, _Pool())
        pool.horizon.add(work.deadline, charge_s(work))
        pool.add(work, self._added)
        if now > -math.inf:
            pool.flows[work.lane].add(work, now)

    def withdraw(self, job: str) -> Work | None:
        """Forget `job`; what was queued of it."""
        work, number = self._jobs.pop(job, (None, 0))
        if work:
            pool = self._pools[work.pool]
            pool.horizon.remove(work.deadline, charge_s(work))
            pool.remove(work, number)
        return work

    def withdraw_of(self, worker: str) -> list[Work]:
        """Forget all that `worker` queued."""
        jobs = [work.job for work, _ in self._jobs.values() if work.worker == worker]
        return [work for job in jobs if (work := self.withdraw(job))]

    def pop(self, pool: str, *, now: float = -math.inf, spare: bool = True) -> Work | None:
        """The next job of `pool`, charged to its lane and tenant.

        `now` on the promise clock: a job that could not end in time any more steps aside. Without `spare`, batch and
        late jobs only if they are owed, or in haste.
        """
        queue = self._pools.get(pool)
        work = queue.pop(now, spare=spare) if queue else None
        if queue and work:
            queue.horizon.remove(work.deadline, charge_s(work))
            del self._jobs[work.job]
        return work

    def queued(self, pool: str) -> list[Work]:
        """What waits for `pool`, oldest first."""
        return [work for work, _ in self._jobs.values() if work.pool == pool]

    def waiting(self, pool: str) -> int:
        """How many jobs wait for `pool`."""
        return len(self._pools[pool].horizon) if pool in self._pools else 0

    def due(self, pool: str, now: float) -> tuple[Due, ...]:
        """What waits for `pool`, by deadline; see `Horizon.due`."""
        return self._pools[pool].horizon.due(now) if pool in self._pools else ()

    def arriving(self, pool: str, now: float) -> tuple[Arriving, ...]:
        """What keeps coming for `pool`, lane by lane, in the mean of some minutes."""
        flows = self._pools[pool].flows.values() if pool in self._pools else ()
        return tuple((rate, flow.within_s) for flow in flows if (rate := flow.rate(now)) >= FLOW_FROM)

    def headroom(self, pool: str, now: float) -> int:
        """How many actors should be free for interactive jobs to come.

        Square-root staffing (Halfin and Whitt, 1981): what comes varies about a mean of n by about √n; with 1.5 √n
        more than n, one job in twelve waits.
        """
        rate = self._pools[pool].flows[_FIRST].rate(now) if pool in self._pools else 0.0
        return math.ceil(HEADROOM * math.sqrt(rate)) if rate >= FLOW_FROM else 0

    def order(self, pool: str, *, now: float = -math.inf) -> Iterator[Work]:
        """What `pop` would return, call after call, if nothing else came and no time passed."""
        queue = copy.deepcopy(self._pools.get(pool, _Pool()))
        while work := queue.pop(now, spare=True):
            yield work

    def places(
        self, pool: str, *, actors: int = 1, remaining_s: float = 0.0, now: float = -math.inf
    ) -> dict[str, Place]:
        """Every queued job's place, given the `actors` that share the pool and the seconds they are still busy."""
        places: dict[str, Place] = {}
        ahead_s = remaining_s
        for position, work in enumerate(self.order(pool, now=now)):
            places[work.job] = Place(position, ahead_s / max(1, actors))
            ahead_s += charge_s(work)
        return places

    def position(self, job: str, *, actors: int = 1, remaining_s: float = 0.0) -> Place | None:
        """The place of one job; None when it is not queued."""
        if job not in self._jobs:
            return None
        return self.places(self._jobs[job][0].pool, actors=actors, remaining_s=remaining_s)[job]


def charge_s(work: Work) -> float:
    """What a job costs its lane and tenant: predicted seconds, within bounds that keep turns finite."""
    return min(max(work.cost_s, MIN_CHARGE_S), MAX_CHARGE_S)


class _Pool:
    """The lanes of one pool. `pass_` of a lane: seconds served ÷ weight; the lowest is next."""

    def __init__(self) -> None:
        self.horizon = Horizon()
        self._lanes = {lane: _Lane() for lane in _WEIGHTS}
        self._pass = dict.fromkeys(_WEIGHTS, 0.0)
        self._now = 0.0
        self._late: set[str] = set()
        self.flows = {lane: _Flow() for lane in LANE_WEIGHTS}

    def add(self, work: Work, number: int) -> None:
        self._enter(work.lane, work, number)

    def remove(self, work: Work, number: int) -> None:
        late = work.job in self._late
        self._late.discard(work.job)
        self._lanes[LATE if late else work.lane].remove(work, number)

    def pop(self, now: float, *, spare: bool) -> Work | None:
        while lane := self._next(now, spare=spare):
            queue = self._lanes[lane]
            if lane != LATE:
                for work, number in queue.too_late(now):
                    self._late.add(work.job)
                    self._enter(LATE, work, number)
                if not queue.turns:
                    continue
            dearer = 1.0 if spare or not self._is_patient(lane, now) else OWED_DEARER
            work = queue.pop()
            self._late.discard(work.job)
            self._now = self._pass[lane]
            self._pass[lane] += charge_s(work) * dearer / _WEIGHTS[lane]
            return work
        return None

    def _next(self, now: float, *, spare: bool) -> str | None:
        """The lane whose turn it is. Without spare actors, one is owed whose share fell behind those just served."""
        waiting = [
            lane
            for lane, queue in self._lanes.items()
            if queue.turns and (spare or self._pass[lane] < self._now or not self._is_patient(lane, now))
        ]
        return min(waiting, key=self._pass.__getitem__, default=None)

    def _is_patient(self, lane: str, now: float) -> bool:
        """Whether it waits for a spare actor: who has little time left does not."""
        if lane not in _PATIENT:
            return False
        return lane == LATE or not self._lanes[lane].is_in_haste(now + HASTE * self.flows[lane].within_s)

    def _enter(self, lane: str, work: Work, number: int) -> None:
        queue = self._lanes[lane]
        if not queue.turns:  # idleness earns nothing: a lane that slept starts level with the others
            self._pass[lane] = max(self._pass[lane], self._now)
        queue.add(work, number)

    def __deepcopy__(self, memo: object) -> _Pool:
        twin = _Pool()
        twin._lanes = {lane: queue.copy() for lane, queue in self._lanes.items()}
        twin._pass, twin._now, twin._late = dict(self._pass), self._now, set(self._late)
        return twin


class _Flow:
    """Work that arrives in a lane: a mean that forgets."""

    def __init__(self) -> None:
        self.within_s = 0.0  # how long after its arrival it is due, in the mean
        self._rate = 0.0
        self._at = -math.inf

    def add(self, work: Work, now: float) -> None:
        part = charge_s(work) / FLOW_OVER_S
        self._rate = self.rate(now) + part
        self._at = max(self._at, now)
        within_s = min(max(0.0, work.deadline - now), FAR_S)
        self.within_s += (within_s - self.within_s) * part / self._rate

    def rate(self, now: float) -> float:
        """Seconds of work a second: actors that it keeps busy."""
        return self._rate * math.exp(min(0.0, self._at - now) / FLOW_OVER_S)


class _Lane:
    """Tenants in turn. The first of `turns` is being served, with `deficit` seconds left to spend."""

    def __init__(self) -> None:
        self.turns: deque[str] = deque()
        self._deficit: dict[str, float] = {}
        self._queues: dict[str, list[tuple[float, int, Work]]] = {}

    def copy(self) -> _Lane:
        twin = _Lane()
        twin.turns = self.turns.copy()
        twin._deficit = dict(self._deficit)
        twin._queues = {tenant: list(queue) for tenant, queue in self._queues.items()}
        return twin

    def add(self, work: Work, number: int) -> None:
        if work.tenant not in self._queues:
            self._queues[work.tenant] = []
            self._deficit[work.tenant] = 0.0
            self.turns.append(work.tenant)
        insort(self._queues[work.tenant], (work.deadline, number, work))

    def remove(self, work: Work, number: int) -> None:
        queue = self._queues[work.tenant]
        del queue[bisect_left(queue, (work.deadline, number))]
        self._leave_if_done(work.tenant)

    def too_late(self, now: float) -> list[tuple[Work, int]]:
        """Take out the jobs at the heads of those whose turn comes that could not end in time if they began now."""
        gone: list[tuple[Work, int]] = []
        while self.turns:
            tenant, head = self._turn()
            work = head[2]
            if work.deadline - work.cost_s >= now:
                break
            self._queues[tenant].pop(0)
            gone.append((work, head[1]))
            self._leave_if_done(tenant)
        return gone

    def is_in_haste(self, by: float) -> bool:
        """Whether whose turn it is would be late if it began only then."""
        work = self._turn()[1][2]
        return work.deadline - work.cost_s < by

    def pop(self) -> Work:
        tenant, (_, _, work) = self._turn()
        self._deficit[tenant] -= charge_s(work)
        self._queues[tenant].pop(0)
        self._leave_if_done(tenant)
        return work

    def _turn(self) -> tuple[str, tuple[float, int, Work]]:
        """Turn until a tenant can pay for its first job; who, and which."""
        turned = 0
        while True:
            tenant = self.turns[0]
            head = self._queues[tenant][0]
            if charge_s(head[2]) <= self._deficit[tenant]:
                return tenant, head
            if turned == len(self.turns):  # nobody can: go at once to the last round in which nobody will
                turned = 0
                rounds = min(
                    math.ceil((charge_s(queue[0][2]) - self._deficit[name]) / QUANTUM_S)
                    for name, queue in self._queues.items()
                )
                for name in self._queues:
                    self._deficit[name] += max(0, rounds - 1) * QUANTUM_S
            self.turns.rotate(-1)
            turned += 1
            self._deficit[self.turns[0]] += QUANTUM_S

    def _leave_if_done(self, tenant: str) -> None:
        if self._queues[tenant]:
            return
        del self._queues[tenant], self._deficit[tenant]  # the credit too: no saving up while there is nothing to do
        served = self.turns[0] == tenant
        self.turns.remove(tenant)
        if served and self.turns:
            self._deficit[self.turns[0]] += QUANTUM_S
