"""The publisher of anonymised statistics: the owner of partition 0, once an hour.

    ask every worker for its counts ─► charge the budget: commit ─► draw the noise, once ─► publish: commit

The charge is committed before anything is drawn, and hours below `next_hour` are never touched again. So whoever dies
in between leaves an hour unpublished, and nobody ever publishes one twice. Both commits are the ledger's, fenced: of
two who think that they own partition 0, one writes. What was published stands as it is in the topic.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable

from stream import topics
from stream.agents.estate import Estate
from stream.events.codec import Undecodable
from stream.events.rows import Budget, rows
from stream.ledger import Change, Outgoing
from stream.metrics import budget as account
from stream.metrics import statistics as metrics
from stream.metrics.anonymity import Release, mechanism
from stream.metrics.cells import Cell, Kind, hour_of, published, universe
from stream.metrics.tally import Ask, Share

log = logging.getLogger(__name__)

PARTITION = 0
"""Whose owner publishes."""
BUDGET_KEY = b"statistics/budget"

TICK_S = 1.0
PATIENCE_S = 60.0  # for workers that do not answer; a takeover takes less
AGAIN_S = 0.5

Collect = Callable[[Ask], Awaitable[list[Share]]]
Paid = dict[tuple[int, int], Share]  # (hour, partition) → whose counts


class Publisher:
    """One estate's. `collect` asks every worker; what does not answer is missing, and no error."""

    def __init__(
        self,
        estate: Estate,
        collect: Collect,
        *,
        make: Callable[[], Release] = mechanism,
        patience_s: float = PATIENCE_S,
    ) -> None:
        self._estate, self._collect, self._make, self._patience_s = estate, collect, make, patience_s
        self._kinds = universe(estate.tools.policies.values())
        self._of = estate.mint.partitions

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            while not await self.turn():
                pass
            await asyncio.sleep(TICK_S)

    async def turn(self) -> bool:
        """Release the hours of one day that are over. True when nothing was left to do."""
        hour = hour_of(self._estate.now())
        budget = self.account()
        if budget is None:
            metrics.UNKNOWN.inc()
            log.error("statistics: no account is known; what it may have spent counts as spent until the day is over")
            await self._write(account.fresh(hour))
            return True
        hours = account.releasable(budget, hour)
        if not hours:
            return True
        shares = await self._gather(Ask(hours.start, hours.stop))
        budget, paid, refused = account.spend(budget, hours, shares)
        await self._write(budget)
        await self._publish(hours, paid)
        metrics.REFUSED.inc(refused)
        for app in {kind.app for kind in self._kinds}:
            metrics.LEFT.labels(app).set(account.left(budget))
        return False

    def account(self) -> Budget | None:
        """As the ledger has it; None where there is none that can be read."""
        try:
            header, _ = rows.decode(self._estate.ledger.get(BUDGET_KEY))
        except Undecodable:
            return None
        return header if isinstance(header, Budget) else None

    async def _gather(self, ask: Ask) -> list[Share]:
        """What every partition's owner says, or those that say something while patience lasts."""
        loop = asyncio.get_running_loop()
        end = loop.time() + self._patience_s
        found: list[Share] = []
        while True:
            found += await self._collect(ask)
            heard = {share.partition for share in found if share.open and share.until >= ask.until}
            if len(heard) >= self._of or loop.time() >= end:
                return found
            await asyncio.sleep(AGAIN_S)

    async def _write(self, budget: Budget) -> None:
        await self._estate.commit(Change(rows={BUDGET_KEY: rows.encode(budget)}))

    async def _publish(self, hours: range, shares: Paid) -> None:
        counts = _sum(self._kinds, hours, shares)
        noisy = await asyncio.to_thread(lambda: self._make()(counts))
        cells = published(self._kinds, hours, noisy, Counter(hour for hour, _ in shares), self._of)
        events = [Outgoing(topics.STATISTICS, cell.key, cell.encode()) for cell in cells]
        await self._estate.commit(Change(events=events))
        self._tell(cells, len(hours))

    def _tell(self, cells: list[Cell], hours: int) -> None:
        seen: defaultdict[str, int] = defaultdict(int)
        for cell in cells:
            seen[cell.app] += 1
        for app in {kind.app for kind in self._kinds}:
            metrics.PUBLISHED.labels(app).inc(seen[app])
            metrics.SUPPRESSED.labels(app).inc(hours * sum(kind.app == app for kind in self._kinds) - seen[app])


def _sum(kinds: tuple[Kind, ...], hours: range, shares: Paid) -> list[int]:
    """Hour by hour, kind by kind. A count of another kind is nobody's."""
    total = {(hour, kind): 0 for hour in hours for kind in kinds}
    for (hour, _), share in shares.items():
        for one in share.counts:
            cell = one.hour, Kind(one.app, one.operation, one.outcome)
            if one.hour == hour and cell in total:
                total[cell] += one.users
    return list(total.values())
