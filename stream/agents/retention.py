"""The retention agent: looks at the clock, and says on the bus what has come due. The `expire` agent acts on it."""

from __future__ import annotations

import asyncio

from stream.agents import assets, jobs
from stream.agents.book import Asset
from stream.agents.estate import Estate
from stream.events.bus import ExpireCompleted, ExpireDue
from stream.events.rows import AssetState, JobState
from stream.ids import Kind, entry_of
from stream.ledger import Change

TICK_S = 0.2  # far below every lead
BATCH = 1000
DEADLINE = "deadline"
_PARKED = b"parked/"


async def run(estate: Estate) -> None:
    """Until cancelled."""
    while True:
        while keys := estate.book.take_due(estate.now(), BATCH):
            change = announce(estate, keys)
            await estate.commit(change)
        await asyncio.sleep(TICK_S)


def resume(estate: Estate) -> Change:
    """What a former owner hid and did not live to erase is announced again."""
    change = Change()
    found = [asset for asset_id in estate.book.hidden if (asset := estate.book.asset(asset_id)) is not None]
    by_cause: dict[str, list[Asset]] = {}
    for asset in found:
        by_cause.setdefault(asset.head.cause, []).append(asset)
    for cause, hidden in by_cause.items():
        assets.retire(estate, change, hidden, cause)
    return change


def announce(estate: Estate, keys: list[bytes]) -> Change:
    """What has come due: hidden in this commit, and said on the bus."""
    change = Change()
    assets.retire(estate, change, _due(estate, change, keys), DEADLINE)
    return change


def overdue(estate: Estate, keys: list[bytes]) -> Change:
    """What came due while nobody owned the partition: its keys die in this commit, before anything is served."""
    change = Change()
    ids = tuple(asset.id for asset in _due(estate, change, keys))
    return change.also(expire_due(estate, ExpireDue(assets=ids, cause=DEADLINE, at=estate.now()), b""))


def expire_due(estate: Estate, event: ExpireDue, _sealed: bytes) -> Change:
    """Agent `expire`: keys die at once where nobody holds them; else every holder lets go first."""
    found = [
        asset
        for asset_id in event.assets
        if (asset := estate.book.asset(asset_id)) is not None and asset.head.state is not AssetState.DEAD
    ]
    ids = {asset.id for asset in found}
    change = Change()
    users = [
        job
        for job_id in sorted({user for asset_id in ids for user in estate.book.users.get(asset_id, ())})
        if (job := estate.book.job(job_id)) is not None and job.body is not None
    ]
    held = {asset.id for asset in found if estate.grants.held(asset.id)}
    for job in users:  # R8: a deadline that arrives while a job waits or runs ends that job
        held |= ids & {*job.body.inputs, *job.body.features, *job.body.results} if job.body else set()
        if job.head.state is not JobState.ENDING:
            jobs.begin_end(estate, change, job, JobState.EXPIRED, cause=event.cause, everything=False)
    free = [asset for asset in found if asset.id not in held]
    assets.forget(estate, change, free, event.cause)
    jobs.resettle(estate, change, {asset.head.job for asset in free})
    if held:
        using = tuple(job.id for job in users)
        change.then.append(lambda _: estate.closer.erase(tuple(held), event.cause, using))
    return change


def expire_completed(_estate: Estate, _event: ExpireCompleted, _sealed: bytes) -> Change | None:
    """For whoever listens; the owner has nothing left to do."""
    return None


def _due(estate: Estate, change: Change, keys: list[bytes]) -> list[Asset]:
    """The assets among these rows; jobs and parked events are dealt with here."""
    due: list[Asset] = []
    for key in keys:
        if key.startswith(_PARKED):
            change.rows[key] = None
        elif key.startswith(Kind.JOB.value.encode()):
            _job(estate, change, key.decode())
        elif (asset := estate.book.asset(key.decode())) is not None and asset.head.due <= estate.now():
            due.append(asset)
    return due


def _job(estate: Estate, change: Change, job_id: str) -> None:
    job = estate.book.job(job_id)
    if job is None:
        return
    if not job.head.state.ended:
        if job.head.state is not JobState.ENDING:
            jobs.begin_end(estate, change, job, JobState.EXPIRED, cause=DEADLINE, everything=False)
    elif job.head.due <= estate.now():
        if job.body is not None:
            change.erase.append((job.head.page, entry_of(job.id)))
        estate.book.bury(change, job.id)
        estate.watch.forget(job.id)
