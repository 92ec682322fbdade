"""Finishing what is ENDING: nobody holds the data, the keys are dead, and only then the end is announced (R7)."""

from __future__ import annotations

import msgspec

from stream.agents import assets, jobs
from stream.agents.book import Job
from stream.agents.dispatch import Dispatcher
from stream.agents.estate import Estate
from stream.agents.grants import Grants
from stream.events.rows import AssetState, JobState
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
        try:
            job = self._estate.book.job(job_id)
            if job is None or job.head.state is not JobState.ENDING:
                return
            if job.head.actor:
                await self._dispatcher.release(job)
            hidden = [a for a in assets.owned(self._estate, job) if a.head.state is AssetState.HIDDEN]
            await self._grants.revoke(asset.id for asset in hidden)
            change = Change()
            job = self._estate.book.job(job_id)
            if job is None or job.head.state is not JobState.ENDING:
                return
            dying = jobs.dying(self._estate, change, job, job.head.ending or JobState.FAILED)
            if assets.forget(self._estate, change, dying, "job_end"):
                job = Job(job.id, msgspec.structs.replace(job.head, actor=""), job.body)
                self._estate.book.put_job(change, job)
                await self._estate.commit(change)
            job = self._estate.book.job(job_id)
            if job is not None and job.head.state is JobState.ENDING:
                jobs.settle(self._estate, change := Change(), job)
                await self._estate.commit(change)
        finally:
            self._busy.discard(job_id)

    async def _erase(self, asset_ids: tuple[str, ...], cause: str, users: tuple[str, ...]) -> None:
        for job_id in users:
            if (job := self._estate.book.job(job_id)) is not None and job.head.actor:
                await self._dispatcher.release(job)
        await self._grants.revoke(asset_ids)
        change = Change()
        found = [asset for asset_id in asset_ids if (asset := self._estate.book.asset(asset_id)) is not None]
        owners = {asset.head.job for asset in found}
        assets.forget(self._estate, change, found, cause)
        jobs.resettle(self._estate, change, owners)
        await self._estate.commit(change)
