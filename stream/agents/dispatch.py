"""From a committed job row to an engine actor and back: a lease owns the job from here on, not a Kafka offset.

The scheduler proposes (job, actor, key pair); the owner commits fence + 1 and only then starts the actor. What the
actor says of another fence is nobody's. A worker that dies leaves LEASED rows; the next owner asks the named actor,
which keeps its outcome until somebody acknowledges it.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Callable
from typing import Protocol

import msgspec

from stream.agents import jobs, sizes
from stream.agents.assets import log_grant
from stream.agents.book import Asset, Job
from stream.agents.crowd import opaque
from stream.agents.estate import Estate
from stream.agents.wiped import wiped
from stream.audit.grants import Grantee
from stream.errors import LostLease, MayflyError, StoreUnavailable
from stream.events.bus import DetectRequested, Outcome, UploadReceived
from stream.events.lease import (
    FORGOTTEN,
    OUT_OF_MEMORY,
    UNKNOWN_SIZE,
    Piece,
    Place,
    Progress,
    Proposal,
    Size,
    Task,
    Work,
)
from stream.events.rows import JobState, Lane, Stage
from stream.ids import digest
from stream.ledger import Change, LedgerLost
from stream.vault import purposes
from stream.vault.envelope import seal_bytes, seal_key

log = logging.getLogger(__name__)

PROPOSALS_WAIT_S = 20.0
PROGRESS_WAIT_S = 20.0
AGAIN_S = 0.5  # after the cluster did not answer
PLACES_EVERY_S = 1.0
NO_PARAMS = b"{}"
BATCH_MARGIN = 4.0
"""A lease of a batch lives for so many times what its items are predicted to take, besides the usual length."""
LEASE_MAX_S = 86_400.0
WANTED_S = {Lane.INTERACTIVE: 30.0, Lane.STANDARD: 600.0, Lane.BATCH: 21_600.0}
"""A result is wanted within this and its own time, from when its job first waits: the pool grows for it."""


class Cluster(Protocol):
    """What a dispatcher needs of Ray. Every call may raise StoreUnavailable; those to an actor, LostLease."""

    async def submit(self, works: list[Work]) -> None:
        """Ask for actors; again is harmless."""
        ...

    async def withdraw(self, job: str) -> None:
        """No longer wanted."""
        ...

    async def proposals(self, worker: str, wait_s: float) -> list[Proposal]:
        """Long-poll."""
        ...

    async def decline(self, job: str, actor: str, offer: int) -> None:
        """This job is not ours, or wants no actor any more."""
        ...

    async def places(self, job_ids: list[str]) -> dict[str, Place]:
        """Positions in the queue."""
        ...

    async def epoch(self) -> str:
        """Changes when the scheduler restarts, and with it forgot what was submitted."""
        ...

    async def start(self, actor: str, task: Task) -> None:
        """Begin. Raises LostLease when the actor refuses (its `reason` says why) or is gone; then it may have begun."""
        ...

    async def progress(
        self, actor: str, job: str, fence: int, *, after_seq: int = -1, wait_s: float = 10.0
    ) -> Progress:
        """Long-poll. Raises LostLease when the actor is gone; its kind says why."""
        ...

    async def cancel(self, actor: str, job: str, fence: int) -> None:
        """Stop within a step."""
        ...

    async def ack(self, actor: str, job: str, fence: int) -> None:
        """The outcome is committed: the actor may forget it."""
        ...

    async def kill(self, actor: str) -> None:
        """End the process: what it held is gone with it."""
        ...


class Dispatcher:
    """A worker's one conversation with the cluster, for all its estates. `owner(job)`: the estate, or None.

    `cost_s` predicts an operation's seconds at a size; `learn` hears what attempts that succeeded took.
    """

    def __init__(
        self,
        cluster: Cluster,
        worker: str,
        *,
        owner: Callable[[str], Estate | None],
        pool: Callable[[str], str],
        cost_s: Callable[[str, Size], float],
        learn: Callable[[str, Size, float], None] = lambda *_: None,
    ) -> None:
        self.running = 0
        self.places: dict[str, Place] = {}
        self._cluster, self._worker = cluster, worker
        self._owner, self._pool, self._cost_s, self._learn = owner, pool, cost_s, learn
        self._queue: dict[str, Work] = {}  # submitted or to be, and not leased
        self._unsent: dict[str, Work] = {}
        self._wake = asyncio.Event()
        self._doubted = True  # whether the scheduler is the one that was submitted to

    # -- what estates ask ----------------------------------------------------------------------------------------

    def ready(self, job_id: str) -> None:
        """A committed row waits for an actor, or for the moment of its next try."""
        estate = self._owner(job_id)
        job = estate.book.job(job_id) if estate is not None else None
        if estate is None or job is None or job.body is None or job.head.state is not JobState.QUEUED:
            return
        if (early_s := job.head.not_before - estate.now()) > 0:
            asyncio.get_running_loop().call_later(early_s, self.ready, job_id)
            return
        operation = jobs.wanted(job)
        cost_s = self._cost_of(estate, job)
        work = Work(
            job=job_id,
            worker=self._worker,
            pool=self._pool(operation),
            lane=job.head.lane,
            tenant=opaque(job.body.tenant),
            cost_s=cost_s,
            deadline=estate.tools.real_time() + WANTED_S[job.head.lane] + cost_s,
            alone=job.body.crashes > 0,
        )
        self._queue[job_id] = self._unsent[job_id] = work
        self._wake.set()

    def _cost_of(self, estate: Estate, job: Job) -> float:
        """Of all its items that are still to be made."""
        operation = jobs.wanted(job)
        return sum(self._cost_s(operation, size) for size in sizes.each(estate, job).values())

    def predicted(self, operation: str) -> tuple[str, float]:
        """(pool, seconds of one actor) of a job whose pictures are not known yet."""
        return self._pool(operation), self._cost_s(operation, UNKNOWN_SIZE)

    def resume(self, estate: Estate) -> None:
        """Take up what an earlier owner left: queued rows are submitted, leased ones asked after."""
        for job_id in list(estate.book.active):
            job = estate.book.job(job_id)
            if job is None:
                continue
            if (
                job.head.state is JobState.AWAITING
            ):  # the last of its inputs may be there, and the event still on the bus
                if change := jobs.upload_received(estate, UploadReceived(job_id, "", estate.now()), b""):
                    estate.commit(change)
            elif job.head.state is JobState.QUEUED and job.head.stage is Stage.DETECT:
                # Whether anything is to be detected is decided by this event, which may still be on the bus.
                if change := jobs.detect_requested(estate, DetectRequested(job=job_id, at=estate.now()), b""):
                    estate.commit(change)
            elif job.head.state is JobState.QUEUED:
                self.ready(job_id)
            elif job.head.state is JobState.LEASED:
                estate.spawn(self._follow(estate, job.id, job.head.fence, job.head.actor), f"lease-{job_id[-8:]}")
            elif job.head.state is JobState.ENDING:
                estate.closer.finish(job_id)

    def revoked(self) -> None:
        """All partitions are: whoever owns them next submits what waits there."""
        self._queue.clear()
        self._unsent.clear()

    async def release(self, job: Job) -> bool:
        """Nobody holds this job's data after this: cancelled and wiped, or the actor killed. False: not even that."""
        self._queue.pop(job.id, None)
        await self._quietly(self._cluster.withdraw(job.id))
        if not job.head.actor:
            return True
        return await wiped(self._cluster, job.head.actor, job.id, job.head.fence)

    # -- loops ---------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._submit())
            group.create_task(self._propose())
            group.create_task(self._look())

    async def _submit(self) -> None:
        epoch, clock = "", asyncio.get_running_loop().time
        sure_until = 0.0
        while True:
            try:
                async with asyncio.timeout(PLACES_EVERY_S):
                    await self._wake.wait()
            except TimeoutError:
                pass
            self._wake.clear()
            try:
                if self._doubted or clock() >= sure_until:  # not with every batch: a call more for each job
                    self._doubted, sure_until = False, clock() + PLACES_EVERY_S
                    if (now := await self._cluster.epoch()) != epoch:
                        epoch, self._unsent = now, dict(self._queue)  # a new scheduler knows of nothing
                batch, self._unsent = list(self._unsent.values()), {}
                if batch:
                    await self._cluster.submit(batch)
            except StoreUnavailable as error:
                log.warning("the scheduler did not take %d jobs: %r", len(self._queue), error)
                self._unsent, self._doubted = dict(self._queue), True
                await asyncio.sleep(AGAIN_S)

    async def _look(self) -> None:
        """Positions and ETAs, for those who wait. What is nowhere twice in a row was lost on its way: once more."""
        missed: set[str] = set()
        while True:
            await asyncio.sleep(PLACES_EVERY_S)
            waiting = list(self._queue)
            if not waiting:
                self.places, missed = {}, set()
                continue
            try:
                places = await self._cluster.places(waiting)
            except StoreUnavailable:
                continue
            nowhere = {job_id for job_id in waiting if job_id not in places and job_id in self._queue}
            self._unsent |= {job_id: self._queue[job_id] for job_id in nowhere & missed}
            missed = nowhere - missed
            changed = [job_id for job_id in waiting if places.get(job_id) != self.places.get(job_id)]
            self.places = places
            for job_id in changed:
                if (estate := self._owner(job_id)) is not None:
                    estate.watch.bump(job_id)

    async def _propose(self) -> None:
        while True:
            try:
                proposals = await self._cluster.proposals(self._worker, PROPOSALS_WAIT_S)
            except StoreUnavailable:
                self._doubted = True
                self._wake.set()
                await asyncio.sleep(AGAIN_S)
                continue
            for proposal in proposals:
                self._queue.pop(proposal.job, None)
                if (estate := self._owner(proposal.job)) is None:
                    await self._decline(proposal)
                else:
                    estate.spawn(self._lease(estate, proposal), f"lease-{proposal.job[-8:]}")

    # -- one lease -----------------------------------------------------------------------------------------------

    async def _lease(self, estate: Estate, proposal: Proposal) -> None:
        """Commit, start, follow. Whatever goes wrong, the row does not stay leased to nobody."""
        try:
            fence = await self._commit_lease(estate, proposal)
            if fence is not None:
                await self._follow(estate, proposal.job, fence, proposal.actor)
        except LedgerLost:
            raise
        except Exception as error:
            log.exception("a lease of %s broke", proposal.actor)
            estate.book.discard()
            job = estate.book.job(proposal.job)
            reason = error.kind if isinstance(error, MayflyError) else "internal"
            change = Change()
            if job is not None and job.head.state is JobState.LEASED and job.head.actor == proposal.actor:
                jobs.failed(estate, change, job, Outcome("failed", kind="transient", reason=reason))
            elif job is not None and job.head.state is JobState.QUEUED:  # it would break again, for ever
                jobs.end(estate, change, job, JobState.FAILED, reason=reason)
            await estate.commit(change)

    async def _commit_lease(self, estate: Estate, proposal: Proposal) -> int | None:
        """The fence of a lease that its actor may have begun, or None."""
        job = estate.book.job(proposal.job)
        if job is None or job.head.state is not JobState.QUEUED:
            await self._decline(proposal)
            return None
        fence = job.head.fence + 1
        named = Job(job.id, msgspec.structs.replace(job.head, actor=proposal.actor), job.body)
        change = Change()
        try:
            until = estate.tools.real_time() + self._lease_s(estate, job)
            made = jobs.outputs(estate, change, named, fence, urls_until=until)
        except MayflyError as error:  # its promise came due while it waited, or an input is gone
            estate.book.discard()
            jobs.end(estate, change := Change(), job, JobState.EXPIRED, reason=error.kind)
            await estate.commit(change)
            await self._decline(proposal)
            return None
        used = jobs.used(estate, estate.book.job(job.id) or named)
        told = {asset.id: asset for asset in (*(asset for _, asset in used), *made)}
        for asset in told.values():  # the leaf is committed before the key leaves
            log_grant(estate, change, asset, Grantee.ENGINE, until)
        await estate.commit(change)
        estate.watch.bump(job.id)
        leased = estate.book.job(job.id)
        if leased is None or leased.head.fence != fence or leased.head.state is not JobState.LEASED:
            await self._decline(proposal)
            return None
        try:
            await self._cluster.start(proposal.actor, self._task(estate, leased, proposal, used, made))
        except LostLease as error:  # refused, or the actor is gone with all that it began: no attempt is counted
            log.info("a lease of %s did not start: %s", proposal.actor, error.kind)
            if (unstarted := estate.book.job(job.id)) is not None and unstarted.head.fence == fence:
                jobs.unstarted(estate, change := Change(), unstarted)
                await estate.commit(change)
            return None
        except StoreUnavailable as error:  # it may have begun: ask
            log.info("a lease of %s may not have started: %s", proposal.actor, error.kind)
        return fence

    def _lease_s(self, estate: Estate, job: Job) -> float:
        """How long a lease's URLs live: its items are done one after the other."""
        assert job.body is not None
        usual_s = estate.rules.lease_url_s
        if job.body.items == 1:
            return usual_s
        return min(usual_s + BATCH_MARGIN * self._cost_of(estate, job), max(usual_s, LEASE_MAX_S))

    def _task(
        self,
        estate: Estate,
        job: Job,
        proposal: Proposal,
        used: list[tuple[int, Asset]],
        made: list[Asset],
    ) -> Task:
        assert job.body is not None
        app, fence = job.head.app, job.head.fence
        params = NO_PARAMS if job.head.stage is Stage.DETECT else job.body.params  # they are the operation's own
        expires_s = math.ceil(made[0].head.urls_until - estate.tools.real_time())

        def piece(item: int, asset: Asset, url: str) -> Piece:
            key = estate.book.key(asset.head.page, asset.id)
            info = purposes.lease_info(asset.id, app, fence=fence, role=asset.head.role)
            size = asset.body.size_bytes if asset.body is not None else 0
            sealed = seal_key(key, proposal.public, info)
            key.wipe()
            return Piece(role=asset.head.role, asset=asset.id, url=url, sealed_key=sealed, size_bytes=size, item=item)

        return Task(
            job=job.id,
            fence=fence,
            app=app,
            operation=jobs.wanted(job),
            offer=proposal.offer,
            inputs=tuple(piece(n, a, estate.custody.get_url(a.head.object, expires_s)) for n, a in used),
            outputs=tuple(piece(a.head.n, a, estate.custody.put_url(a.head.object, expires_s)) for a in made),
            sealed_params=seal_bytes(params, proposal.public, purposes.params_info(app, fence=fence)),
            seed=int.from_bytes(digest("seed", job.id)[:4], "big"),
            profile=job.body.profile,
        )

    async def _follow(self, estate: Estate, job_id: str, fence: int, actor: str) -> None:
        """Until the outcome is on the bus. The actor keeps it until then."""
        self.running += 1
        try:
            outcome = await self._outcome(estate, job_id, fence, actor)
            job = estate.book.job(job_id)
            accepted = job is not None and job.head.state is JobState.LEASED and job.head.fence == fence
            if outcome is None:
                return
            if job is not None and accepted:
                size = sizes.each(estate, job)
                await estate.commit(jobs.completed(estate, job, fence, outcome))
                self._learn_of(jobs.wanted(job), size, outcome)
            await self._quietly(self._cluster.ack(actor, job_id, fence))
        finally:
            self.running -= 1

    def _learn_of(self, operation: str, size: dict[int, Size], outcome: Outcome) -> None:
        """From what succeeded, item by item."""
        for one in outcome.items:
            if one.output is not None and one.n in size:
                self._learn(operation, size[one.n], one.engine_s)
        if outcome.status == "succeeded" and not outcome.items and len(size) == 1:
            (alone,) = size.values()
            self._learn(operation, alone, outcome.engine_s or outcome.seconds)

    async def _outcome(self, estate: Estate, job_id: str, fence: int, actor: str) -> Outcome | None:
        seq, item = -1, jobs.begins_with(estate, job_id)  # until the actor has said at which it is
        while True:
            job = estate.book.job(job_id)
            if job is None or job.head.fence != fence or job.head.state is not JobState.LEASED:
                return None  # ended meanwhile; whoever ended it released the lease
            try:
                progress = await self._cluster.progress(actor, job_id, fence, after_seq=seq, wait_s=PROGRESS_WAIT_S)
            except LostLease as error:
                kind = "resource" if error.kind == OUT_OF_MEMORY else "transient"
                return Outcome(status="failed", kind=kind, reason=error.kind, wiped=True, suspect=item)
            except StoreUnavailable:
                await asyncio.sleep(AGAIN_S)
                continue
            if not progress.known:
                return Outcome(status="failed", kind="transient", reason=FORGOTTEN, wiped=True)
            if progress.outcome is not None:
                return progress.outcome
            seq, item = progress.seq, progress.item
            estate.watch.bump(job_id, progress)

    async def _decline(self, proposal: Proposal) -> None:
        await self._quietly(self._cluster.decline(proposal.job, proposal.actor, proposal.offer))

    async def _quietly(self, call: object) -> bool:
        """For courtesies whose failure changes nothing; whether it was heard."""
        try:
            await call  # type: ignore[misc]
        except (LostLease, StoreUnavailable) as error:
            log.info("the cluster did not hear a courtesy: %r", error)
            return False
        return True
