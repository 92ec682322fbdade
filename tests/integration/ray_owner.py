"""An owner as small as it can be: submits, answers proposals with leases, polls, acknowledges. No ledger."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import AsyncIterator

import msgspec

from ray_cluster.client import Cluster, LeaseRefused, SchedulerLost
from ray_cluster.leases import Piece, Progress, Proposal, Task, Work
from stream.events.bus import Outcome
from stream.ids import Kind, Mint
from stream.vault.courier import Courier
from stream.vault.custody import S3Custody
from stream.vault.envelope import seal_bytes, seal_key
from stream.vault.purposes import lease_info, params_info, stream_name
from stream.vault.secret import Key
from stream.vault.stream_seal import open_, seal

APP = "testapp"  # of which no rule asks for a gate or a visible mark
URL_S = 600
MINT = Mint(bytes(32), 4)


def new_id(kind: Kind) -> str:
    return MINT.mint(kind, "tenant", 0)


class Photo:
    """Plaintext sealed into custody, under a key and an asset id of its own."""

    def __init__(self, plain: bytes) -> None:
        self.plain = plain
        self.asset = new_id(Kind.ASSET)
        self.key = Key.new()
        self.object = secrets.token_hex(16)

    async def put(self, custody: S3Custody, courier: Courier) -> Photo:
        sealed = seal(self.key, stream_name(self.asset), APP, self.plain)

        async def chunks() -> AsyncIterator[bytes]:
            yield sealed

        await courier.put_stream(custody.put_url(self.object, URL_S), len(sealed), chunks())
        return self


class Owner:
    """One worker's side of the protocol. `restarts`: how often it noticed that the scheduler was another."""

    def __init__(self, cluster: Cluster, custody: S3Custody, courier: Courier, *, worker: str = "worker-1") -> None:
        self.cluster = cluster
        self.custody = custody
        self.courier = courier
        self.worker = worker
        self.waiting: dict[str, Work] = {}
        self.restarts = 0
        self._wanted: dict[str, asyncio.Future[Proposal]] = {}

    async def submit(self, *, cost_s: float = 0.01, within_s: float = 60.0, pool: str = "noop") -> str:
        job = new_id(Kind.JOB)
        await self.submit_again(
            Work(job, self.worker, pool, "standard", "tenant", cost_s=cost_s, deadline=time.time() + within_s)
        )
        return job

    async def submit_again(self, work: Work) -> None:
        self.waiting[work.job] = work
        self._wanted[work.job] = asyncio.get_running_loop().create_future()
        await self._submit([work])

    async def proposal(self, job: str) -> Proposal:
        proposal = await self._wanted[job]
        del self.waiting[job]
        return proposal

    async def listen(self) -> None:
        """Long-poll for proposals until cancelled; after a restart of the scheduler, submit all again."""
        while True:
            try:
                proposals = await self.cluster.proposals(self.worker, wait_s=5)
            except SchedulerLost:
                self.restarts += 1
                await self._submit(list(self.waiting.values()))
                continue
            for proposal in proposals:
                wanted = self._wanted.get(proposal.job)
                if wanted and not wanted.done():
                    wanted.set_result(proposal)
                else:
                    await self.cluster.decline(proposal.job, proposal.actor, proposal.offer)

    async def start(
        self, proposal: Proposal, photo: Photo, result: Photo, *, fence: int = 1, profile: str = "", **params: object
    ) -> None:
        task = self.task(proposal, photo, result, fence=fence, **params)
        await self.cluster.start(proposal.actor, msgspec.structs.replace(task, profile=profile))

    def task(self, proposal: Proposal, photo: Photo, result: Photo, *, fence: int = 1, **params: object) -> Task:
        def piece(role: str, what: Photo, url: str) -> Piece:
            info = lease_info(what.asset, APP, fence=fence, role=role)
            return Piece(role, what.asset, url, seal_key(what.key, proposal.public, info))

        return Task(
            proposal.job,
            fence,
            APP,
            "noop",
            proposal.offer,
            (piece("input", photo, self.custody.get_url(photo.object, URL_S)),),
            (piece("result", result, self.custody.put_url(result.object, URL_S)),),
            seal_bytes(msgspec.json.encode(params), proposal.public, params_info(APP, fence=fence)),
        )

    async def outcome(self, proposal: Proposal, *, fence: int = 1, ack: bool = True) -> Outcome:
        seq = -1
        while True:
            progress = await self.cluster.progress(proposal.actor, proposal.job, fence, after_seq=seq, wait_s=10)
            assert progress.known
            seq = progress.seq
            if progress.outcome:
                if ack:
                    await self.cluster.ack(proposal.actor, proposal.job, fence)
                return progress.outcome

    async def until(self, proposal: Proposal, step: str, *, fence: int = 1) -> Progress:
        """As soon as the attempt reports `step`."""
        progress = await self.cluster.progress(proposal.actor, proposal.job, fence)
        while progress.step != step:
            assert progress.outcome is None
            progress = await self.cluster.progress(proposal.actor, proposal.job, fence, after_seq=progress.seq)
        return progress

    async def do(self, photo: Photo, *, cost_s: float = 0.01, within_s: float = 60.0, **params: object) -> Outcome:
        """One job from submit to acknowledged outcome; a refused lease is tried again under the next fence."""
        job = await self.submit(cost_s=cost_s, within_s=within_s)
        fence = 1
        while True:
            work = self.waiting[job]
            proposal = await self.proposal(job)
            try:
                await self.start(proposal, photo, Photo(photo.plain), fence=fence, **params)
            except LeaseRefused:
                fence += 1
                await self.submit_again(work)
                continue
            return await self.outcome(proposal, fence=fence)

    async def fetch(self, photo: Photo) -> bytes:
        chunks = [chunk async for chunk in self.courier.get_stream(self.custody.get_url(photo.object, URL_S))]
        return bytes(open_(photo.key, stream_name(photo.asset), APP, b"".join(chunks)).view)

    async def _submit(self, works: list[Work]) -> None:
        while True:
            try:
                return await self.cluster.submit(works)
            except SchedulerLost:
                self.restarts += 1
