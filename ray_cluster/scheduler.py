"""The scheduler: a detached, restartable Ray actor that matches queued work to engine actors and scales their pools.

All of its state is soft. After a restart it adopts the living engine actors by name; workers see another epoch and
submit again what the ledger says is queued. It never talks for an owner: it proposes, the owner commits a lease and
starts the task itself.
"""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
import sys
import time
from collections.abc import Coroutine
from typing import Any

import msgspec
import ray
from ray.exceptions import ActorUnavailableError, OutOfMemoryError, RayActorError, RayError

from ray_cluster import hand_store, nodes
from ray_cluster.bell import Bell
from ray_cluster.desk import Desk
from ray_cluster.hand import NOTHING
from ray_cluster.helm import REST_S, SCALE_EVERY_S, STEER_EVERY_S, TICK_S, Helm
from ray_cluster.journal import Line, written
from ray_cluster.lanes import LANE_WEIGHTS, QUANTUM_S, BadWork, Lanes
from ray_cluster.leases import Inventory, Place, Work
from ray_cluster.operating import Operating
from ray_cluster.orders import Order, Pause
from ray_cluster.pools import ClusterConfig, Pool, PoolStatus
from ray_cluster.roster import STOCK, Roster, Seat
from ray_cluster.spares import Spares, create
from ray_cluster.standing import Standings
from stream.events.lease import Claim, Standing

log = logging.getLogger(__name__)

NAME = "scheduler"
ENGINE_PREFIX = "engine-"

WATCH_S = 30.0
CALL_S = 10.0
UNAVAILABLE_PAUSE_S = 0.5
PLACE_LOOK_S = 1.0
"""How often a starting actor is asked after: whether it waits for a machine."""

MACHINES_EVERY_S = 0.5
SPARES_EVERY_S = 1.0
BACKOFF_FIRST_S = 1.0
BACKOFF_MAX_S = 60.0


class Scheduler:
    """See the module. Messages are msgpack; every method is short or a bounded long-poll."""

    def __init__(self, config: bytes) -> None:
        self._config = msgspec.msgpack.decode(config, type=ClusterConfig)
        self._pools = {pool.name: _PoolState(pool) for pool in self._config.pools}
        self._epoch = secrets.token_hex(8)
        self._lanes = Lanes()
        self._roster = Roster()
        self._helm = Helm(self._config, self._lanes, self._roster, _log_decision)
        self._desk = Desk(silent_s=self._config.proposal_s)
        self._again: dict[str, Work] = {}  # submitted while the last proposal of that job is still unresolved
        self._standings = Standings()
        self._handles: dict[str, Any] = {}
        self._numbers: dict[str, int] = {}
        self._bell = Bell()
        self._tasks: set[asyncio.Task[None]] = set()
        self._machines = nodes.Machines()
        self._spares = Spares(self._config.spares, self._config.namespace, self._fresh_name)
        self._operating = Operating(
            {pool.name: pool for pool in self._config.pools},
            lanes=self._lanes,
            roster=self._roster,
            desk=self._desk,
            helm=self._helm,
            status=lambda pool: self._status(self._pools[pool], time.monotonic()),
        )
        if not log.handlers:  # Ray gives an actor's process none below WARNING
            log.addHandler(logging.StreamHandler(sys.stderr))
            log.setLevel(logging.INFO)
        self._spawn(self._run())

    async def epoch(self) -> str:
        """Random per start."""
        return self._epoch

    async def submit(self, raw: bytes) -> None:
        """Queue `Work`s; what is queued or proposed already stays as it is.

        Raises `BadWork` for the first that can never be served, after all the others were queued.
        """
        bad: BadWork | None = None
        for work in msgspec.msgpack.decode(raw, type=list[Work]):
            self._wake(work.worker, time.monotonic())
            try:
                self._accept(work)
            except BadWork as error:
                bad = bad or error
        self._match()
        self._bell.ring()
        if bad:
            raise bad

    async def withdraw(self, job: str) -> None:
        """Forget `job`, and take back what was proposed for it."""
        self._lanes.withdraw(job)
        self._desk.withdraw(job)
        self._again.pop(job, None)
        if found := self._roster.proposal_of(job):
            await self._take_back(*found, requeue=False)

    async def poll(self, worker: str, wait_s: float) -> bytes:
        """(epoch, proposals for `worker`), as soon as there are any or `wait_s` is over."""
        self._wake(worker, time.monotonic() + wait_s)
        bell = self._desk.bell(worker)
        if not (proposals := self._desk.take(worker)):
            await bell.after(bell.count, wait_s)
            proposals = self._desk.take(worker)
        return msgspec.msgpack.encode((self._epoch, proposals))

    async def decline(self, job: str, actor: str, offer: int) -> None:
        """The owner does not want that proposal: its key pair is destroyed, the job forgotten unless asked again."""
        seat = self._roster.seats.get(actor)
        proposed = seat.proposed.get(offer) if seat else None
        if seat and proposed and proposed.work.job == job:
            await self._take_back(seat, offer, requeue=False)

    async def places(self, jobs: list[str]) -> bytes:
        """{job: Place} of those that are queued."""
        now = time.monotonic()
        found: dict[str, Place] = {}
        for pool in self._pools:
            seats = self._roster.of(pool)
            remaining_s = sum(seat.busy_s(now) for seat in seats)
            everyone = self._lanes.places(pool, actors=len(seats), remaining_s=remaining_s, now=time.time())
            found |= {job: everyone[job] for job in jobs if job in everyone}
        return msgspec.msgpack.encode(found)

    async def standing(self, worker: str, raw: bytes) -> bytes:
        """A `Standing`: what all workers' tenants have unfinished, once `worker` has said what its own have."""
        self._standings.tell(worker, msgspec.msgpack.decode(raw, type=list[Claim]), time.monotonic())
        actors = {name: min(state.pool.max_actors, self._config.max_actors) for name, state in self._pools.items()}
        return msgspec.msgpack.encode(Standing(tuple(self._standings.merged()), actors, LANE_WEIGHTS, QUANTUM_S))

    async def pools(self) -> bytes:
        """[PoolStatus], as decided last."""
        now = time.monotonic()
        return msgspec.msgpack.encode([self._status(state, now) for state in self._pools.values()])

    async def decisions(self) -> bytes:
        """[Line]: the last decisions that changed something, each with what it rested on."""
        return msgspec.msgpack.encode(self._helm.journal.lines)

    async def drain(self, actor: str) -> None:
        """Give `actor` no further work, and end it when it is idle."""
        if seat := self._roster.seats.get(actor):
            seat.drained = True
            self._bell.ring()

    async def operate(self, raw: bytes) -> bytes:
        """Do what an operator orders (`orders.Order`); the answer. Raises BadRequest."""
        order: Order = msgspec.msgpack.decode(raw, type=Order)
        before = dict(self._helm.hands)
        answer = self._operating.answer(order)
        if self._helm.hands != before:
            log.info("pools as set by hand: %s", msgspec.json.encode(self._helm.hands).decode())
            await asyncio.to_thread(hand_store.save, self._config.namespace, self._helm.hands)
        if isinstance(order, Pause):
            self._roster.paused.add(order.pool)
            for seat in self._roster.of(order.pool):
                for offer in tuple(seat.proposed):
                    self._spawn(self._take_back(seat, offer, requeue=True))
        self._bell.ring()
        return msgspec.msgpack.encode(answer)

    # -- the loop --------------------------------------------------------------------------------------------------

    async def _run(self) -> None:
        self._helm.hands.update(await asyncio.to_thread(hand_store.load, self._config.namespace))
        await self._adopt()
        self._spawn(self._provide())
        if self._config.spares:
            self._spawn(self._stock())
        steered, steered_at = -1, 0.0
        while True:
            seen = self._bell.count
            now = time.monotonic()
            for worker in self._desk.silent(now):
                self._desk.sleep(worker, self._lanes.withdraw_of(worker))
            for seat, offer in self._roster.overdue(now - self._config.proposal_s):
                self._spawn(self._take_back(seat, offer, requeue=True))
            if seen != steered or now >= steered_at + STEER_EVERY_S:
                steered, steered_at = seen, now
                self._scale(now)
            self._match()
            await asyncio.sleep(SCALE_EVERY_S)
            await self._bell.after(seen, TICK_S if self._lanes or self._roster.seats else REST_S)

    async def _adopt(self) -> None:
        """Find the engine actors that a predecessor left."""
        named = await asyncio.to_thread(ray.util.list_named_actors, all_namespaces=True)
        for entry in named:
            name = entry["name"]
            pool, _, number = name.removeprefix(ENGINE_PREFIX).rpartition("-")
            if entry["namespace"] != self._config.namespace or not name.startswith(ENGINE_PREFIX):
                continue
            try:
                handle = await asyncio.to_thread(ray.get_actor, name, namespace=self._config.namespace)
            except ValueError:
                continue  # it died meanwhile
            seat = self._seat(name, pool)
            seat.drained = pool not in self._pools
            self._numbers[pool] = max(self._numbers.get(pool, 0), int(number))
            self._spawn(self._attend(seat, handle))

    def _scale(self, now: float) -> None:
        blocked = [name for name, state in self._pools.items() if now < state.retry_at]
        orders = self._helm.steer(now, time.time(), blocked=blocked)
        for seat in orders.retire:
            self._retire(seat)
        for pool in orders.begin:
            self._begin(self._pools[pool])

    def _match(self) -> None:
        for worker, proposal in self._roster.match(self._lanes, time.monotonic(), promise_now=time.time()):
            self._desk.put(worker, proposal)

    # -- engine actors ---------------------------------------------------------------------------------------------

    def _begin(self, state: _PoolState) -> None:
        pool = state.pool
        if spare := self._spares.take(pool.name):
            self._spawn(self._attend(self._seat(spare.name, pool.name), spare.handle, spare=True))
        else:
            self._spawn(self._create(self._seat(self._fresh_name(pool.name), pool.name), pool))

    def _fresh_name(self, pool: str) -> str:
        number = self._numbers[pool] = self._numbers.get(pool, 0) + 1
        return f"{ENGINE_PREFIX}{pool}-{number}"

    async def _stock(self) -> None:
        """Keep spares while nothing more urgent starts: of pools that may have another actor."""
        while True:
            await asyncio.sleep(SPARES_EVERY_S)
            room = self._config.max_actors - len(self._roster.seats)
            if room > 0 and all(seat.ready for seat in self._roster.seats.values()):
                statuses = [self._status(state, time.monotonic()) for state in self._pools.values()]
                open_ = {s.pool for s in statuses if s.actors < s.max_actors and not (s.paused or s.error)}
                await self._spares.stock(pool for pool in self._config.pools if pool.name in open_)

    async def _create(self, seat: Seat, pool: Pool) -> None:
        try:
            handle = await asyncio.to_thread(create, pool, seat.name, self._config.namespace)
        except (RayError, ValueError) as error:
            self._failed(seat, type(error).__name__)
            return
        await self._attend(seat, handle)

    async def _attend(self, seat: Seat, handle: Any, *, spare: bool = False) -> None:
        """Follow one actor from its start to its end. A `spare` that turns out to be dead is no failed start."""
        self._handles[seat.name] = handle
        try:
            error = await self._started(seat, handle)
        except RayActorError:
            error = RayActorError.__name__
        except RayError as lost:
            error = type(lost).__name__
        if error:
            await asyncio.to_thread(ray.kill, handle)
            if seat.retiring or (spare and error == RayActorError.__name__):
                self._gone(seat)  # it had no machine and is no longer wanted, or was dead already
            else:
                self._failed(seat, error)
            return
        seat.begin(time.monotonic())
        if state := self._pools.get(seat.pool):
            state.started()
        seen = -1
        while True:
            try:
                raw = await _answer(handle.watch.remote(self._epoch, seen, STOCK, WATCH_S))
            except ActorUnavailableError:  # the connection broke; whether it died is not known yet
                seen = -1
                await asyncio.sleep(UNAVAILABLE_PAUSE_S)
                continue
            except (RayActorError, OutOfMemoryError):
                self._gone(seat)
                return
            inventory = msgspec.msgpack.decode(raw, type=Inventory)
            seen = inventory.version
            seat.tell(inventory, time.monotonic())
            if seat.wear(self._config.recycle_jobs, self._config.recycle_growth_bytes) and state:
                state.recycled += 1
            self._submit_again()
            self._match()
            self._bell.ring()

    async def _started(self, seat: Seat, handle: Any) -> str:
        """What `ready` answers, or `start-timeout`. The time for which no machine had room does not count."""
        ready = asyncio.ensure_future(_answer(handle.ready.remote()))
        pool = self._pools.get(seat.pool)
        counted_s = 0.0
        while not ready.done():
            began = time.monotonic()
            await asyncio.wait((ready,), timeout=PLACE_LOOK_S)
            if ready.done() or not pool:
                continue
            actor_id = handle._actor_id.hex()  # noqa: SLF001 - Ray has no other way to name it to its own tables
            seat.unplaced = await asyncio.to_thread(nodes.has_no_room, actor_id, nodes.bundle(pool.pool))
            counted_s += 0.0 if seat.unplaced else time.monotonic() - began
            if counted_s > self._config.start_s:
                ready.cancel()
                return "start-timeout"
        return str(ready.result())

    async def _provide(self) -> None:
        """Ask for machines while actors have none."""
        while True:
            desired: dict[str, int] = {}
            if any(seat.unplaced for seat in self._roster.seats.values()):
                desired = {name: decision.desired for name, decision in self._helm.decisions.items()}
            await self._machines.ask(nodes.wanted(desired, self._config.pools))
            await asyncio.sleep(MACHINES_EVERY_S)

    def _retire(self, seat: Seat) -> None:
        seat.retiring = True
        self._spawn(self._end(seat))

    async def _end(self, seat: Seat) -> None:
        handle = self._handles.get(seat.name)
        if not handle:
            return
        if seat.unplaced:
            await asyncio.to_thread(ray.kill, handle)
            return
        try:
            if not await asyncio.wait_for(_answer(handle.retire.remote()), CALL_S):
                await asyncio.sleep(TICK_S)  # an outcome waits for its owner: ask again
                seat.retiring = False
                return
        except (TimeoutError, RayError):
            pass  # it does not answer, and holds no lease
        await asyncio.to_thread(ray.kill, handle)

    async def _take_back(self, seat: Seat, offer: int, *, requeue: bool) -> None:
        """Destroy the key pair of a proposal, so that it can no longer be answered, and free its slot."""
        self._desk.take_back(seat.name, offer)
        proposed = seat.proposed.get(offer)
        handle = self._handles.get(seat.name)
        if not handle or not proposed:
            return
        try:
            unused = await asyncio.wait_for(_answer(handle.revoke.remote(offer)), CALL_S)
        except (TimeoutError, RayError):
            return  # the watch will tell
        if seat.proposed.get(offer) is not proposed:
            return
        if not unused:  # a task has used it: it runs, or has ended
            seat.answered(offer, time.monotonic())
        else:
            del seat.proposed[offer]
            if requeue:
                self._again.setdefault(proposed.work.job, proposed.work)
        self._submit_again()
        self._match()
        self._bell.ring()

    def _submit_again(self) -> None:
        for job in [job for job in self._again if not self._roster.proposal_of(job)]:
            self._lanes.add(self._again.pop(job))

    def _gone(self, seat: Seat) -> None:
        """It died: proposals that no worker has fetched are queued again; owners of the others find out themselves."""
        self._roster.seats.pop(seat.name, None)
        self._handles.pop(seat.name, None)
        unread = self._desk.take_back(seat.name)
        for offer, proposed in seat.proposed.items():
            if offer in unread:
                self._lanes.add(proposed.work)
        self._submit_again()
        self._match()
        self._bell.ring()

    def _failed(self, seat: Seat, error: str) -> None:
        if state := self._pools.get(seat.pool):
            state.failed(error, time.monotonic())
        self._gone(seat)

    def _seat(self, name: str, pool: str) -> Seat:
        seat = self._roster.seats[name] = Seat(name, pool)
        return seat

    def _accept(self, work: Work) -> None:
        if work.pool not in self._pools:
            raise BadWork(f"expected a pool of {', '.join(self._pools)}, got another: which operation runs where?")
        self._desk.withdraw(work.job)  # what a former owner asked for, and sleeps with it
        if self._roster.proposal_of(work.job):
            self._again[work.job] = work
        else:
            self._lanes.add(work, now=time.time())

    # -- small things ----------------------------------------------------------------------------------------------

    def _wake(self, worker: str, until: float) -> None:
        for work in self._desk.seen(worker, until):
            if work.job not in self._lanes:
                self._lanes.add(work)

    def _status(self, state: _PoolState, now: float) -> PoolStatus:
        name = state.pool.name
        seats = self._roster.of(name)
        floor, most = self._helm.limits_of(state.pool, time.time())
        hand = self._helm.hands.get(name, NOTHING)
        return PoolStatus(
            name,
            queued=self._lanes.waiting(name),
            actors=len(seats),
            starting=sum(not seat.ready for seat in seats),
            leased=sum(seat.load > 0 for seat in seats),
            draining=sum(seat.drained or not seat.fed for seat in seats),
            desired=self._helm.decisions[name].desired,
            reason="paused by hand" if hand.paused else self._helm.decisions[name].reason,
            error=state.error,
            retry_in_s=max(0.0, state.retry_at - now),
            recycled=state.recycled,
            unplaced=sum(seat.unplaced for seat in seats),
            spares=self._spares.count(name),
            min_actors=floor,
            max_actors=most,
            by_hand=hand != NOTHING,
            paused=hand.paused,
            failed_starts=state.failed_starts,
        )

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception():
            os._exit(1)  # half a scheduler must not look alive; Ray starts a whole one


class _PoolState:
    """How a pool's last start went."""

    def __init__(self, pool: Pool) -> None:
        self.pool = pool
        self.error = ""
        self.retry_at = 0.0
        self.recycled = 0
        self.failed_starts = 0
        self._failures = 0

    def failed(self, error: str, now: float) -> None:
        self.error = error
        self.retry_at = now + min(BACKOFF_FIRST_S * 2**self._failures, BACKOFF_MAX_S)
        self._failures += 1
        self.failed_starts += 1

    def started(self) -> None:
        self.error, self.retry_at, self._failures = "", 0.0, 0


def _log_decision(line: Line) -> None:
    log.info(written(line))


async def _answer(ref: Any) -> Any:
    return await ref
