"""Taking a lease back: the actor stops, and says that it has overwritten what it held; or it is ended."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from stream.errors import LostLease, StoreUnavailable

if TYPE_CHECKING:
    from stream.agents.dispatch import Cluster

log = logging.getLogger(__name__)

WAIT_S = 10.0


async def wiped(cluster: Cluster, actor: str, job: str, fence: int) -> bool:
    """Nobody holds anything of this attempt after True. False: the actor could not even be killed."""
    try:
        async with asyncio.timeout(WAIT_S):
            await cluster.cancel(actor, job, fence)
            progress = await cluster.progress(actor, job, fence, wait_s=0.0)
            while progress.known and progress.outcome is None:
                progress = await cluster.progress(actor, job, fence, after_seq=progress.seq, wait_s=WAIT_S)
            await cluster.ack(actor, job, fence)
        if not progress.known or (progress.outcome is not None and progress.outcome.wiped):
            return True
        log.warning("actor %s ended without its wipe: it is killed", actor)
    except LostLease:
        return True  # its process is gone, and what it held with it
    except (TimeoutError, StoreUnavailable) as error:
        log.warning("actor %s did not acknowledge its wipe (%r): it is killed", actor, error)
    try:
        await cluster.kill(actor)
    except (LostLease, StoreUnavailable) as error:
        log.warning("actor %s could not be killed: %r", actor, error)
        return False
    return True
