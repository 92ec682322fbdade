"""Kafka as far as a fenced, transactional owner can tell: logs, and a coordinator that answers before its markers lie.

What is modelled, because the key tree stands on it:
- A commit is a decision of the coordinator's, answered at once; the marker reaches each partition a moment later.
- Until then the partition's read-committed end stands before the transaction.
- Aborted records stay in the log, and whoever reads the disk reads them. `history` keeps whatever was ever appended.
- A power cut takes a suffix of each log that was not flushed, and maybe a decision whose markers were still on their
  way: then the transaction aborts. `keys` is flushed at every append (`flush.messages=1`), the others now and then.
- A producer is fenced by the epoch of its transactional id, at the coordinator and at each log.
- Another coordinator that takes over while partitions have no leader skips their markers (see `stream.undecided`).

Not modelled: several brokers, a lost epoch, transactions that time out, retention by time.
"""

from __future__ import annotations

import asyncio
import bisect
import random
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from enum import Enum

from aiokafka.record.memory_records import MemoryRecords

from stream import topics
from tests.simulated.machine import Machine

OK, TOO_LARGE, OUT_OF_ORDER, FENCED, INVALID_STATE, CONCURRENT = 0, 10, 45, 47, 48, 51
"""Codes of Kafka's protocol: kafka.apache.org/protocol#protocol_error_codes."""

WRITEBACK = 0.3  # of the appends to an unflushed log, how many find the disk has caught up
Place = tuple[str, int]


class Status(Enum):
    """What became of an entry."""

    OPEN = "open"
    COMMITTED = "committed"
    ABORTED = "aborted"
    MARKER = "marker"


@dataclass(slots=True, eq=False)
class Entry:
    """One record, or a marker."""

    offset: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...]
    pid: int
    status: Status
    by: str = ""


@dataclass(slots=True)
class Log:
    """One partition of a topic."""

    flushed: bool
    max_batch_bytes: int = topics.MAX_MESSAGE_BYTES
    entries: list[Entry] = field(default_factory=list)
    history: list[Entry] = field(default_factory=list)
    end: int = 0
    synced: int = 0
    open: dict[int, int] = field(default_factory=dict)  # pid → first offset of what it has not ended
    producers: dict[int, tuple[int, int, int, int]] = field(default_factory=dict)  # epoch, sequence, next, offset

    @property
    def stable(self) -> int:
        """The read-committed end."""
        return min(self.open.values(), default=self.end)

    def append(self, entries: Iterable[Entry]) -> None:
        for entry in entries:
            entry.offset, self.end = self.end, self.end + 1
            self.entries.append(entry)
            self.history.append(entry)
            if entry.status is Status.OPEN:
                self.open.setdefault(entry.pid, entry.offset)

    def mark(self, pid: int, status: Status) -> None:
        """End what `pid` has open here, if anything."""
        if (first := self.open.pop(pid, None)) is not None:
            for entry in self.since(first):
                if entry.pid == pid and entry.status is Status.OPEN:
                    entry.status = status
        self.append([Entry(0, None, None, (), pid, Status.MARKER)])

    def since(self, offset: int) -> list[Entry]:
        return self.entries[bisect.bisect_left(self.entries, offset, key=lambda entry: entry.offset) :]

    def cut(self, rng: random.Random) -> None:
        """Whatever was not flushed may be gone, from some point on. What a lost marker ended is open again."""
        self.end = self.end if self.flushed else rng.randint(self.synced, self.end)
        lost = self.since(self.end)
        del self.entries[len(self.entries) - len(lost) :]
        for pid in {entry.pid for entry in lost if entry.status is Status.MARKER}:
            mine = [entry for entry in self.entries if entry.pid == pid]
            marks = [at for at, entry in enumerate(mine) if entry.status is Status.MARKER]
            for entry in mine[marks[-1] + 1 if marks else 0 :]:
                entry.status = Status.OPEN
                self.open.setdefault(pid, entry.offset)
        self.open = {pid: first for pid, first in self.open.items() if first < self.end}
        self.producers.clear()  # their sequence numbers go with the tail; the next producer has a fresh epoch
        self.synced = self.end

    def compact(self) -> None:
        """Of each key the last committed value stays, or nothing where that is a tombstone; so do open records."""
        stable, last = self.stable, {}
        for entry in self.entries:
            if entry.status is Status.COMMITTED and entry.offset < stable:
                last[entry.key] = entry
        self.entries = [
            entry
            for entry in self.entries
            if entry.offset >= stable or (last.get(entry.key) is entry and entry.value is not None)
        ]


@dataclass(slots=True)
class Seat:
    """What the coordinator knows of a transactional id."""

    pid: int
    epoch: int = 0
    partitions: set[Place] = field(default_factory=set)  # of the transaction that is open, or ending
    ending: Status | None = None
    ended: Status | None = None  # how the last one went, for a request that comes again
    waiting: set[Place] = field(default_factory=set)  # for their markers


class Cluster:
    """One broker that is also the coordinator. `marker_s`: how long a marker takes to reach a partition."""

    def __init__(self, rng: random.Random | None = None) -> None:
        self._rng = rng or random.Random(0)
        self.logs: defaultdict[Place, Log] = defaultdict(lambda: Log(flushed=False))
        self.machines: defaultdict[str, Machine] = defaultdict(Machine)
        self.seats: dict[str, Seat] = {}
        self.marker_s: Callable[[], float] = lambda: self._rng.uniform(0.0002, 0.003)
        self._life = 0

    @property
    def life(self) -> int:
        """Grows whenever every connection breaks."""
        return self._life

    def log(self, topic: str, partition: int) -> Log:
        log = self.logs[topic, partition]
        log.flushed = topic == topics.KEYS
        return log

    # -- the coordinator -----------------------------------------------------------------------------------------

    def init(self, transactional_id: str) -> tuple[int, int, int]:
        """InitProducerId: (code, pid, epoch). What is open is aborted first; the epoch grows, which fences."""
        seat = self.seats.get(transactional_id)
        if seat is None:
            seat = self.seats[transactional_id] = Seat(1000 + len(self.seats))
            return OK, seat.pid, seat.epoch
        if seat.ending is not None:
            return CONCURRENT, -1, -1
        seat.epoch += 1
        if seat.partitions:
            self._end(seat, Status.ABORTED)
            return CONCURRENT, -1, -1
        seat.ended = None
        return OK, seat.pid, seat.epoch

    def add(self, transactional_id: str, pid: int, epoch: int, places: Iterable[Place]) -> int:
        """AddPartitionsToTxn."""
        seat = self.seats[transactional_id]
        if (pid, epoch) != (seat.pid, seat.epoch):
            return FENCED
        if seat.ending is not None:
            return CONCURRENT
        seat.partitions.update(places)
        return OK

    def end(self, transactional_id: str, pid: int, epoch: int, status: Status) -> int:
        """EndTxn: answered once it is decided; the markers follow."""
        seat = self.seats[transactional_id]
        if (pid, epoch) != (seat.pid, seat.epoch):
            return FENCED
        if seat.ending is not None:
            return CONCURRENT if seat.ending is status else INVALID_STATE
        if not seat.partitions:
            return OK if seat.ended is status else INVALID_STATE
        self._end(seat, status)
        return OK

    def _end(self, seat: Seat, status: Status) -> None:
        seat.ending, seat.waiting = status, set(seat.partitions)
        for place in sorted(seat.waiting):
            asyncio.get_running_loop().call_later(self.marker_s(), self._mark, seat, place, self._life)

    def _mark(self, seat: Seat, place: Place, life: int) -> None:
        if life != self._life or seat.ending is None:
            return  # it was on its way when the power went
        self.log(*place).mark(seat.pid, seat.ending)
        seat.waiting.discard(place)
        if not seat.waiting:
            seat.partitions, seat.ended, seat.ending = set(), seat.ending, None

    def skip_markers(self) -> int:
        """Another coordinator takes over, and tells nobody how transactions ended whose markers were on their way.

        Nothing is lost, every connection breaks. How many partitions were not told.
        """
        self._life += 1
        skipped = 0
        for seat in self.seats.values():
            if seat.ending is not None:
                skipped += len(seat.waiting)
                seat.partitions, seat.ended, seat.ending, seat.waiting = set(), seat.ending, None, set()
        return skipped

    # -- the logs ------------------------------------------------------------------------------------------------

    def produce(self, transactional_id: str, topic: str, partition: int, batch: bytes, by: str) -> tuple[int, int]:
        """(code, offset of the first record)."""
        log, seat = self.log(topic, partition), self.seats[transactional_id]
        reader = MemoryRecords(batch)
        head = reader.next_batch()
        pid, epoch, sequence = head.producer_id, head.producer_epoch, head.base_sequence
        if (pid, epoch) != (seat.pid, seat.epoch):
            return FENCED, -1
        if (topic, partition) not in seat.partitions or seat.ending is not None:
            return INVALID_STATE, -1
        if len(batch) > log.max_batch_bytes:
            return TOO_LARGE, -1
        known, first, following, offset = log.producers.get(pid, (-1, 0, 0, -1))
        if known == epoch and sequence == first and offset >= 0:
            return OK, offset  # it came before; its answer was lost
        if known == epoch and sequence != following:
            return OUT_OF_ORDER, -1
        base, records = log.end, list(head)
        log.producers[pid] = epoch, sequence, sequence + len(records), base
        log.append(Entry(0, r.key, r.value, tuple(r.headers), pid, Status.OPEN, by) for r in records)
        if log.flushed or self._rng.random() < WRITEBACK:
            log.synced = log.end
        return OK, base

    def power_cut(self, *, decided: bool | None = None) -> None:
        """All of it stops, and starts again with what the disk held. `decided`: whether that has the decision on what
        was ending; None: maybe.
        """
        self._life += 1
        for log in self.logs.values():
            log.cut(self._rng)
        for seat in self.seats.values():
            ending, seat.ending = seat.ending, None
            kept = self._rng.random() < 1 / 2 if decided is None else decided
            for place in sorted(seat.waiting) if ending is not None and kept else ():
                self.log(*place).mark(seat.pid, ending)  # it is carried out
            seat.partitions = {place for place, log in self.logs.items() if seat.pid in log.open}
            seat.waiting.clear()
