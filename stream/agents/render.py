"""Pictures of RAM-only apps, from a worker to an engine actor and back: no row, no event, no line in any log.

The scheduler sees them as it sees jobs. What differs is who holds the lease: no ledger, but the connection of one
request. Its task is here; when it ends, so does the actor's work, and its wipe is awaited.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import ClassVar

import msgspec

from stream.agents import ending
from stream.agents.api_render import Ask, Granted
from stream.agents.crowd import opaque
from stream.agents.dispatch import WANTED_S, Cluster
from stream.agents.estate import Tools
from stream.agents.owner import IMAGES, VIDEOS
from stream.agents.wiped import wiped
from stream.errors import BadRequest, LostLease, StoreUnavailable
from stream.events.bus import Outcome
from stream.events.lease import Proposal, Task, Work
from stream.events.rows import Lane
from stream.policies import statistics, verdict
from stream.policies.refusals import OperationNotOffered
from stream.policies.vocabulary import MediaKind
from stream.vault.resident import MemoryUnsafe

log = logging.getLogger(__name__)

LANE = Lane.INTERACTIVE
QUEUED_S = 120.0  # longer than this nobody waits on an open connection
BEGIN_S = 5.0
TRIES = 3  # of actors that took nothing
POLL_S = 20.0
EPOCH_S = 1.0
AGAIN_S = 0.5
PROGRESS_S = 5.0  # an actor that is not asked for a while longer than this stops (`ray_cluster.actors`: ORPHAN_S)
SILENT_S = 30.0  # an actor of which nothing is heard for so long is given up, and killed


class NoActor(StoreUnavailable):
    """No actor was free in time, or none took the picture: nothing was begun."""

    kind: ClassVar[str] = "no-actor"


class ActorDied(StoreUnavailable):
    """The actor died while it worked, and what it held with it. Nothing is kept from which to try again."""

    kind: ClassVar[str] = "actor-lost"


class NotAsked(BadRequest):
    """The gateway began something else than it had asked for."""

    kind: ClassVar[str] = "not-asked"


def judge(tools: Tools, ask: Ask, *, unsafe: str = "") -> Granted:
    """The verdict. `unsafe`: why RAM-only apps may not be served here.

    Raises a Refusal, ServiceEnded, MemoryUnsafe, and an `admission.Limit` where there is no room for one picture.
    """
    policy = tools.policies.get(ask.app)
    if policy is None:
        raise OperationNotOffered("expected an app with a policy; no worker here knows this one")
    ending.check(tools, ask.app)
    operation = verdict.decide_render(
        policy, ask.operation, ask.params, available=tools.available, region=tools.rules.region
    )
    if unsafe:
        raise MemoryUnsafe(f"{policy.app} is worked on in memory only, and this deployment cannot promise that yet")
    tools.crowd.look(ask.tenant, ask.operation, LANE, max_jobs=ask.max_jobs, max_work_s=ask.max_work_s)
    slot, rules = operation.inputs[0], tools.rules
    images, videos = MediaKind.IMAGE in slot.accepts, MediaKind.VIDEO in slot.accepts
    return Granted(
        accept=(*(IMAGES if images else ()), *(VIDEOS if videos else ())),
        max_bytes=max(rules.max_image_bytes if images else 0, rules.max_video_bytes if videos else 0),
        max_pixels=rules.max_pixels,
        max_duration_s=rules.max_duration_s,
        input_role=slot.role,
        counted=operation.name in statistics.rendered(policy),
    )


Offer = Callable[[int, Proposal], Awaitable[Task]]
"""(fence, proposal) → the task that the gateway made for it."""


class Renderer:
    """A worker's conversation with the cluster for pictures that have no row. `pool`, `cost_s`: of an operation."""

    def __init__(
        self, cluster: Cluster, worker: str, *, pool: Callable[[str], str], cost_s: Callable[[str], float], tools: Tools
    ) -> None:
        self._cluster, self._worker, self._pool, self._cost_s, self._tools = cluster, worker, pool, cost_s, tools
        self._waiting: dict[str, tuple[Work, asyncio.Future[Proposal]]] = {}
        self._unsent: set[str] = set()
        self._wake = asyncio.Event()

    async def run(self) -> None:
        """Until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._submit())
            group.create_task(self._propose())

    async def work(self, ask: Ask, job: str, offer: Offer) -> Outcome:
        """One picture's way. Cancelled, it returns when the actor has wiped what it had, or is gone.

        Raises NoActor, ActorDied, MemoryUnsafe, an `admission.Limit`, and what `offer` raises.
        """
        with self._tools.crowd.holding(
            ask.tenant, ask.operation, LANE, max_jobs=ask.max_jobs, max_work_s=ask.max_work_s
        ) as leased:
            return await self._work(ask, job, offer, leased)

    async def _work(self, ask: Ask, job: str, offer: Offer, leased: Callable[[], None]) -> Outcome:
        for fence in range(1, TRIES + 1):
            proposal = await self._proposal(ask, job)
            leased()
            try:
                task = await offer(fence, proposal)
                _check(task, ask, job, fence)
            except BaseException:
                await asyncio.shield(self._quietly(self._cluster.decline(job, proposal.actor, proposal.offer)))
                raise
            try:
                if await self._start(proposal.actor, msgspec.structs.replace(task, in_memory=True)):
                    return await self._follow(proposal.actor, job, fence)
            except BaseException:
                await asyncio.shield(wiped(self._cluster, proposal.actor, job, fence))
                raise
        raise NoActor("expected an actor to take this picture, none did: send it again")

    async def _proposal(self, ask: Ask, job: str) -> Proposal:
        cost_s = self._cost_s(ask.operation)
        work = Work(
            job=job,
            worker=self._worker,
            pool=self._pool(ask.operation),
            lane=LANE,
            tenant=opaque(ask.tenant),
            cost_s=cost_s,
            deadline=self._tools.real_time() + WANTED_S[LANE] + cost_s,
        )
        turn = asyncio.get_running_loop().create_future()
        self._waiting[job] = work, turn
        self._unsent.add(job)
        self._wake.set()
        try:
            async with asyncio.timeout(QUEUED_S):
                found: Proposal = await turn
        except BaseException as error:
            self._waiting.pop(job, None)
            if turn.done() and not turn.cancelled():
                left = turn.result()
                await asyncio.shield(self._quietly(self._cluster.decline(job, left.actor, left.offer)))
            else:
                await asyncio.shield(self._quietly(self._cluster.withdraw(job)))
            if isinstance(error, TimeoutError):
                raise NoActor(f"expected an actor within {QUEUED_S:g} s, none was free: send it again later") from None
            raise
        return found

    async def _start(self, actor: str, task: Task) -> bool:
        """Whether the actor may have begun."""
        try:
            await self._cluster.start(actor, task)
        except LostLease as error:
            reason = getattr(error, "reason", "")
            if reason == MemoryUnsafe.kind:
                raise MemoryUnsafe("expected an actor whose memory no disk can see, none is here") from None
            # Only a refusal says that nothing was begun. One that died may have taken the picture, which is given once.
            return not reason
        except StoreUnavailable:
            pass  # asking it will tell
        return True

    async def _follow(self, actor: str, job: str, fence: int) -> Outcome:
        seq, heard = -1, time.monotonic()
        while True:
            try:
                progress = await self._cluster.progress(actor, job, fence, after_seq=seq, wait_s=PROGRESS_S)
            except LostLease:
                progress = None
            except StoreUnavailable:
                if time.monotonic() - heard > SILENT_S:
                    raise ActorDied("expected the actor to answer, it is silent: send it again") from None
                await asyncio.sleep(AGAIN_S)
                continue
            heard = time.monotonic()
            if progress is None or not progress.known:
                raise ActorDied("expected the actor to finish, its process is gone with all it held: send it again")
            if progress.outcome is not None:
                await self._quietly(self._cluster.ack(actor, job, fence))
                return progress.outcome
            seq = progress.seq

    async def _submit(self) -> None:
        epoch = ""
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(EPOCH_S if self._waiting else None):
                    await self._wake.wait()
            self._wake.clear()
            if not self._waiting:
                continue
            try:
                if (now := await self._cluster.epoch()) != epoch:
                    epoch, self._unsent = now, set(self._waiting)  # a new scheduler knows of nothing
                batch, self._unsent = self._unsent, set()
                works = [self._waiting[job][0] for job in batch if job in self._waiting]
                if works:
                    await self._cluster.submit(works)
            except StoreUnavailable:
                self._unsent = set(self._waiting)
                await asyncio.sleep(AGAIN_S)

    async def _propose(self) -> None:
        while True:
            try:
                proposals = await self._cluster.proposals(self._worker, POLL_S)
            except StoreUnavailable:
                self._wake.set()
                await asyncio.sleep(AGAIN_S)
                continue
            for proposal in proposals:
                _, turn = self._waiting.pop(proposal.job, (None, None))
                if turn is None or turn.done():
                    await self._quietly(self._cluster.decline(proposal.job, proposal.actor, proposal.offer))
                else:
                    turn.set_result(proposal)

    async def _quietly(self, call: Awaitable[object]) -> None:
        """For courtesies whose failure changes nothing: what is not heard is taken back by the scheduler itself."""
        with suppress(LostLease, StoreUnavailable):
            await call


def _check(task: Task, ask: Ask, job: str, fence: int) -> None:
    if (task.job, task.fence, task.operation, task.app) != (job, fence, ask.operation, ask.app):
        raise NotAsked("expected the task of the picture that was asked for")
