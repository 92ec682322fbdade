"""Which key signs a partition's log: the one in the worker's folder, from the leaf on that names it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from stream.agents.estate import Estate
from stream.audit.log import Log
from stream.audit.signer import Signer
from stream.ledger import Change
from stream.metrics import worker as metrics

log = logging.getLogger(__name__)

LOOK_S = 2.0


def name_key(estate: Estate, signer: Signer) -> Change | None:
    """The change whose leaf says that this signer's key signs from there on; None if the log said so before."""
    if not estate.audit.adopt(signer):
        return None
    change = Change()
    estate.log(change, Log.name_key)
    return change


async def follow(estate: Estate, read: Callable[[], Signer], *, every_s: float = LOOK_S) -> None:
    """Take up a rotation while the owner runs: `read` opens the folder again."""
    while True:
        await asyncio.sleep(every_s)
        try:
            signer = read()
        except (OSError, ValueError) as error:
            metrics.SIGNING_UNREAD.inc()
            log.warning(
                "the signing key cannot be read (%s): the log goes on under the one before", type(error).__name__
            )
            continue
        if (change := name_key(estate, signer)) is not None:
            await estate.commit(change)
            log.info("partition %d: its log is signed by %s from here on", estate.partition, signer.key_id)
