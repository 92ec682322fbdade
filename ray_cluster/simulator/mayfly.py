"""Our own policy in virtual time: `Lanes`, `Roster`, `Helm` and `Costs` as the scheduler and its workers use them.

What is played here is only what happens outside of them: actors that start, run and end, and owners that answer each
proposal at once. A job is submitted with what the cost model predicts; what it really takes is seen when it has ended.
"""

from __future__ import annotations

from collections import deque

import msgspec

from ray_cluster.costs import Costs
from ray_cluster.helm import SCALE_EVERY_S, STEER_EVERY_S, TICK_S, Helm
from ray_cluster.journal import Line
from ray_cluster.lanes import Lanes
from ray_cluster.leases import Inventory, Work
from ray_cluster.pools import ClusterConfig, Pool
from ray_cluster.roster import STOCK, Roster, Seat
from ray_cluster.simulator.trace import Asked
from ray_cluster.simulator.world import Job, Setup, World
from stream.events.lease import UNKNOWN_SIZE

POOL = "gpu"
WORKER = "worker"


class Mayfly(World):
    """`config`: as the scheduler is told, for one pool. `lines`: what it decided, and on what."""

    def __init__(self, trace: list[Asked], setup: Setup, costs: Costs, config: ClusterConfig | None = None) -> None:
        super().__init__(trace, setup)
        self.lines: list[Line] = []
        self._lanes, self._roster, self._costs = Lanes(), Roster(), costs
        self._helm = Helm(config or one_pool(setup), self._lanes, self._roster, self.lines.append)
        self._actors: dict[str, _Actor] = {}
        self._next_step = self._last_step = float("-inf")
        self._rung = False
        self._steered_at = float("-inf")
        self._started = 0

    def begin(self) -> None:
        """Floors hold before the first job."""
        self._ring()

    def arrived(self, job: Job) -> None:
        """Submitted, as a dispatcher does it."""
        asked = job.asked
        cost_s = self._costs.predict(asked.operation)
        work = Work(job.name, WORKER, POOL, asked.lane, asked.tenant, cost_s=cost_s, deadline=job.deadline)
        self._lanes.add(work, now=self.now)
        self._match()
        self._ring()

    def close(self) -> None:
        """All that are still there."""
        for actor in self._actors.values():
            self.pay(actor.since)

    # -- the scheduler's loop ---------------------------------------------------------------------------------------

    def _ring(self) -> None:
        self._rung = True
        self._step_at(max(self.now, self._last_step + SCALE_EVERY_S))

    def _step_at(self, when: float) -> None:
        if not self.now <= self._next_step <= when:
            self._next_step = when
            self.at(when, self._step, when)

    def _step(self, when: float) -> None:
        if when != self._next_step:
            return  # one that came sooner has taken its place
        self._last_step, self._next_step = self.now, float("-inf")
        if self._rung or self.now >= self._steered_at + STEER_EVERY_S:
            self._rung, self._steered_at = False, self.now
            self._steer()
        self._match()
        if self._lanes or self._actors:
            self._step_at(self.now + TICK_S)

    def _steer(self) -> None:
        orders = self._helm.steer(self.now, self.now)
        for seat in orders.retire:
            self.pay(self._actors.pop(seat.name).since)
            del self._roster.seats[seat.name]
        for _ in orders.begin:
            self._started += 1
            seat = Seat(f"{POOL}-{self._started}", POOL)
            self._roster.seats[seat.name] = seat
            actor = self._actors[seat.name] = _Actor(seat, self.now)
            self.at(self.now + self.setup.start_s, self._ready, actor)
        self.actors = len(self._actors)

    def _match(self) -> None:
        for _, proposal in self._roster.match(self._lanes, self.now, promise_now=self.now):
            actor = self._actors[proposal.actor]
            actor.seat.answered(proposal.offer, self.now)
            actor.jobs.append(self.jobs[int(proposal.job)])
            if len(actor.jobs) == 1:
                self.busy += 1
                self._run(actor, self.setup.hand_over_s)
        self.queued = len(self._lanes)

    # -- actors -----------------------------------------------------------------------------------------------------

    def _ready(self, actor: _Actor) -> None:
        if self._actors.get(actor.seat.name) is actor:
            actor.seat.begin(self.now)
            actor.tell(self.now)
            self._match()
            self._ring()

    def _run(self, actor: _Actor, after_s: float) -> None:
        seconds = actor.jobs[0].attempt_s
        self.at(self.now + after_s + seconds, self._ended, actor, seconds)

    def _ended(self, actor: _Actor, seconds: float) -> None:
        job = actor.jobs.popleft()
        if self.ran(job, seconds):
            self.errors += [e] if (e := self._costs.learn(job.asked.operation, UNKNOWN_SIZE, seconds)) else []
        actor.tell(self.now)
        if actor.jobs:
            self._run(actor, 0.0)  # its inputs have been fetched meanwhile
        else:
            self.busy -= 1
        self._match()
        self._ring()


class _Actor:
    """A seat, and what an engine actor would know."""

    def __init__(self, seat: Seat, since: float) -> None:
        self.seat, self.since = seat, since
        self.jobs: deque[Job] = deque()
        self._offers = 0

    def tell(self, now: float) -> None:
        """What it has, as its watch tells the scheduler."""
        open_ = [*self.seat.stock, *self.seat.proposed]
        fresh: list[tuple[int, bytes]] = []
        while len(self.seat.stock) + len(fresh) < STOCK:
            self._offers += 1
            fresh.append((self._offers, b""))
        held = tuple(job.name for job in self.jobs)
        offers = (*open_, *(offer for offer, _ in fresh))
        self.seat.tell(Inventory(POOL, self._offers, held, offers, tuple(fresh)), now)


def one_pool(setup: Setup) -> ClusterConfig:
    """Settings as they are by default, for a pool of that size."""
    pool = Pool(POOL, (), max_actors=setup.max_actors, price_per_hour=setup.price_per_hour)
    return ClusterConfig(pools=(pool,), max_actors=setup.max_actors, cooldown_s=30.0)


def with_floor(config: ClusterConfig, actors: int) -> ClusterConfig:
    """The same, with so many actors kept warm."""
    (pool,) = config.pools
    return msgspec.structs.replace(config, pools=(msgspec.structs.replace(pool, min_actors=actors),))
