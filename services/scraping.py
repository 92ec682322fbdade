"""Gauges that are measured when somebody asks for them: of this worker's partitions, and of the pools."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable

from aiohttp import web
from aiohttp.typedefs import Handler

from ray_cluster.pools import PoolStatus
from stream import topics
from stream.agents import parked, retention
from stream.agents.api import VERBS
from stream.agents.api_render import PATH as RENDER
from stream.agents.estate import Estate
from stream.errors import StoreUnavailable
from stream.metrics import jobs, scraped
from stream.metrics import worker as metrics

POOLS_S = 2.0  # a scrape has 10 s

OTHER = "other"


async def refresh(estates: Iterable[Estate], pools: Callable[[], Awaitable[list[PoolStatus]]]) -> None:
    """Set every gauge to what is so now."""
    owned = list(estates)
    scraped.PARTITIONS.set(len(owned))
    scraped.PROMISE_LAG_S.set(max((_lag_s(estate) for estate in owned), default=0.0))
    scraped.SWEEPING.set(sum(len(estate.book.dead) for estate in owned))
    waiting: Counter[str] = Counter()
    for estate in owned:
        for (topic, _), count in parked.waiting(estate).items():
            waiting[topic] += count
    for topic in topics.EVENTS:
        scraped.PARKED.labels(topic).set(waiting[topic])
    oldest: dict[str, float] = {}
    for estate in owned:
        for name, age_s in estate.passage.oldest_leases().items():
            oldest[name] = max(age_s, oldest.get(name, 0.0))
    jobs.LEASE_AGE_S.clear()
    for name, age_s in oldest.items():
        jobs.LEASE_AGE_S.labels(name).set(age_s)
    try:
        async with asyncio.timeout(POOLS_S):
            found = await pools()
    except (StoreUnavailable, TimeoutError):
        scraped.SCHEDULER_SILENT.set(1)
        return
    scraped.SCHEDULER_SILENT.set(0)
    for pool in found:
        _tell(pool)


@web.middleware
async def counted(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Count an answer by its verb and status; what is no verb of the owner API is one of the others.

    A render is not counted: no request of a RAM-only app is, by itself.
    """
    if request.path == RENDER:
        return await handler(request)
    status = 500
    try:
        answer = await handler(request)
        status = answer.status
    except web.HTTPException as error:
        status = error.status
        raise
    finally:
        verb = request.match_info.get("verb", OTHER)
        metrics.ANSWERS.labels(verb if verb in VERBS else OTHER, str(status)).inc()
    return answer


def _lag_s(estate: Estate) -> float:
    due = retention.next_due(estate)
    return 0.0 if due is None else max(0.0, estate.now() - due)


def _tell(pool: PoolStatus) -> None:
    idle = max(0, pool.actors - pool.leased - pool.starting - pool.draining)
    for state, count in zip(scraped.STATES, (pool.leased, idle, pool.starting, pool.draining), strict=True):
        scraped.ACTORS.labels(pool.pool, state).set(count)
    scraped.DESIRED.labels(pool.pool).set(pool.desired)
    scraped.QUEUED.labels(pool.pool).set(pool.queued)
    scraped.UTILISATION.labels(pool.pool).set(pool.leased / pool.actors if pool.actors else 0.0)
    scraped.PAUSED.labels(pool.pool).set(pool.paused)
    scraped.FAILED_STARTS.labels(pool.pool).set(pool.failed_starts)
