"""Many events in flight, each acknowledged only when it, and all before it, are committed in the ledger.

A decision is a synchronous function of (estate, event): it returns a Change, or None when there is nothing to do. It
runs in offset order. Whatever it raises parks the event, in the ledger's own transaction: Faust would acknowledge it.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from faust.types import TP, EventT

from stream import topics
from stream.agents.estate import Estate
from stream.agents.estates import Estates
from stream.errors import BadRequest, MayflyError
from stream.events.bus import Event, bus
from stream.events.rows import Parked, rows
from stream.ledger import Change, Commit, LedgerLost, Outgoing

Decide = Callable[[Estate, Any, bytes], Change | None]

IN_FLIGHT = 4096


class UnexpectedEvent(BadRequest):
    """An event that is well formed but belongs on another topic, or to a job that this partition never had."""

    kind: ClassVar[str] = "unexpected-event"


@dataclass(slots=True)
class _Entry:
    event: EventT
    committed: bool = False


class Flow:
    """Runs decisions for events as they come. `on_parked(topic, kind)` counts."""

    def __init__(self, estates: Estates, *, on_parked: Callable[[str, str], None], limit: int = IN_FLIGHT) -> None:
        self._estates, self._on_parked = estates, on_parked
        self._lanes: dict[TP, deque[_Entry]] = defaultdict(deque)
        self._slots = asyncio.Semaphore(limit)
        estates.on_revoked.append(self._lanes.clear)

    async def add(self, event: EventT, decisions: Mapping[type[Event], Decide]) -> None:
        """Decide now; acknowledge once committed. Waits only while too many are in flight."""
        await self._slots.acquire()
        if self._estates.generation != event.message.generation_id:
            # It was taken up before a rebalance and waited here: those before it were dropped, and all come again.
            self._slots.release()
            return
        lane = self._lanes[event.message.tp]
        entry = _Entry(event)
        lane.append(entry)
        try:
            future = self._decide(event, decisions)
        except LedgerLost:
            self._lanes.pop(event.message.tp, None)  # nothing behind it may be acknowledged either
            self._slots.release()  # not acknowledged: it will be delivered again, to whoever owns it then
            return
        future.add_done_callback(lambda done: self._committed(lane, entry, done))

    def _decide(self, event: EventT, decisions: Mapping[type[Event], Decide]) -> asyncio.Future[Commit]:
        message = event.message
        estate = self._estates[message.partition]
        if message.offset < estate.ledger.applied(message.topic):
            return estate.ledger.barrier()  # a duplicate, which may repeat what is still in flight
        try:
            header, sealed = bus.decode(message.value)
            decide = decisions.get(type(header))
            if decide is None:
                raise UnexpectedEvent(  # noqa: TRY301 - it is parked below like whatever a decision raises
                    f"expected {sorted(t.__name__ for t in decisions)}, got {type(header).__name__}"
                )
            change = decide(estate, header, sealed) or Change()
            change.consumed = (message.topic, message.offset)
            return estate.commit(change)
        except LedgerLost:
            raise
        except Exception as error:  # noqa: BLE001 - whatever it is, the event must not be lost nor stop the partition
            estate.book.discard()
            return estate.commit(self._park(estate, event, error))

    def _park(self, estate: Estate, event: EventT, error: Exception) -> Change:
        message = event.message
        reason = error.kind if isinstance(error, MayflyError) else type(error).__name__
        self._on_parked(message.topic, reason)
        where = f"{message.topic}/{message.offset}".encode()
        row = Parked(
            topic=message.topic,
            offset=message.offset,
            reason=reason,
            at=estate.now(),
            due=estate.now() + estate.rules.parked_retention_s,
        )
        original = (message.value or b"")[: topics.MAX_VALUE_BYTES]
        headers = (("origin", where), ("reason", reason.encode()))
        change = Change(
            rows={b"parked/" + where: rows.encode(row)},
            events=[Outgoing(topics.PARKED, message.key or where, original, headers)],
            consumed=(message.topic, message.offset),
        )
        estate.book.index_due(row.due, b"parked/" + where)
        return change

    def _committed(self, lane: deque[_Entry], entry: _Entry, future: asyncio.Future[Commit]) -> None:
        self._slots.release()
        if future.cancelled() or future.exception() is not None:
            return  # not acknowledged: it will be delivered again
        entry.committed = True
        if self._lanes.get(entry.event.message.tp) is not lane:
            return  # revoked meanwhile; the next owner sees it as a duplicate
        while lane and lane[0].committed:
            lane.popleft().event.ack()
