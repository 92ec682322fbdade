"""Engine actors: long-lived Ray processes that hold loaded engines and run one lease at a time, prefetching one more.

An actor needs nobody: it makes its key pairs, runs what owners start, keeps each outcome until it is acknowledged,
and lives on without a scheduler. Nothing that it says or is told holds plaintext, so nothing of it reaches Ray's object
store, a log or an exception.
"""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections import OrderedDict
from collections.abc import Awaitable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack

import msgspec
import psutil

from ray_cluster import batch
from ray_cluster.attempt import attempt
from ray_cluster.bell import Bell
from ray_cluster.engines import registry
from ray_cluster.engines.interface import Engine, Report
from ray_cluster.guard import Guard
from ray_cluster.leases import Inventory, Progress, Task
from ray_cluster.roster import LEASES_PER_ACTOR
from stream.errors import MayflyError
from stream.events.bus import NO_ITEM, Outcome
from stream.vault import resident
from stream.vault.courier import Courier
from stream.vault.envelope import Recipient
from stream.vault.resident import MemoryUnsafe

OUTCOME_KEPT_S = 3600.0
"""An outcome that nobody acknowledged is forgotten after this long."""

OUTCOME_HOLDS_S = 120.0
"""For so long it also keeps the actor alive: several takeovers of a partition."""

ORPHAN_S = 10.0
"""Work of a RAM-only app whose worker has not asked for so long is nobody's: it stops. Its outcome goes as soon."""

RAM_ONLY = "MAYFLY_RAM_ONLY_APPS"
"""In the environment: `required` where an actor whose memory could reach a disk must not start at all."""

FENCES_KEPT = 10_000
PROGRESS_EVERY_S = 0.1
MAX_CALLS = 256

STORES_APART = 2
"""Results being stored beside the leases that count: the engine does not wait for the network."""

ACCEPTED = ""
"""What `ready` and `start` answer when all is well; any other is the stable kind of what is not."""


class EngineActor:
    """One process of a pool. Every method is short or a bounded long-poll; messages are msgpack."""

    def __init__(self, pool: str, operations: tuple[str, ...]) -> None:
        self._pool = pool
        self._operations = operations
        self._engines: dict[str, Engine] = {}
        self._guard = Guard()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="engine")
        self._open = AsyncExitStack()
        self._courier: Courier | None = None
        self._loading = asyncio.Lock()
        self._offers: dict[int, Recipient] = {}
        self._last_offer = 0
        self._leases: dict[tuple[str, int], _Lease] = {}
        self._fences: OrderedDict[str, int] = OrderedDict()
        self._bell = Bell()  # what the scheduler should know
        self._watcher = ""
        self._retiring = False
        self._jobs = 0
        self._process = psutil.Process()
        self._loaded_bytes = 0
        self._grown_bytes = 0
        resident.forbid_core_dumps()
        self._unsafe = bool(resident.why_unsafe())

    async def ready(self) -> str:
        """Load the pool's engines, once. '' when they are; else the stable kind of what failed."""
        async with self._loading:
            if self._courier:
                return ACCEPTED
            if self._unsafe and os.environ.get(RAM_ONLY) == "required":
                return MemoryUnsafe.kind
            try:
                loop = asyncio.get_running_loop()
                self._engines, self._guard = await loop.run_in_executor(self._thread, _load, self._operations)
            except MayflyError as error:
                return error.kind
            except Exception as error:  # noqa: BLE001 - its text may quote anything; its class says enough
                return type(error).__name__
            self._courier = await self._open.enter_async_context(Courier())
            self._loaded_bytes = _resident_bytes(self._process)
            return ACCEPTED

    async def watch(self, watcher: str, seen: int, stock: int, wait_s: float) -> bytes:
        """The `Inventory`, as soon as it differs from version `seen`, with key pairs made up to `stock`.

        A scheduler begins with `seen` −1: then the offers of its predecessor are destroyed, for nobody knows to whom
        they were given.
        """
        if seen < 0:
            self._watcher = watcher
            self._offers.clear()
        await self._bell.after(seen, wait_s)
        self._forget_old(time.monotonic())
        fresh = []
        while watcher == self._watcher and len(self._offers) < stock and not self._retiring:
            self._last_offer += 1
            recipient = Recipient.new()
            self._offers[self._last_offer] = recipient
            fresh.append((self._last_offer, recipient.public))
        return msgspec.msgpack.encode(
            Inventory(
                self._pool,
                self._bell.count,
                self._held(),
                tuple(self._offers),
                tuple(fresh),
                jobs=self._jobs,
                grown_bytes=self._grown_bytes,
            )
        )

    async def revoke(self, offer: int) -> bool:
        """Destroy a key pair that no task has used; False where one has, or where it was never made."""
        return self._offers.pop(offer, None) is not None

    async def start(self, raw: bytes) -> str:
        """Accept a `Task`, idempotently per (job, fence); a refusal's kind otherwise, and then nothing was kept."""
        task = msgspec.msgpack.decode(raw, type=Task)
        return ACCEPTED if (task.job, task.fence) in self._leases else self._accept(task)

    async def progress(self, job: str, fence: int, after_seq: int, wait_s: float) -> bytes:
        """`Progress`, as soon as its seq differs from `after_seq`; at once if this attempt is not known here.

        Seq −1: nothing to tell yet. So −1 also asks for the first news, and a short job costs its owner one call.
        """
        lease = self._leases.get((job, fence))
        if not lease:
            return msgspec.msgpack.encode(Progress(job, fence, -1, known=False))
        lease.asked(wait_s)
        seq = await lease.bell.after(after_seq + 1, wait_s) - 1
        return msgspec.msgpack.encode(
            Progress(job, fence, seq, step=lease.step, fraction=lease.fraction, outcome=lease.outcome, item=lease.item)
        )

    async def cancel(self, job: str, fence: int) -> None:
        """End that attempt and any older one, also one that has not yet started; its outcome says when it is wiped."""
        self._remember(job, fence)
        for (held, number), lease in self._leases.items():
            if held == job and number <= fence:
                lease.cancelled.set()

    async def ack(self, leases: list[tuple[str, int]]) -> None:
        """These (job, fence)s' outcomes are committed: forget them."""
        for job, fence in leases:
            lease = self._leases.get((job, fence))
            if lease and lease.outcome:
                del self._leases[job, fence]

    async def retire(self) -> bool:
        """Take no further lease, if there is none and every outcome was acknowledged or is old; else False."""
        now = time.monotonic()
        if any(not lease.outcome or now - lease.ended_at < OUTCOME_HOLDS_S for lease in self._leases.values()):
            return False
        self._retiring = True
        self._offers.clear()
        return True

    async def facts(self) -> dict[str, float]:
        """Numbers about this process."""
        gpus = [name for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name]
        return {"pid": os.getpid(), "rss_bytes": _resident_bytes(self._process), "jobs": self._jobs, "gpus": len(gpus)}

    async def _run(self, task: Task, recipient: Recipient, lease: _Lease, courier: Courier) -> None:
        loop = asyncio.get_running_loop()

        def computed() -> None:
            lease.computed = True
            self._worked()

        outcome = Outcome("failed", kind="permanent", reason="bad-task", wiped=True)
        if engine := self._engines.get(task.operation):
            last = batch.parts(task)[-1]

            def one(part: Task, report: Report) -> Awaitable[Outcome]:
                return attempt(
                    part,
                    recipient,
                    engine=self._guard.around(engine, part),
                    courier=courier,
                    thread=self._thread,
                    report=report,
                    cancelled=lease.cancelled.is_set,
                    computed=computed if part == last else _not_yet,
                )

            outcome = await batch.attempts(
                task, one, lambda step, fraction: lease.report(loop, step, fraction), lease.begin
            )
        held = self._held()
        lease.outcome = outcome
        lease.end(time.monotonic())
        lease.bell.ring()
        if not lease.computed:
            self._worked()
        elif self._held() != held:  # else its slot was given back already: no news, and a call less for each job
            self._bell.ring()

    def _worked(self) -> None:
        """One job more is computed, or will not be."""
        self._jobs += 1
        self._grown_bytes = _resident_bytes(self._process) - self._loaded_bytes
        self._bell.ring()

    def _accept(self, task: Task) -> str:
        if task.fence <= self._fences.get(task.job, -1):
            return "stale-fence"
        if self._retiring or not self._courier:
            return "actor-retiring"
        if len(self._held()) >= LEASES_PER_ACTOR:
            return "actor-busy"
        recipient = self._offers.pop(task.offer, None)
        if not recipient:
            return "offer-gone"
        if task.in_memory and self._unsafe:
            return MemoryUnsafe.kind
        for (job, _), older in self._leases.items():
            if job == task.job:
                older.cancelled.set()
        self._remember(task.job, task.fence)
        lease = self._leases[task.job, task.fence] = _Lease(in_memory=task.in_memory)
        lease.running = asyncio.create_task(self._run(task, recipient, lease, self._courier))
        return ACCEPTED

    def _held(self) -> tuple[str, ...]:
        """Jobs that take a slot: not those whose result is only being stored, up to `STORES_APART` of them."""
        active = [(job, lease) for (job, _), lease in self._leases.items() if not lease.outcome]
        stores = [job for job, lease in active if lease.computed]
        return (*(job for job, lease in active if not lease.computed), *stores[STORES_APART:])

    def _remember(self, job: str, fence: int) -> None:
        self._fences[job] = max(fence, self._fences.pop(job, -1))
        if len(self._fences) > FENCES_KEPT:
            self._fences.popitem(last=False)

    def _forget_old(self, now: float) -> None:
        old = [key for key, held in self._leases.items() if held.outcome and now - held.ended_at > held.kept_s]
        for key in old:
            del self._leases[key]


def _not_yet() -> None:
    """An item of a batch is computed, and others are not."""


def _load(operations: tuple[str, ...]) -> tuple[dict[str, Engine], Guard]:
    registry.take_big_models()
    engines = {operation: registry.build(operation) for operation in operations}
    guard = Guard.open(operations)
    for engine in engines.values():
        engine.load()
    return engines, guard


def _resident_bytes(process: psutil.Process) -> int:
    return int(process.memory_info().rss)


class _Lease:
    """An attempt under way or ended."""

    def __init__(self, *, in_memory: bool) -> None:
        self.kept_s = ORPHAN_S if in_memory else OUTCOME_KEPT_S
        self.cancelled = threading.Event()
        self.bell = Bell()
        self.step = ""
        self.fraction = 0.0
        self.item = NO_ITEM
        self.computed = False  # only storing is left
        self.outcome: Outcome | None = None
        self.ended_at = 0.0
        self.running: asyncio.Task[None] | None = None
        self._silent_until = time.monotonic() + PROGRESS_EVERY_S
        self._will_ring = False
        self._asked_until = time.monotonic()
        self._watch = asyncio.create_task(self._orphaned()) if in_memory else None

    def asked(self, wait_s: float) -> None:
        """Its owner lives, and will wait so long for an answer."""
        self._asked_until = time.monotonic() + wait_s

    def begin(self, item: int) -> None:
        """An item of a batch: waiters hear of it at once."""
        self.item = item
        self.bell.ring()

    def end(self, now: float) -> None:
        """It has its outcome."""
        self.ended_at = now
        if self._watch:
            self._watch.cancel()

    async def _orphaned(self) -> None:
        while (left_s := self._asked_until + ORPHAN_S - time.monotonic()) > 0:  # noqa: ASYNC110 - for silence
            await asyncio.sleep(left_s)
        self.cancelled.set()

    def report(self, loop: asyncio.AbstractEventLoop, step: str, fraction: float) -> None:
        """From any thread. Waiters hear of it within `PROGRESS_EVERY_S`; a short job costs them its outcome only."""
        self.step, self.fraction = step, fraction
        if not self._will_ring:
            self._will_ring = True
            loop.call_soon_threadsafe(loop.call_later, self._silent_until - time.monotonic(), self._ring)

    def _ring(self) -> None:
        self._will_ring = False
        self._silent_until = time.monotonic() + PROGRESS_EVERY_S
        self.bell.ring()
