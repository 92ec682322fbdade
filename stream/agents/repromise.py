"""A policy changed: what is stored is reckoned again under the new one, and lives as long as before or shorter (R16).

Done once for each partition, beside all other work, when its owner finds that a policy's hash is not the one that was
last reckoned by. Whoever dies half-way leaves it to the next owner, who does it again: a life once shortened stays so.
"""

from __future__ import annotations

import asyncio
import logging

from stream.agents import assets, records
from stream.agents.book import Asset
from stream.agents.estate import Estate
from stream.agents.slices import Slices
from stream.audit.receipts import Cause
from stream.events.rows import AssetState, JobState, Promised, rows
from stream.ids import Kind
from stream.ledger import Change
from stream.policies.deadlines import NoPromise
from stream.policies.vocabulary import Clock

log = logging.getLogger(__name__)

KEY = b"promised"
BATCH = 500

_LIVING = frozenset({AssetState.PENDING, AssetState.STORED})


async def run(estate: Estate) -> None:
    """Until everything that lives is reckoned by the policies in force."""
    await estate.book.complete()
    changed = changed_apps(estate)
    if not changed:
        return
    slices, change, shorter = Slices(), Change(), 0
    for key in [key for key, _ in estate.ledger.items() if key.startswith(Kind.ASSET.value.encode())]:
        if slices.over():
            await asyncio.sleep(0)
        asset = estate.book.asset(key.decode())
        if asset is not None and asset.head.app in changed and reckon_again(estate, change, asset):
            shorter += 1
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


def clocks_of(estate: Estate, asset: Asset) -> dict[Clock, float]:
    """Those that started for it, as far as its row and its job's tell."""
    assert asset.body is not None
    if records.is_record(asset):
        return records.started(asset.body)
    clocks = {Clock.UPLOAD_RECEIVED: assets.started(asset)}
    job = estate.book.job(asset.head.job) if asset.head.job else None
    if job is not None and job.head.state.ended and job.head.ended_at:
        clocks[Clock.JOB_ENDED] = job.head.ended_at
        if job.head.state is JobState.SUCCEEDED:
            clocks[Clock.GENERATION_COMPLETED] = job.head.ended_at
        elif job.head.state is JobState.FAILED:
            clocks[Clock.PROCESSING_FAILED] = job.head.ended_at
    return clocks
