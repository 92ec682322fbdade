"""A policy changed: what is stored is reckoned again under the new one, and lives as long as before or shorter (R16).

Done once for each partition, beside all other work, when its owner finds that a policy's hash is not the one that was
last reckoned by. Whoever dies half-way leaves it to the next owner, who does it again: a life once shortened stays so.
"""

from __future__ import annotations

import asyncio
import logging

import msgspec

from stream.agents import assets, records
from stream.agents.book import Asset, Job
from stream.agents.estate import Estate
from stream.agents.slices import Slices
from stream.audit.receipts import Cause
from stream.events.rows import AssetState, JobState, Promised, rows
from stream.ids import Kind
from stream.ledger import Change
from stream.policies import deadlines
from stream.policies.deadlines import NoPromise
from stream.policies.vocabulary import Clock, DataClass

log = logging.getLogger(__name__)

KEY = b"promised"
BATCH = 500

_KINDS = (Kind.ASSET.value.encode(), Kind.JOB.value.encode())
_LIVING = frozenset({AssetState.PENDING, AssetState.STORED})


async def run(estate: Estate) -> None:
    """Until everything that lives is reckoned by the policies in force."""
    await estate.book.complete()
    changed = changed_apps(estate)
    if not changed:
        return
    slices, change, shorter = Slices(), Change(), 0
    for key in [key for key, _ in estate.ledger.items() if key.startswith(_KINDS)]:
        if slices.over():
            await asyncio.sleep(0)
        if key.startswith(Kind.JOB.value.encode()):
            job = estate.book.job(key.decode())
            shorter += job is not None and job.head.app in changed and reckon_job(estate, change, job)
        else:
            asset = estate.book.asset(key.decode())
            shorter += asset is not None and asset.head.app in changed and reckon_again(estate, change, asset)
        if len(change.rows) >= BATCH:
            estate.commit(change)
            await estate.ledger.barrier()
            change = Change()
    change.rows[KEY] = rows.encode(Promised({app: policy.hash for app, policy in estate.tools.policies.items()}))
    estate.commit(change)
    await estate.ledger.barrier()
    if shorter:
        log.info("estate %d: %d things live shorter by a new policy", estate.partition, shorter)


def changed_apps(estate: Estate) -> frozenset[str]:
    """Apps whose policy is not the one that things here were last reckoned by."""
    value = estate.ledger.get(KEY)
    header = rows.decode(value)[0] if value is not None else None
    known = header.hashes if isinstance(header, Promised) else {}
    return frozenset(app for app, policy in estate.tools.policies.items() if known.get(app) != policy.hash)


def reckon_again(estate: Estate, change: Change, asset: Asset) -> bool:
    """Whether its life is shorter under the policy in force. What that policy does not let be stored goes now."""
    if asset.head.state not in _LIVING or asset.body is None:
        return False
    try:
        found = assets.reckon(estate, asset, clocks_of(estate, asset))
    except NoPromise:
        assets.retire(estate, change, [asset], Cause.DEADLINE)
        return True
    if found.head.ceiling >= asset.head.ceiling:
        return False
    estate.book.put_asset(change, found)
    return True


def reckon_job(estate: Estate, change: Change, job: Job) -> bool:
    """Whether its record goes sooner under the policy in force: a job that still waits or runs then ends (R8)."""
    if job.body is None:
        return False
    try:
        found = deadlines.ceiling(
            estate.policy(job.head.app),
            DataClass.PROCESSING_RECORD,
            choice=job.body.choice,
            has_face=None,
            clocks={Clock.UPLOAD_RECEIVED: job.head.created_at} | _ended(job),
        )
        due = deadlines.deadline(found, lead_s=estate.rules.lead_s).due
    except NoPromise:
        due = estate.now()
    if due >= job.head.due:
        return False
    estate.book.put_job(change, Job(job.id, msgspec.structs.replace(job.head, due=due), job.body))
    return True


def clocks_of(estate: Estate, asset: Asset) -> dict[Clock, float]:
    """Those that started for it, as far as its row and its job's tell."""
    assert asset.body is not None
    if records.is_record(asset):
        return records.started(asset.body)
    job = estate.book.job(asset.head.job) if asset.head.job else None
    return {Clock.UPLOAD_RECEIVED: assets.started(asset)} | (_ended(job) if job is not None else {})


def _ended(job: Job) -> dict[Clock, float]:
    at = job.head.ended_at
    if not job.head.state.ended or not at:
        return {}
    clocks = {Clock.JOB_ENDED: at}
    if job.head.state is JobState.SUCCEEDED:
        clocks[Clock.GENERATION_COMPLETED] = at
    elif job.head.state is JobState.FAILED:
        clocks[Clock.PROCESSING_FAILED] = at
    return clocks
