"""Estates follow the group's assignment: one is opened for each partition that is ours, before any of its events flow.

Opened in `on_rebalance_complete`, which Faust awaits before it resumes (and heartbeats go on); closed in
`on_partitions_revoked`, since the protocol is eager: all is revoked at each rebalance. A closed ledger has wiped its
keys and is never reopened: a fresh assignment makes a fresh estate.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Awaitable, Callable, Iterator
from typing import Any, ClassVar

import faust
from faust.types import TP

from stream.agents.app import SESSION_S
from stream.agents.estate import Estate
from stream.errors import StoreUnavailable
from stream.ledger import Ledger, LedgerLost, fenced

log = logging.getLogger(__name__)

EXIT_LEDGER_LOST = 70  # a supervisor restarts the worker; unacknowledged events come back

OPENING = 8
"""Estates that open at the same time. All of 64 at once would keep the first ones from committing, and lose them."""


class NotCopartitioned(StoreUnavailable):
    """The group gave this worker different partitions of topics that belong together."""

    kind: ClassVar[str] = "not-copartitioned"


class Estates:
    """The partitions that this worker owns now. `topics`: the inputs that must be co-partitioned."""

    def __init__(
        self, app: faust.App, topics: tuple[str, ...], make: Callable[[int, Callable[..., None]], Awaitable[Estate]]
    ) -> None:
        self.on_revoked: list[Callable[[], None]] = []
        self.on_opened: list[Callable[[Estate], None]] = []
        self._app, self._topics, self._make = app, topics, make
        self._open: dict[int, Estate] = {}
        self._opening: list[asyncio.Task[None]] = []
        self._room = asyncio.Semaphore(OPENING)
        app.on_partitions_revoked.connect(self._revoked)
        app.on_rebalance_complete.connect(self._assigned)

    def __getitem__(self, partition: int) -> Estate:
        """Raises LedgerLost for a partition that is not ours."""
        try:
            return self._open[partition]
        except KeyError:
            raise LedgerLost(f"partition {partition} is not ours: ask its owner") from None

    def of(self, partition: int) -> Estate | None:
        """The estate of a partition, if it is ours, open and not lost."""
        estate = self._open.get(partition)
        return estate if estate is not None and estate.ledger.lost is None else None

    def __iter__(self) -> Iterator[Estate]:
        return iter(list(self._open.values()))

    @property
    def generation(self) -> int:
        """Of the group: events fetched in an earlier one are not ours to handle, they will be delivered again."""
        return int(self._app.consumer_generation_id)

    def owned(self) -> list[int]:
        """The partitions served now."""
        return sorted(self._open)

    async def close(self) -> None:
        """Close all, at the worker's end."""
        await self._revoked(None, set())

    async def _revoked(self, _app: Any, _revoked: set[TP], **_: Any) -> None:
        for task in self._opening:
            task.cancel()
        await asyncio.gather(*self._opening, return_exceptions=True)
        closing, self._open = self._open, {}
        await asyncio.gather(*(estate.close() for estate in closing.values()))
        for callback in self.on_revoked:
            callback()

    async def _assigned(self, _app: Any, **_: Any) -> None:
        by_topic: dict[str, set[int]] = {topic: set() for topic in self._topics}
        for tp in self._app.consumer.assignment():
            if tp.topic in by_topic:
                by_topic[tp.topic].add(tp.partition)
        partitions = set().union(*by_topic.values())
        if any(numbers != partitions for numbers in by_topic.values()):
            raise NotCopartitioned(f"expected the same partitions of each topic, got {by_topic}")
        self._opening = [asyncio.create_task(self._take(p)) for p in sorted(partitions - set(self._open))]
        for result in await asyncio.gather(*self._opening, return_exceptions=True):
            if isinstance(result, Exception):
                log.critical("an estate did not open: %r", result)
                os._exit(EXIT_LEDGER_LOST)  # a worker without its state must not run
        log.info("estates open: %s", self.owned())

    async def _take(self, partition: int) -> None:
        async with self._room:
            estate = self._open[partition] = await self._make(partition, self._lost)
        for callback in self.on_opened:
            callback(estate)

    def _lost(self, ledger: Ledger, error: BaseException) -> None:
        if not fenced(error):
            log.critical("ledger %d is lost: %r", ledger.partition, error)
            os._exit(EXIT_LEDGER_LOST)
        log.error("ledger %d is fenced: %r", ledger.partition, error)
        if (estate := self._open.get(ledger.partition)) is not None and estate.ledger is ledger:
            estate.book.close()  # its keys are wiped; so goes what they opened
        # A rebalance is on its way, unless it was our own transaction that timed out: then nobody would serve.
        asyncio.get_running_loop().call_later(2 * SESSION_S, self._still_lost, ledger)

    def _still_lost(self, ledger: Ledger) -> None:
        estate = self._open.get(ledger.partition)
        if estate is not None and estate.ledger is ledger:
            log.critical("ledger %d is fenced, and no rebalance came", ledger.partition)
            os._exit(EXIT_LEDGER_LOST)
