"""The cluster as a worker process sees it: a Ray driver with typed calls, a time limit on each, and our own errors."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any, ClassVar, Self

import msgspec
import ray
from ray._raylet import Config  # type: ignore[attr-defined]
from ray.exceptions import ActorUnavailableError, OutOfMemoryError, RayActorError, RayError, RayTaskError

from ray_cluster import scheduler as scheduling
from ray_cluster.actors import MAX_CALLS
from ray_cluster.journal import Line
from ray_cluster.leases import Place, Progress, Proposal, Task, Work
from ray_cluster.pools import ClusterConfig, PoolStatus
from stream.errors import LostLease, MayflyError, StoreUnavailable
from stream.events.lease import ACTOR_GONE, OUT_OF_MEMORY, Claim, Standing

log = logging.getLogger(__name__)

CALL_S = 10.0
CONNECT_S = 60.0
ACK_EVERY_S = 0.05
JOIN_AGAIN_S = 2.0
LOOK_S = 5.0
GONE_S = 20.0
"""After so long without an answer of the scheduler, Ray is joined anew: a head that died took its cluster with it."""

LEAVE_S = 20.0
PLAIN_MEMORY = {"PYTHONMALLOC": "default", "GLIBC_TUNABLES": "glibc.malloc.perturb=0"}
"""The scheduler's environment. It meets neither plaintext nor keys, so that nothing it frees need be overwritten."""

GCS_PATIENCE_S = 3600
"""Ray ends a driver whose GCS is away for 60 s; a worker holds keys and offsets, and would rather wait."""


class ActorLost(LostLease):
    """The engine actor died, and with it every plaintext and key it had: the attempt is lost, start another.

    This very kind: its process ended by itself, and one of its leases may be why. The others say that none is.
    """

    kind: ClassVar[str] = ACTOR_GONE


class NodeLost(ActorLost):
    """Its machine is gone."""

    kind: ClassVar[str] = "node-lost"


class ActorKilled(ActorLost):
    """Somebody of ours ended it: an owner that had to be certain of a wipe, or the scheduler."""

    kind: ClassVar[str] = "actor-killed"


class ActorStarved(ActorLost):
    """Its machine ran out of memory, and Ray chose this process to go."""

    kind: ClassVar[str] = OUT_OF_MEMORY


class ActorUnknown(ActorLost):
    """There is none of this name any more; why, nobody knows now."""

    kind: ClassVar[str] = "actor-unknown"


class LeaseRefused(LostLease):
    """The actor does not take this task. `reason`: stale-fence | offer-gone | actor-busy | actor-retiring."""

    kind: ClassVar[str] = "lease-refused"

    def __init__(self, reason: str) -> None:
        super().__init__(f"expected the actor to accept the task, it answered {reason}: submit the job again")
        self.reason = reason


class ActorSilent(StoreUnavailable):
    """The engine actor did not answer in time; it may live: ask again, or kill it."""

    kind: ClassVar[str] = "actor-silent"


class SchedulerLost(StoreUnavailable):
    """The scheduler is restarting, or has restarted and forgotten what was queued: submit all that is queued again."""

    kind: ClassVar[str] = "scheduler-lost"


_CAUSES: dict[str, type[ActorLost]] = {
    "its node has died": NodeLost,
    "killed by `ray.kill`": ActorKilled,
}


class Cluster:
    """Use `connect`, or run `keep` beside it; one per process.

    Every call raises `SchedulerLost`, `ActorLost` or `ActorSilent` as said there, also while Ray is not joined.
    """

    def __init__(self, config: ClusterConfig) -> None:
        self._config = config
        self._joined = False
        self._scheduler: Any = None
        self._actors: dict[str, Any] = {}
        self._epoch = ""
        self._finding = asyncio.Lock()
        self._acks: dict[str, list[tuple[str, int]]] = {}
        self._telling: set[asyncio.Task[None]] = set()

    @classmethod
    async def connect(cls, address: str, config: ClusterConfig, *, token_path: str = "") -> Self:
        """Join Ray at `address` as a driver and find the scheduler, or create it. Raises `StoreUnavailable`."""
        cluster = cls(config)
        await cluster._join(address, token_path)
        cluster._epoch = str(await cluster._schedule("epoch", limit_s=CONNECT_S))  # its process may have to start first
        return cluster

    async def keep(self, address: str, *, token_path: str = "", gone: Callable[[], None] = lambda: None) -> None:
        """Join Ray as soon as it is there, and anew whenever it has gone, until cancelled. `gone` is told each time.

        What a worker promised must not wait for it: estates open, and erase, while nothing can be computed.
        """
        while True:
            try:
                await self._join(address, token_path)
            except StoreUnavailable as error:
                log.warning("%s", error)
                await asyncio.sleep(JOIN_AGAIN_S)
                continue
            await self._until_gone()
            log.warning("nothing of Ray has answered for %g s: it is joined anew", GONE_S)
            gone()
            await self._leave()

    async def close(self) -> None:
        """Leave Ray; scheduler and engine actors stay."""
        await asyncio.gather(*self._telling)
        await self._leave()

    # -- the scheduler ---------------------------------------------------------------------------------------------

    async def epoch(self) -> str:
        """Random per start of the scheduler."""
        return str(await self._schedule("epoch"))

    async def submit(self, works: Iterable[Work]) -> None:
        """Queue what wants an actor; idempotent. Raises `BadWork`."""
        await self._schedule("submit", msgspec.msgpack.encode(list(works)))

    async def withdraw(self, job: str) -> None:
        """`job` wants no actor any more; a lease that it has already is not touched."""
        await self._schedule("withdraw", job)

    async def proposals(self, worker: str, wait_s: float = 20.0) -> list[Proposal]:
        """What the scheduler proposes for jobs of `worker`, as soon as there is anything; [] after `wait_s`.

        Also raises `SchedulerLost`, once, when the scheduler turns out to be another than before: submit again.
        """
        raw = await self._schedule("poll", worker, wait_s, limit_s=wait_s + CALL_S)
        epoch, proposals = msgspec.msgpack.decode(raw, type=tuple[str, list[Proposal]])
        if epoch != self._epoch:
            self._epoch = epoch
            raise SchedulerLost("expected the scheduler as it was, it has restarted: submit all that is queued again")
        return proposals

    async def decline(self, job: str, actor: str, offer: int) -> None:
        """The owner does not want this proposal (cancelled, erased, not its partition any more)."""
        await self._schedule("decline", job, actor, offer)

    async def places(self, job_ids: Iterable[str]) -> dict[str, Place]:
        """Places of those jobs that are queued."""
        return msgspec.msgpack.decode(await self._schedule("places", list(job_ids)), type=dict[str, Place])

    async def standing(self, worker: str, claims: Iterable[Claim]) -> Standing:
        """What all workers' tenants have unfinished, those of `worker` as it says now."""
        try:
            raw = await self._schedule("standing", worker, msgspec.msgpack.encode(list(claims)))
        except AttributeError:  # it is detached, and outlives the workers that made it
            raise SchedulerLost(
                "expected a scheduler that adds claims up, got one of an earlier version: end it, workers make another"
            ) from None
        return msgspec.msgpack.decode(raw, type=Standing)

    async def pools(self) -> list[PoolStatus]:
        """How every pool stands, and why."""
        return msgspec.msgpack.decode(await self._schedule("pools"), type=list[PoolStatus])

    async def decisions(self) -> list[Line]:
        """The last decisions of the autoscaler that changed something, each with what it rested on."""
        return msgspec.msgpack.decode(await self._schedule("decisions"), type=list[Line])

    async def operate(self, raw: bytes) -> bytes:
        """What an operator orders (`orders.Order`, msgpack), and its answer. Raises BadRequest."""
        try:
            return bytes(await self._schedule("operate", raw))
        except AttributeError:  # as in `standing`
            raise SchedulerLost(
                "expected a scheduler that takes orders, got one of an earlier version: end it, workers make another"
            ) from None

    async def drain(self, actor: str) -> None:
        """Give `actor` no further work, and end it when it is idle."""
        await self._schedule("drain", actor)

    # -- engine actors ---------------------------------------------------------------------------------------------

    async def start(self, actor: str, task: Task) -> None:
        """Hand over a committed lease; idempotent per (job, fence). Also raises `LeaseRefused`."""
        if refusal := await self._ask(actor, "start", msgspec.msgpack.encode(task)):
            raise LeaseRefused(refusal)

    async def progress(
        self, actor: str, job: str, fence: int, *, after_seq: int = -1, wait_s: float = 10.0
    ) -> Progress:
        """Where the attempt is, as soon as its seq is not `after_seq`; with `known` False if it is not there.

        −1 asks for the first news: within 0.1 s of its start, or its outcome if that is sooner.
        """
        raw = await self._ask(actor, "progress", job, fence, after_seq, wait_s, limit_s=wait_s + CALL_S)
        return msgspec.msgpack.decode(raw, type=Progress)

    async def cancel(self, actor: str, job: str, fence: int) -> None:
        """End that attempt; its outcome says when it is wiped."""
        await self._ask(actor, "cancel", job, fence)

    async def ack(self, actor: str, job: str, fence: int) -> None:
        """The outcome is committed: the actor may forget it. Told within `ACK_EVERY_S`, and only if it still lives."""
        if actor not in self._acks:
            self._acks[actor] = []
            telling = asyncio.create_task(self._tell_acks(actor))
            self._telling.add(telling)
            telling.add_done_callback(self._telling.discard)
        self._acks[actor].append((job, fence))

    async def facts(self, actor: str) -> dict[str, float]:
        """Numbers about an actor's process: pid, rss_bytes, jobs, gpus that it sees."""
        return dict(await self._ask(actor, "facts"))

    async def kill(self, actor: str) -> None:
        """End an actor that did not acknowledge its wipe; its memory goes with it. One that is gone is fine."""
        if not self._joined:
            raise ActorSilent(f"expected to end {actor}, but Ray is not joined yet: try again")
        try:
            handle = await self._actor(actor)
        except ActorLost:
            return
        self._actors.pop(actor, None)
        try:
            await asyncio.to_thread(ray.kill, handle)
        except RayError as error:
            raise ActorSilent(f"expected to end {actor}, got {type(error).__name__}: try again") from None

    async def _tell_acks(self, actor: str) -> None:
        await asyncio.sleep(ACK_EVERY_S)
        with suppress(ActorLost, ActorSilent):  # what it keeps without, it forgets by itself
            await self._ask(actor, "ack", self._acks.pop(actor))

    # -- Ray -------------------------------------------------------------------------------------------------------

    async def _join(self, address: str, token_path: str) -> None:
        os.environ.setdefault("RAY_gcs_rpc_server_reconnect_timeout_s", str(GCS_PATIENCE_S))
        if token_path:
            os.environ |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": token_path}
        try:
            await asyncio.wait_for(asyncio.to_thread(_init, address, self._config.namespace), CONNECT_S)
        except (TimeoutError, ConnectionError, RuntimeError, ValueError, RayError) as error:
            raise StoreUnavailable(
                f"expected Ray at the configured address, got {type(error).__name__}: is its head up?"
            ) from None
        self._joined = True

    async def _until_gone(self) -> None:
        heard = time.monotonic()
        while time.monotonic() - heard < GONE_S:
            await asyncio.sleep(LOOK_S)
            with suppress(StoreUnavailable):
                await self.epoch()
                heard = time.monotonic()

    async def _leave(self) -> None:
        """Handles go with the connection they were found by."""
        self._joined, self._scheduler, self._epoch = False, None, ""
        self._actors.clear()
        with suppress(TimeoutError):
            await asyncio.wait_for(asyncio.to_thread(ray.shutdown), LEAVE_S)

    async def _schedule(self, method: str, *args: Any, limit_s: float = CALL_S) -> Any:
        if not self._joined:
            raise SchedulerLost("expected Ray, which is not joined yet: submit all queued again")
        try:
            async with asyncio.timeout(limit_s):
                handle = await self._find_scheduler()
                return await getattr(handle, method).remote(*args)
        except RayTaskError as error:
            raise _cause(error) from None
        except (TimeoutError, RayError) as error:
            if not isinstance(error, (TimeoutError, ActorUnavailableError)):
                self._scheduler = None
            raise SchedulerLost(
                f"expected the scheduler to answer {method}, got {type(error).__name__}: submit all queued again"
            ) from None

    async def _ask(self, actor: str, method: str, *args: Any, limit_s: float = CALL_S) -> Any:
        if not self._joined:
            raise ActorSilent(f"expected {actor} to answer {method}, but Ray is not joined yet: ask again")
        try:
            async with asyncio.timeout(limit_s):
                handle = await self._actor(actor)
                return await getattr(handle, method).remote(*args)
        except RayTaskError as error:
            raise _cause(error) from None
        except (TimeoutError, ActorUnavailableError) as error:
            raise ActorSilent(
                f"expected {actor} to answer {method}, got {type(error).__name__}: ask again, or kill it"
            ) from None
        except (RayActorError, OutOfMemoryError) as error:
            self._actors.pop(actor, None)
            raise _lost(error, f"expected {actor} to answer {method}, it is dead: start another attempt") from None

    async def _find_scheduler(self) -> Any:
        async with self._finding:  # the first call of a class blocks for 0.2 s, hence the thread
            if self._scheduler is None:
                self._scheduler = await asyncio.to_thread(_scheduler, self._config)
            return self._scheduler

    async def _actor(self, name: str) -> Any:
        if name not in self._actors:
            try:
                self._actors[name] = await asyncio.to_thread(ray.get_actor, name, namespace=self._config.namespace)
            except ValueError:
                raise ActorUnknown(f"expected an actor named {name}, there is none: start another attempt") from None
        return self._actors[name]


def _init(address: str, namespace: str) -> None:
    """In a thread, so that Ray leaves the process's signal handlers alone (it says so: hence the level)."""
    Config.initialize("")  # Ray read the environment when it was imported, which may be before we set it
    logging.getLogger("ray").setLevel(logging.ERROR)
    ray.init(
        address=address,
        namespace=namespace,
        log_to_driver=False,
        configure_logging=False,
        logging_level=logging.ERROR,
    )


def _scheduler(config: ClusterConfig) -> Any:
    """Get or create, as one step of Ray's, so that two workers make one."""
    options = {
        "name": scheduling.NAME,
        "namespace": config.namespace,
        "lifetime": "detached",
        "get_if_exists": True,
        "max_restarts": -1,
        "max_task_retries": 0,
        "num_cpus": 0,
        "max_concurrency": MAX_CALLS,
        "enable_task_events": False,
        "runtime_env": {"env_vars": PLAIN_MEMORY},
    }
    return ray.remote(scheduling.Scheduler).options(**options).remote(msgspec.msgpack.encode(config))


def _lost(error: RayError, sentence: str) -> ActorLost:
    """Which loss it is. Ray tells causes apart by their sentences alone; one that it has reworded counts as a crash."""
    if isinstance(error, OutOfMemoryError):
        return ActorStarved(sentence)
    told = str(error)
    return next((kind(sentence) for words, kind in _CAUSES.items() if words in told), ActorLost(sentence))


def _cause(error: RayTaskError) -> Exception:
    """What a method of ours raised on purpose; anything else is a fault of the cluster."""
    cause = getattr(error, "cause", None)
    if isinstance(cause, MayflyError):
        return cause
    return StoreUnavailable(f"expected an answer of the cluster, got {type(cause or error).__name__}: see Ray's log")
