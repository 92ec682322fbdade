"""After the keys: objects are deleted, their absence verified, rows tombstoned. The rows themselves are the cursor."""

from __future__ import annotations

import asyncio
import logging
from itertools import islice

from stream import topics
from stream.agents.book import Asset
from stream.agents.estate import Estate
from stream.audit.receipts import milliseconds
from stream.errors import StoreUnavailable
from stream.events.bus import ExpireCompleted, bus
from stream.ledger import Change, Outgoing
from stream.metrics import worker as metrics

log = logging.getLogger(__name__)

BATCH = 500
LOOKED_AT = 2 * BATCH
AGAIN_S = 2.0


class Sweeper:
    """One per estate."""

    def __init__(self, estate: Estate) -> None:
        self._estate = estate
        self._wake = asyncio.Event()
        self._passed_over = 0  # in a row

    def wake(self) -> None:
        """There is something dead."""
        self._wake.set()

    async def run(self) -> None:
        """Until cancelled. A store that does not answer is asked again: what is dead is unreadable meanwhile."""
        while True:
            try:
                if not await self._sweep():
                    async with asyncio.timeout(AGAIN_S):
                        await self._wake.wait()
            except TimeoutError:
                continue
            except StoreUnavailable as error:
                metrics.SWEEP_FAILURES.inc()
                log.warning("the sweeper could not reach the object store: %s", error.kind)
                await asyncio.sleep(AGAIN_S)
            self._wake.clear()

    async def _sweep(self) -> bool:
        """One batch; whether there is more to do at once."""
        estate = self._estate
        batch = self._ready()
        if not batch:
            await asyncio.sleep(0)
            if self._passed_over < len(estate.book.dead):
                return True
            self._passed_over = 0
            return False
        objects = [asset.head.object for asset in batch if asset.head.object]  # records have none
        if objects:
            await estate.custody.delete(objects)
        still = set(await estate.custody.remaining(objects)) if objects else set()
        change = Change()
        for asset in batch:
            if asset.head.object in still:
                continue
            estate.book.bury(change, asset.id)
            receipt = asset.head.receipt
            estate.certifier.outstanding[receipt] -= 1
            if estate.certifier.outstanding[receipt] <= 0:
                self._complete(change, receipt)
        await estate.commit(change)
        return len(still) < len(batch)

    def _ready(self) -> list[Asset]:
        """The next dead assets that may be swept; others go to the end of the line, so that they hold up nobody."""
        book, real = self._estate.book, self._estate.tools.real_time()
        ready: list[Asset] = []
        for asset_id in list(islice(book.dead, LOOKED_AT)):
            asset = book.asset(asset_id)
            # Somebody with a URL may still write; until it has expired, absence would prove nothing.
            if asset is not None and asset.head.receipt >= 0 and asset.head.urls_until <= real:
                ready.append(asset)
                if len(ready) == BATCH:
                    break
            else:
                self._passed_over += 1
                del book.dead[asset_id]
                book.dead[asset_id] = None
        if ready:
            self._passed_over = 0
        return ready

    def _complete(self, change: Change, receipt: int) -> None:
        estate, now = self._estate, self._estate.now()
        del estate.certifier.outstanding[receipt]
        estate.log(change, lambda log: log.absent(receipt, milliseconds(now)))
        event = ExpireCompleted(receipt=receipt, at=now)
        change.events.append(Outgoing(topics.EXPIRE, b"%d" % estate.partition, bus.encode(event)))
