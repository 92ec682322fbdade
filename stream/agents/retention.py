"""The retention agent: looks at the clock, and says on the bus what has come due. The `expire` agent acts on it."""

from __future__ import annotations

import asyncio

from stream.agents import assets, jobs
from stream.agents.book import HIDDEN_AGAIN_S, Asset
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
    """Until cancelled. Whole buckets first; then what came due before its bucket, and what was in somebody's hands."""
    while True:
        while keys := await _next(estate):
            estate.commit(announce(estate, keys))
            await estate.ledger.barrier()  # not for its keys to die: that may take the root store long
        if not estate.pages.away:
            estate.drops.settled()
        await asyncio.sleep(TICK_S)


async def open_with(estate: Estate) -> None:
    """At opening, before anything is served: what came due while nobody owned the partition dies."""
    if (again := resume(estate)).events:
        await estate.commit(again)
    while True:
        while keys := await _living(estate):
            await estate.commit(overdue(estate, keys))
        if not estate.pages.away:
            return
        await asyncio.sleep(TICK_S)


async def _next(estate: Estate) -> list[bytes]:
    """What to announce now. Rows whose keys are dead come last: they can wait, and others cannot."""
    if keys := await _living(estate):
        return keys
    return [] if estate.drops.patient or estate.pages.away else estate.book.take_aside(BATCH)


async def _living(estate: Estate) -> list[bytes]:
    """What is to be ended now: first what keeps a due bucket from being dropped.

    Nothing else while the root store does not answer: no API returns what has come due, and masses go by whole buckets.
    """
    keys = await estate.drops.take()
    while not keys and not estate.pages.away and (due := estate.book.take_due(estate.now(), BATCH)):
        keys = estate.drops.put_aside(due)
        await asyncio.sleep(0)
    return keys


def next_due(estate: Estate) -> float | None:
    """When the next promise comes due; now, as long as one is being kept."""
    due = estate.book.next_due()
    return min(estate.now(), due or estate.now()) if estate.book.aside else due


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
    """What has come due: hidden in this commit, and said on the bus; of what was dropped, the receipt."""
    change = Change()
    due = _due(estate, change, keys)
    dropped = [asset for asset in due if asset.body is None]
    assets.retire(estate, change, [asset for asset in due if asset.body is not None], DEADLINE)
    assets.dropped(estate, change, dropped, DEADLINE)
    jobs.resettle(estate, change, {asset.head.job for asset in dropped})
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
    using: list[str] = []
    for job in users:  # R8: a deadline that arrives while a job waits or runs ends that job, or that item of a batch
        theirs = jobs.give_up(estate, change, job, ids)
        if theirs is None:
            assert job.body is not None
            theirs = frozenset(ids.intersection({*job.body.inputs, *job.body.features, *job.body.results}))
            using.append(job.id)
            if job.head.state is not JobState.ENDING:
                jobs.begin_end(estate, change, job, JobState.EXPIRED, cause=event.cause, everything=False)
        elif theirs:
            using.append(job.id)
        held |= theirs
    free = [asset for asset in found if asset.id not in held]
    assets.forget(estate, change, free, event.cause)
    jobs.resettle(estate, change, {asset.head.job for asset in free})
    if held:
        change.then.append(lambda _: estate.closer.erase(tuple(held), event.cause, tuple(using)))
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
        elif (asset := estate.book.asset(key.decode())) is not None and asset.head.state is not AssetState.DEAD:
            if asset.head.state is AssetState.HIDDEN:  # whoever was to erase it did not: it is announced again
                estate.book.index_due(estate.now() + HIDDEN_AGAIN_S, key)
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
