"""A worker as far as leases go: it submits, commits each lease to a real ledger, starts it, waits for the outcome."""

from __future__ import annotations

import asyncio
import os
import secrets
import time
from collections.abc import AsyncIterator

import msgspec

from ray_cluster.client import Cluster, LeaseRefused, SchedulerLost
from ray_cluster.leases import Piece, Proposal, Task, Work
from stream.events.bus import Outcome
from stream.ids import Kind, Mint
from stream.ledger import Change, Ledger
from stream.vault.courier import Courier
from stream.vault.custody import S3Custody
from stream.vault.envelope import seal_bytes, seal_key
from stream.vault.purposes import lease_info, params_info, stream_name
from stream.vault.secret import Key
from stream.vault.stream_seal import seal

APP = "testapp"  # of which no rule asks for a gate or a visible mark
URL_S = 600
ROW_BYTES = 300
INPUT_BYTES = 10_000

_MINT = Mint(bytes(32), 1)


class Timed(msgspec.Struct, frozen=True):
    """One job. Seconds on the monotonic clock; `began` and `ended` are the engine's own."""

    actor: str
    submitted: float
    committed: float
    began: float
    ended: float
    told: float


class Owner:
    """Use `open`, then `do`. Without a ledger, leases are committed to nothing."""

    def __init__(self, cluster: Cluster, custody: S3Custody, courier: Courier, ledger: Ledger | None) -> None:
        self._cluster, self._custody, self._courier, self._ledger = cluster, custody, courier, ledger
        self._worker = f"worker-{secrets.token_hex(4)}"
        self._wanted: dict[str, asyncio.Future[Proposal]] = {}
        self._asset, self._key, self._object = _MINT.mint(Kind.ASSET, "t", 0), Key.new(), secrets.token_hex(16)

    async def open(self) -> None:
        """The one picture that every job works on."""
        sealed = seal(self._key, stream_name(self._asset), APP, os.urandom(INPUT_BYTES))

        async def chunks() -> AsyncIterator[bytes]:
            yield sealed

        await self._courier.put_stream(self._custody.put_url(self._object, URL_S), len(sealed), chunks())

    async def listen(self) -> None:
        """Take proposals, until cancelled."""
        while True:
            try:
                proposals = await self._cluster.proposals(self._worker, wait_s=5)
            except SchedulerLost:
                continue
            for proposal in proposals:
                wanted = self._wanted.get(proposal.job)
                if wanted is not None and not wanted.done():
                    wanted.set_result(proposal)
                else:
                    await self._cluster.decline(proposal.job, proposal.actor, proposal.offer)

    async def do(self, jobs: int, *, cost_s: float, within_s: float = 60.0, step_s: float = 0.0) -> list[Timed]:
        """So many at once, each of `step_s` seconds."""
        began = time.monotonic()
        works = [
            Work(
                _MINT.mint(Kind.JOB, "t", 0),
                self._worker,
                "noop",
                "interactive",
                "t",
                cost_s=cost_s,
                deadline=time.time() + within_s,
            )
            for _ in range(jobs)
        ]
        for work in works:
            self._wanted[work.job] = asyncio.get_running_loop().create_future()
        await self._cluster.submit(works)
        return await asyncio.gather(*(self._one(work, began, step_s) for work in works))

    async def _one(self, work: Work, submitted: float, step_s: float) -> Timed:
        fence = 0
        while True:
            proposal = await self._wanted[work.job]
            fence += 1
            await self._commit(work.job)
            committed = time.monotonic()
            try:
                await self._cluster.start(proposal.actor, self._task(proposal, fence, step_s))
                break
            except LeaseRefused:
                self._wanted[work.job] = asyncio.get_running_loop().create_future()
                await self._cluster.submit([work])
        outcome = await self._outcome(proposal, fence)
        told = time.monotonic()
        assert outcome.status == "succeeded", outcome.reason
        await self._cluster.ack(proposal.actor, work.job, fence)
        del self._wanted[work.job]
        return Timed(proposal.actor, submitted, committed, outcome.facts["began_s"], outcome.facts["ended_s"], told)

    async def _commit(self, job: str) -> None:
        """A lease as the ledger has it: the job's row and its result's, one transaction with whoever else commits."""
        if self._ledger is not None:
            rows: dict[bytes, bytes | None] = {key: os.urandom(ROW_BYTES) for key in (job.encode(), os.urandom(24))}
            await self._ledger.apply(Change(rows=rows))

    async def _outcome(self, proposal: Proposal, fence: int) -> Outcome:
        seq = -1
        while True:
            found = await self._cluster.progress(proposal.actor, proposal.job, fence, after_seq=seq, wait_s=10)
            assert found.known
            if found.outcome is not None:
                return found.outcome
            seq = found.seq

    def _task(self, proposal: Proposal, fence: int, step_s: float) -> Task:
        def piece(role: str, url: str) -> Piece:
            info = lease_info(self._asset, APP, fence=fence, role=role)
            return Piece(role, self._asset, url, seal_key(self._key, proposal.public, info))

        params = {"steps": 1, "step_s": step_s, "timed": True}
        result = secrets.token_hex(16)
        return Task(
            proposal.job,
            fence,
            APP,
            "noop",
            proposal.offer,
            (piece("input", self._custody.get_url(self._object, URL_S)),),
            (piece("result", self._custody.put_url(result, URL_S)),),
            seal_bytes(msgspec.json.encode(params), proposal.public, params_info(APP, fence=fence)),
        )
