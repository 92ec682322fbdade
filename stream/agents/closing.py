"""Finishing what is ENDING: nobody holds the data, the keys are dead, and only then the end is announced (R7)."""

from __future__ import annotations

import asyncio

import msgspec

from stream.agents import assets, jobs
from stream.agents.book import Asset, Job
from stream.agents.dispatch import Dispatcher
from stream.agents.estate import Estate
from stream.agents.grants import Grants
from stream.events.rows import JobState
from stream.ledger import Change


class Closer:
    """One per estate. Each step is a commit that the next owner can take up from."""

    def __init__(self, estate: Estate, dispatcher: Dispatcher, grants: Grants) -> None:
        self._estate, self._dispatcher, self._grants = estate, dispatcher, grants
        self._busy: set[str] = set()

    def finish(self, job_id: str) -> None:
        """Begin, unless it is under way."""
        if job_id not in self._busy:
            self._busy.add(job_id)
            self._estate.spawn(self._finish(job_id), f"closing-{job_id[-8:]}")

    def erase(self, asset_ids: tuple[str, ...], cause: str, users: tuple[str, ...]) -> None:
        """These are hidden: have every holder let go, the leases of `users` among them; then their keys die."""
        self._estate.spawn(self._erase(asset_ids, cause, users), "erasing")

    async def _finish(self, job_id: str) -> None:
        estate, released = self._estate, False
        try:
            if (job := self._ending(job_id)) is not None and job.head.actor:
                released = await self._dispatcher.release(job)
            if (job := self._ending(job_id)) is not None:
                going, _ = jobs.fate(estate, job, job.head.ending or JobState.FAILED)
                await self._grants.revoke(asset.id for asset in going)
            while (job := self._ending(job_id)) is not None:
                going, staying = jobs.fate(estate, job, job.head.ending or JobState.FAILED)
                if not going and self._dying(job):
                    await estate.ledger.erased()
                    continue
                if not going and estate.certifier.behind:
                    # Were the end committed without the receipt, the next owner would certify after the end was told.
                    await asyncio.sleep(0)
                    continue
                change = Change()
                for asset in staying:
                    estate.book.put_asset(change, asset)
                if going:
                    assets.forget(estate, change, map(_let_go, going) if released else going, "job_end")
                    estate.book.put_job(change, Job(job.id, msgspec.structs.replace(job.head, actor=""), job.body))
                else:
                    jobs.settle(estate, change, job)
                await estate.commit(change)  # the keys are dead, and the roots that could open them
        finally:
            self._busy.discard(job_id)

    def _ending(self, job_id: str) -> Job | None:
        """The job as it is now, if it still has to be finished."""
        job = self._estate.book.job(job_id)
        return job if job is not None and job.head.state is JobState.ENDING else None

    def _dying(self, job: Job) -> bool:
        """Whether keys of this job still wait for their death: its end is not to be told before."""
        body = job.body
        own = (*body.inputs, *body.features, *body.results) if body is not None else ()
        return any(self._estate.ledger.erasing(row_id.encode()) for row_id in (job.id, *own))

    async def _erase(self, asset_ids: tuple[str, ...], cause: str, users: tuple[str, ...]) -> None:
        released: dict[str, int] = {}  # job → the fence of the lease that was taken back
        for job_id in users:
            job = self._estate.book.job(job_id)
            if job is not None and job.head.actor and await self._dispatcher.release(job):
                released[job_id] = job.head.fence
        await self._grants.revoke(asset_ids)
        change = Change()
        found = [asset for asset_id in asset_ids if (asset := self._estate.book.asset(asset_id)) is not None]
        owners = {asset.head.job for asset in found}
        assets.forget(self._estate, change, [_let_go(a) if a.head.job in released else a for a in found], cause)
        jobs.resettle(self._estate, change, owners)
        for job_id, fence in released.items():  # of a batch, what is left goes on
            if (job := self._estate.book.job(job_id)) is not None and job.head.fence == fence:
                jobs.unstarted(self._estate, change, job)
        await self._estate.commit(change)


def _let_go(asset: Asset) -> Asset:
    """As `jobs.let_go`, for what an engine was to write; an upload's URL is its gateway's."""
    return asset if asset.head.role == "input" else jobs.let_go(asset)
