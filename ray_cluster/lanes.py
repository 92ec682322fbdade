"""Who is next: three weighted lanes, inside a lane tenants in turn, inside a tenant the earliest deadline.

Pure and single-threaded. A lane's weight is its share of actor-seconds while the others have work too (stride
scheduling: Waldspurger and Weihl, 1995), so batch is slow and never starves. Tenants share a lane by deficit round
robin (Shreedhar and Varghese, SIGCOMM 1995), charged in predicted seconds: ten short jobs weigh as much as a long one.
"""

from __future__ import annotations

import copy
import math
from bisect import bisect_left, insort
from collections import deque
from collections.abc import Iterator
from typing import ClassVar

from ray_cluster.leases import Place, Work
from stream.errors import BadRequest

LANE_WEIGHTS = {"interactive": 12.0, "standard": 4.0, "batch": 1.0}
"""Shares of a pool's seconds; the order is that of ties."""

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

    def add(self, work: Work) -> None:
        """Queue `work`. Raises `BadWork`.

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
        self._pools.setdefault(work.pool, _Pool()).add(work, self._added)

    def withdraw(self, job: str) -> Work | None:
        """Forget `job`; what was queued of it."""
        work, number = self._jobs.pop(job, (None, 0))
        if work:
            self._pools[work.pool].remove(work, number)
        return work

    def withdraw_of(self, worker: str) -> list[Work]:
        """Forget all that `worker` queued."""
        jobs = [work.job for work, _ in self._jobs.values() if work.worker == worker]
        return [work for job in jobs if (work := self.withdraw(job))]

    def pop(self, pool: str) -> Work | None:
        """The next job of `pool`, charged to its lane and tenant."""
        queue = self._pools.get(pool)
        work = queue.pop() if queue else None
        if work:
            del self._jobs[work.job]
        return work

    def queued(self, pool: str) -> list[Work]:
        """What waits for `pool`, oldest first."""
        return [work for work, _ in self._jobs.values() if work.pool == pool]

    def order(self, pool: str) -> Iterator[Work]:
        """What `pop` would return, call after call, if nothing else came."""
        queue = copy.deepcopy(self._pools.get(pool, _Pool()))
        while work := queue.pop():
            yield work

    def places(self, pool: str, *, actors: int = 1, remaining_s: float = 0.0) -> dict[str, Place]:
        """Every queued job's place, given the `actors` that share the pool and the seconds they are still busy."""
        places: dict[str, Place] = {}
        ahead_s = remaining_s
        for position, work in enumerate(self.order(pool)):
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
        self._lanes = {lane: _Lane() for lane in LANE_WEIGHTS}
        self._pass = dict.fromkeys(LANE_WEIGHTS, 0.0)
        self._now = 0.0

    def add(self, work: Work, number: int) -> None:
        lane = self._lanes[work.lane]
        if not lane.turns:  # idleness earns nothing: a lane that slept starts level with the others
            self._pass[work.lane] = max(self._pass[work.lane], self._now)
        lane.add(work, number)

    def remove(self, work: Work, number: int) -> None:
        self._lanes[work.lane].remove(work, number)

    def pop(self) -> Work | None:
        waiting = [lane for lane, queue in self._lanes.items() if queue.turns]
        if not waiting:
            return None
        lane = min(waiting, key=self._pass.__getitem__)
        work = self._lanes[lane].pop()
        self._now = self._pass[lane]
        self._pass[lane] += charge_s(work) / LANE_WEIGHTS[lane]
        return work

    def __deepcopy__(self, memo: object) -> _Pool:
        twin = _Pool()
        twin._lanes = {lane: queue.copy() for lane, queue in self._lanes.items()}
        twin._pass, twin._now = dict(self._pass), self._now
        return twin


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

    def pop(self) -> Work:
        while True:
            tenant = self.turns[0]
            cost_s = charge_s(self._queues[tenant][0][2])
            if cost_s <= self._deficit[tenant]:
                self._deficit[tenant] -= cost_s
                work = self._queues[tenant].pop(0)[2]
                self._leave_if_done(tenant)
                return work
            self.turns.rotate(-1)
            self._deficit[self.turns[0]] += QUANTUM_S

    def _leave_if_done(self, tenant: str) -> None:
        if self._queues[tenant]:
            return
        del self._queues[tenant], self._deficit[tenant]  # the credit too: no saving up while there is nothing to do
        served = self.turns[0] == tenant
        self.turns.remove(tenant)
        if served and self.turns:
            self._deficit[self.turns[0]] += QUANTUM_S
