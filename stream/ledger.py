"""The ledger: the durable state of one partition, in one compacted Kafka topic, with one owner at a time.

What a change does (rows, outgoing events, key pages, audit leaves, and the next offset of each input topic) is one
Kafka transaction, many changes to a transaction (group commit). The transactional id names the partition: opening a
ledger fences whoever owned it before and aborts what they left half done.

Why one can trust it:
- Commits of a partition are ordered and the first failure loses the whole ledger, so reads may see changes that are
  not yet committed: none of them can survive one that it was built on.
- Every send is awaited inside the transaction: aiokafka would commit past a failed one.
- A fenced owner cannot write. It may not read either: `check()` fails once no commit was acknowledged for
  `SELF_LEASE_S` (CLOCK_BOOTTIME counts a suspended machine), which is less than the group session, so a successor
  cannot exist before. Heartbeat commits keep the lease, and make Kafka roll segments so that compaction never starves.
- Kafka may call a transaction ended that its partitions know nothing of (`undecided`): who opens looks for one, and
  decides it as it was, before anything is believed or written; so does whoever lost a connection meanwhile.
- A commit that changes keys is acknowledged only once its marker is in `keys`: the coordinator answers earlier, from a
  log that is not flushed. The future of a change that erases resolves only when the older roots are destroyed as well
  (decision 7).
- A root store that does not answer holds up nothing but erasures: the rows of one are committed with its group, its
  removals wait for a root that can be wrapped (`erasures`). If the owner dies meanwhile, the next one finds keys that
  no living row names, and erases them.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import struct
import time
from collections.abc import AsyncGenerator, Callable, Iterable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any, ClassVar

import msgspec
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.errors import (
    InvalidProducerEpoch,
    KafkaError,
    MessageSizeTooLargeError,
    ProducerFenced,
    RecordListTooLargeError,
    RecordTooLargeError,
)
from aiokafka.structs import ConsumerRecord

from stream import topics, undecided
from stream.batches import PRODUCER_ERRORS, Batches
from stream.erasures import Erasure, Erasures
from stream.errors import BadRequest, LostLease, StoreUnavailable
from stream.events.rows import Offsets, rows
from stream.known import Known
from stream.metrics import roots
from stream.metrics import worker as metrics
from stream.undecided import MANIFEST_KEY, MARK_HEADER, Manifest
from stream.vault.pages import KeyPages, StagedPages

log = logging.getLogger(__name__)

SELF_LEASE_S = 4.0  # below the group session of 6 s
HEARTBEAT_S = 1.0
LOOK_S = 0.25  # how often silence is measured
TRANSACTION_TIMEOUT_S = 10.0
STOP_TIMEOUT_S = 5.0
STORE_PATIENCE_S = 0.25  # of a group for the root store, before it goes on without
PAUSE_S = 0.002  # the coordinator refuses a transaction that follows sooner, and aiokafka then waits for 20 ms
MARKER_S = 0.002  # from the coordinator's answer to the marker, about: a look at once is mostly a request in vain
GROUP_HINT = 4  # a previous group larger than this means that there is one to gather
REPLAY_FETCH_BYTES = 8 << 20
BATCH_BYTES = 512 << 10  # below every topic's max.message.bytes, which bounds a batch and not a record

OFFSETS_KEY = b"offsets"
HEARTBEAT_KEY = b"heartbeat"
RESERVED = frozenset({OFFSETS_KEY, HEARTBEAT_KEY, MANIFEST_KEY})
MARK_BYTES = 8

_REFUSALS = (MessageSizeTooLargeError, RecordListTooLargeError, RecordTooLargeError)
REFUSED = "refused-by-broker"


class LedgerLost(LostLease):
    """This ledger can no longer commit, or be read; nothing that was awaiting it may be acknowledged."""

    kind: ClassVar[str] = "ledger-lost"


class ValueTooLarge(BadRequest):
    """A row or event larger than a Kafka batch may be: refused before it can harm its group."""

    kind: ClassVar[str] = "value-too-large"
    status: ClassVar[int] = 413


@dataclass(slots=True, frozen=True)
class Outgoing:
    """An event to send within the change's transaction."""

    topic: str
    key: bytes
    value: bytes
    headers: tuple[tuple[str, bytes], ...] = ()


@dataclass(slots=True)
class Change:
    """What one decision does: all or nothing. `erase` and `drop` make its commit an erasing one."""

    rows: dict[bytes, bytes | None] = field(default_factory=dict)
    events: list[Outgoing] = field(default_factory=list)
    erase: list[tuple[bytes, bytes]] = field(default_factory=list)  # (page, entry)
    drop: list[tuple[bytes, bytes]] = field(default_factory=list)  # (group, bucket)
    leaves: list[Callable[[], bytes]] = field(default_factory=list)  # made when applied: each carries its index
    owners: tuple[bytes, bytes] | None = None  # record for the `owners` topic
    consumed: tuple[str, int] | None = None  # (input topic, offset) that this change answers
    then: list[Callable[[Commit], None]] = field(default_factory=list)  # for whoever applies it: once committed

    @property
    def erases(self) -> bool:
        """Keys die by it."""
        return bool(self.erase or self.drop)

    def also(self, other: Change) -> Change:
        """This change and that one, as one."""
        self.rows |= other.rows
        self.events += other.events
        self.erase += other.erase
        self.drop += other.drop
        self.leaves += other.leaves
        self.then += other.then
        return self


@dataclass(slots=True, frozen=True)
class Commit:
    """A committed group. `keys_offset`: of its last key page; `root`: the root version that replaced all older ones.

    For a change that erases: the group whose commit removed its keys.
    """

    at: float  # broker append time, epoch seconds
    keys_offset: int = -1
    root: str = ""


@dataclass(slots=True, frozen=True)
class Replay:
    """What an opening found."""

    records: int
    audit: list[bytes]


class Ledger:
    """One partition's state: open it, read it, apply changes to it, close it."""

    def __init__(
        self,
        partition: int,
        pages: KeyPages,
        *,
        bootstrap: str,
        known: Known | None = None,
        window_s: float = 0.02,
        on_lost: Callable[[Ledger, BaseException], None] | None = None,
        observe: Callable[[float], None] = lambda _: None,
        boottime: Callable[[], float] = lambda: time.clock_gettime(time.CLOCK_BOOTTIME),
    ) -> None:
        self.partition, self.pages = partition, pages
        self.lost: BaseException | None = None
        self.groups = self.changes = self.refused = 0
        self._bootstrap, self._window_s = bootstrap, window_s
        self._known = known or Known(topics.written())  # of all ledgers of a worker
        self._on_lost, self._observe, self._boottime = on_lost, observe, boottime
        self._rows: dict[bytes, bytes] = {}
        self._offsets: dict[str, int] = {}
        self._queue: list[tuple[Change, asyncio.Future[Commit]]] = []
        self._leaves: list[bytes] = []  # of the changes in the queue
        self._written: asyncio.Future[Commit] | None = None  # of the group that gathers, or is being written
        self._erasures = Erasures(boottime)
        self._wake = asyncio.Event()
        self._acked_at = self._keys_at = float("-inf")
        self._end_seen = 0  # nobody else may have committed to our ledger partition from here on
        self._last: Manifest | None = None  # of what was committed last
        self._lines: dict[Any, Any] | None = None  # the producer's connections when it was last sure of its markers
        self._producer: AIOKafkaProducer | None = None
        self._reader: AIOKafkaConsumer | None = None
        self._tasks: list[asyncio.Task[None]] = []

    def __repr__(self) -> str:
        return f"Ledger(partition={self.partition}, rows={len(self._rows)}, lost={self.lost is not None})"

    # -- life ----------------------------------------------------------------------------------------------------

    async def open(self) -> Replay:
        """Fence any earlier owner, replay, open the key tree. Raises StoreUnavailable; the ledger is then unusable."""
        try:
            # InitProducerId first: it fences the old owner and aborts what they left open, so the end offsets
            # read below cover all that was ever committed.
            await self._start_producer()
            self._reader = AIOKafkaConsumer(
                bootstrap_servers=self._bootstrap,
                isolation_level="read_committed",
                enable_auto_commit=False,
                auto_offset_reset="earliest",  # an offset out of range must not make the replay short
                fetch_max_wait_ms=20,
                max_partition_fetch_bytes=REPLAY_FETCH_BYTES,
            )
            await self._reader.start()
            await self._known.tell(self._reader._client)  # noqa: SLF001 - a consumer shows its client nowhere else
            replay, keys = await self._replay()
            if await self._settle():  # so there is more to read, or to be sure of
                self._rows.clear()
                replay, keys = await self._replay()
            await self.pages.open(keys)
        except KafkaError as error:
            await self._stop_clients()
            raise StoreUnavailable(f"ledger {self.partition}: Kafka did not let it open: {error!r}") from error
        except BaseException:
            await self._stop_clients()
            raise
        # A replay may take longer than a lease lasts: only a commit of our own proves that nobody came meanwhile.
        self._acked_at = self._boottime()
        self._tasks = [
            asyncio.create_task(self._write(), name=f"ledger-{self.partition}"),
            asyncio.create_task(self._keep_roots(), name=f"ledger-{self.partition}-roots"),
        ]
        try:
            await self.apply(Change())
            self._tasks.append(asyncio.create_task(self._beat(), name=f"ledger-{self.partition}-heartbeat"))
            # A fresh tree's root store must know that it is used before anything depends on it.
            await asyncio.wait({self.pages.destroyed()})
            self.check()
        except BaseException:
            await self.close()
            raise
        return replay

    async def close(self) -> None:
        """Stop writing, wipe keys. Changes not yet committed fail with LedgerLost."""
        self._lose(LedgerLost(f"ledger {self.partition} was closed"), tell=False)
        tasks, self._tasks = self._tasks, []
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._stop_clients()

    # -- use -----------------------------------------------------------------------------------------------------

    def check(self) -> None:
        """Raises LedgerLost unless this owner's self-lease holds: call it before anything is read for somebody else."""
        if self.lost is not None:
            raise self._is_lost()
        silent_s = self._boottime() - self._acked_at
        if silent_s >= SELF_LEASE_S:
            raise LedgerLost(
                f"ledger {self.partition}: no commit acknowledged for {silent_s:.1f} s: another may own it"
            )

    def get(self, key: bytes) -> bytes | None:
        """The row as of the last applied change. Raises LedgerLost: of a lost ledger, no row would look like one gone.

        Whoever awaited a commit resumes a turn of the loop after it, and the ledger may be lost in that very turn.
        """
        if self.lost is not None:
            raise self._is_lost()
        return self._rows.get(key)

    def items(self) -> Iterable[tuple[bytes, bytes]]:
        """Every row but the ledger's own. Raises LedgerLost."""
        if self.lost is not None:
            raise self._is_lost()
        return ((key, value) for key, value in self._rows.items() if key not in RESERVED)

    def keys(self) -> list[bytes]:
        """The keys of all rows as they are now: for whoever looks at them over several turns. Raises LedgerLost."""
        if self.lost is not None:
            raise self._is_lost()
        return list(self._rows)

    def __len__(self) -> int:
        return len(self._rows)

    def applied(self, topic: str) -> int:
        """The next offset of an input topic: an event below it is a duplicate."""
        return self._offsets.get(topic, 0)

    def apply(self, change: Change) -> asyncio.Future[Commit]:
        """Apply now (visible to `get` at once); the future resolves when Kafka has committed it and its keys are dead.

        Call `get` and `apply` with no await between them, and no lock is needed. Futures of changes that erase resolve
        in the order of the calls, and so do those of changes that do not. Raises LedgerLost, or ValueTooLarge, after
        which nothing was applied.
        """
        if self.lost is not None:
            raise self._is_lost()
        for value in (*change.rows.values(), *(event.value for event in change.events)):
            if value is not None and len(value) > topics.MAX_VALUE_BYTES:
                raise ValueTooLarge(f"expected at most {topics.MAX_VALUE_BYTES} bytes in one value, got {len(value)}")
        for key, row in change.rows.items():
            if row is None:
                self._rows.pop(key, None)
            else:
                self._rows[key] = row
        if change.consumed is not None:
            topic, offset = change.consumed
            self._offsets[topic] = max(self._offsets.get(topic, 0), offset + 1)
        self._leaves += [make() for make in change.leaves]
        future: asyncio.Future[Commit] = asyncio.get_running_loop().create_future()
        future.add_done_callback(_retrieved)
        if not self._queue:
            self._written = asyncio.get_running_loop().create_future()
            self._written.add_done_callback(_retrieved)
        self._queue.append((change, future))
        self._wake.set()
        return future

    def barrier(self) -> asyncio.Future[Commit]:
        """Resolves when all that was applied so far is committed: what a duplicate repeats may still be in flight."""
        if self.lost is not None:
            raise self._is_lost()
        if self._written is not None and not self._written.done():
            return self._written
        return _done()

    def erased(self) -> asyncio.Future[Commit]:
        """Resolves when all that was applied so far is committed, and what it erased is dead: an end may be told."""
        queued = next((future for change, future in reversed(self._queue) if change.erases), None)
        return queued or self._erasures.last() or self.barrier()

    def erasing(self, key: bytes) -> bool:
        """Whether a key's death is awaited that this row already tells of."""
        return self._erasures.touches(key)

    @property
    def erasures(self) -> Erasures:
        """What waits for the root store."""
        return self._erasures

    # -- the writer ----------------------------------------------------------------------------------------------

    async def _beat(self) -> None:
        """A commit a second even when idle. A silence of SELF_LEASE_S loses the ledger, also while a commit hangs."""
        while self.lost is None:
            await asyncio.sleep(LOOK_S)
            silent_s = self._boottime() - self._acked_at
            if silent_s >= SELF_LEASE_S:
                self._lose(LedgerLost(f"ledger {self.partition}: no commit acknowledged for {silent_s:.1f} s"))
            elif silent_s >= HEARTBEAT_S - LOOK_S and (self._written is None or self._written.done()):
                self.apply(Change())
            roots.WAITING.labels(self.partition).set(len(self._erasures))
            roots.WAITING_S.labels(self.partition).set(self._erasures.age_s)

    async def _write(self) -> None:
        batch: list[tuple[Change, asyncio.Future[Commit]]] = []
        written: asyncio.Future[Commit] | None = None
        clock = asyncio.get_running_loop().time
        began = float("-inf")
        try:
            while True:
                await self._wake.wait()
                # A group gathers while the one before it is written; what that was too quick for is waited here.
                left_s = began + self._window_s - clock() if len(batch) > GROUP_HINT else 0.0
                await asyncio.sleep(max(left_s, PAUSE_S))
                if self._erasures.waiting or any(change.erases for change, _ in self._queue):
                    await self.pages.ready(STORE_PATIENCE_S)
                if self.pages.erasing:  # a copied key re-keys its page in this very commit, or the ledger is lost
                    await self.pages.ready(SELF_LEASE_S)
                began = clock()
                # All of the queue, always: the tree already holds the inserts of all of it.
                batch, self._queue = self._queue, []
                written = self._written
                self._wake.clear()
                with metrics.COMMIT_S.time():
                    commit = await self._commit(batch)
                self.groups, self.changes = self.groups + 1, self.changes + len(batch)
                for change, future in batch:
                    if not change.erases and not future.done():
                        future.set_result(commit)
                if written is not None and not written.done():
                    written.set_result(commit)
        except BaseException as error:
            self._queue = [pair for pair in batch if not pair[1].done()] + self._queue
            cancelled = isinstance(error, asyncio.CancelledError)
            self._lose(error, tell=not cancelled, written=written)
            if cancelled:
                raise

    async def _keep_roots(self) -> None:
        def there_is_a_spare() -> None:
            if self._erasures.waiting:
                self._wake.set()

        try:
            await self.pages.keep(there_is_a_spare)
        except Exception as error:  # noqa: BLE001 - whatever it is, without a keeper nothing is ever erased
            self._lose(error)

    async def _commit(self, batch: Sequence[tuple[Change, asyncio.Future[Commit]]]) -> Commit:
        began = self._boottime()
        changes = [change for change, _ in batch]
        merged: dict[bytes, bytes | None] = {}
        for change in changes:
            merged.update(change.rows)  # of a key, a group writes only the last row
        taken = self._remove(batch)
        staged = self.pages.stage()
        if any(change.consumed for change in changes):
            merged[OFFSETS_KEY] = rows.encode(Offsets(next=dict(self._offsets)))
        events = [event for change in changes for event in change.events]
        leaves, self._leaves = self._leaves, []
        owners = [change.owners for change in changes if change.owners is not None]

        if not merged:
            merged[HEARTBEAT_KEY] = struct.pack(">d", began)
        pages = self.pages.seal(staged)
        if not pages and began - self._keys_at >= HEARTBEAT_S - LOOK_S:
            pages = {HEARTBEAT_KEY: b""}  # not in every commit: each append to `keys` is flushed
        if pages:
            self._keys_at = began
        own: list[tuple[str, bytes, bytes | None]] = [
            *((topics.LEDGER, key, value) for key, value in merged.items()),
            *((topics.KEYS, key, value) for key, value in pages.items()),
            *((topics.AUDIT, b"leaf", leaf) for leaf in leaves),
        ]
        commit = await self._transact(own, owners, events)
        self._acked_at = began  # when it began: what a successor does after that, this commit has not seen
        return await self._certain(commit, staged, taken)

    async def _certain(self, commit: Commit, staged: StagedPages, taken: list[Erasure]) -> Commit:
        """What was committed can no longer be undone; what it erased is dead, or is being tried beside us."""
        destroyed = self.pages.destroyed()
        if staged.erasing:
            destroyed = await self._forget_older(commit.keys_offset)
        elif len(staged.nodes):
            # Its keys are used from now on. Were the commit lost with its marker in a power cut, they would be in no
            # tree that a deadline drops, but in an aborted record that opens as long as its page lives.
            await self._marked(commit.keys_offset)
        if taken:
            commit = Commit(commit.at, commit.keys_offset, self.pages.root_version)
            for erasure in taken:
                erasure.commit = commit
            destroyed.add_done_callback(lambda done: None if done.cancelled() else self._erasures.dead(taken))
        if taken or staged.erasing:
            await asyncio.wait({destroyed}, timeout=STORE_PATIENCE_S)
        return commit

    def _remove(self, batch: Sequence[tuple[Change, asyncio.Future[Commit]]]) -> list[Erasure]:
        """Apply removals, those that waited first, if a root is wrapped for their commit; else all of them wait."""
        for change, future in batch:
            if change.erases:
                self._erasures.add(change, future)
        taken = self._erasures.take() if self.pages.can_erase else []
        for erasure in taken:
            for page, entry in erasure.change.erase:
                self.pages.erase(page, entry)
            for group, bucket in erasure.change.drop:
                self.pages.drop(group, bucket)
        return taken

    async def _transact(
        self, own: list[tuple[str, bytes, bytes | None]], owners: list[tuple[bytes, bytes]], events: list[Outgoing]
    ) -> Commit:
        """One transaction. Events that the broker refuses are parked in it instead; everything else goes on."""
        sending = dict(enumerate(events))
        suspects: set[int] = set()
        while True:
            failed, commit = await self._attempt(own, owners, sending, suspects)
            if commit is not None:
                return commit
            # A failed batch fails all its records, so each suspect is sent alone once before it is called refused.
            for index in failed & suspects:
                log.error("ledger %d: an event was refused on %s", self.partition, sending[index].topic)
                sending[index] = self._refuse(events[index], again=sending[index].topic == topics.PARKED)
            suspects |= failed
            await self._reseat()

    def _refuse(self, event: Outgoing, *, again: bool) -> Outgoing:
        """What goes to `parked` instead: all of it, or what is known of it where `parked` does not take it either."""
        headers = (("origin", event.topic.encode()), ("reason", REFUSED.encode()))
        if again:
            return Outgoing(topics.PARKED, b"", b"", headers)
        self.refused += 1
        metrics.parked(event.topic, REFUSED)
        return Outgoing(topics.PARKED, event.key, event.value, headers)

    async def _attempt(
        self,
        own: list[tuple[str, bytes, bytes | None]],
        owners: list[tuple[bytes, bytes]],
        events: dict[int, Outgoing],
        suspects: set[int],
    ) -> tuple[set[int], Commit | None]:
        producer = self._producer
        assert producer is not None
        try:
            return await self._transaction(producer, own, owners, events, suspects)
        except PRODUCER_ERRORS as error:
            raise _cause(producer, error) from error

    async def _transaction(
        self,
        producer: AIOKafkaProducer,
        own: list[tuple[str, bytes, bytes | None]],
        owners: list[tuple[bytes, bytes]],
        events: dict[int, Outgoing],
        suspects: set[int],
    ) -> tuple[set[int], Commit | None]:
        if self._lines != _lines(producer):  # Kafka may have been away, or the coordinator be another
            await self._settle()
        mark = secrets.token_bytes(MARK_BYTES)
        await producer.begin_transaction()
        batches = Batches(producer, (MARK_HEADER, mark))
        for topic, key, value in own:
            batches.add(topic, self.partition, key, value)
        for key, value in owners:
            batches.add(topics.OWNERS, 0, key, value)
        for index, event in events.items():
            alone = index in suspects
            batches.add(
                event.topic, self.partition, event.key, event.value, headers=event.headers, tag=index, alone=alone
            )
        written = Manifest(mark, {**batches.records, topics.LEDGER: batches.records[topics.LEDGER] + 1})
        batches.add(topics.LEDGER, self.partition, MANIFEST_KEY, msgspec.msgpack.encode(written))
        sent = await batches.send()
        # Refusals first: what follows one in its partition fails as well, for its sequence number.
        if failed := {tag for batch, answer in sent if isinstance(answer, _REFUSALS) for tag in batch.tags}:
            return failed, None
        at, ends = 0.0, {topics.KEYS: -1}
        for batch, answer in sent:
            if isinstance(answer, BaseException):
                raise answer
            ends[batch.topic], at = batch.last_offset(answer.offset), answer.timestamp / 1000
        await producer.commit_transaction()
        self._last = written
        self._observe(at)
        self._end_seen = ends[topics.LEDGER] + 1
        return set(), Commit(at, ends[topics.KEYS])

    async def _reseat(self) -> None:
        """A fresh producer, since aiokafka cannot go on after a refused record: its sequence numbers have a gap.

        InitProducerId fences whoever opened meanwhile; so look, and stand back if anybody did commit. A successor
        that has not committed yet serves nobody (`open` ends with a commit), and is refused at that commit: so this
        look renews the lease as a commit does.
        """
        await self._stop_producer()
        self.check()
        began = self._boottime()
        await self._start_producer()
        async with aclosing(self._read({topics.LEDGER: self._end_seen})) as written:
            async for _ in written:
                raise LedgerLost(f"ledger {self.partition}: another owner wrote while this one was being reseated")
        self._acked_at = began

    async def _forget_older(self, keys_offset: int) -> asyncio.Future[None]:
        await self._marked(keys_offset)
        return self.pages.destroy_older()

    async def _marked(self, keys_offset: int) -> None:
        """Until the marker of the commit that wrote this offset is in `keys`, which is flushed: it cannot be undone."""
        while True:
            await asyncio.sleep(MARKER_S)
            if await self._end(topics.KEYS) > keys_offset:
                return

    async def _end(self, topic: str) -> int:
        """The read-committed end (last stable offset) of this partition of a topic."""
        assert self._reader is not None
        tp = TopicPartition(topic, self.partition)
        return int((await self._reader.end_offsets([tp]))[tp])

    # -- reading back --------------------------------------------------------------------------------------------

    async def _replay(self) -> tuple[Replay, dict[bytes, bytes]]:
        keys: dict[bytes, bytes] = {}
        audit: list[bytes] = []
        count = 0
        async for topic, records in self._read({topics.LEDGER: 0, topics.KEYS: 0, topics.AUDIT: 0}):
            count += len(records)
            if topic == topics.AUDIT:
                audit += [record.value or b"" for record in records]
                continue
            table = self._rows if topic == topics.LEDGER else keys
            for record in records:
                if record.value is None:
                    table.pop(record.key, None)
                else:
                    table[record.key] = record.value
            if topic == topics.LEDGER:
                self._end_seen = records[-1].offset + 1
        keys.pop(HEARTBEAT_KEY, None)
        if (stored := self._rows.get(MANIFEST_KEY)) is not None:
            self._last = msgspec.msgpack.decode(stored, type=Manifest)
        if (stored := self._rows.get(OFFSETS_KEY)) is not None:
            header, _ = rows.decode(stored)
            assert isinstance(header, Offsets)
            self._offsets = dict(header.next)
        return Replay(count, audit), keys

    async def _read(self, starts: dict[str, int]) -> AsyncGenerator[tuple[str, list[ConsumerRecord[bytes, bytes]]]]:
        """Committed records of this partition of each topic, some at a time, from an offset to the end as of now."""
        reader = self._reader
        assert reader is not None
        tps = [TopicPartition(topic, self.partition) for topic in starts]
        reader.assign(tps)
        try:
            begins, ends = await reader.beginning_offsets(tps), await reader.end_offsets(tps)
            for tp in tps:  # seek_to_beginning would lose against aiokafka's own reset to latest
                reader.seek(tp, max(begins[tp], starts[tp.topic]))
            waiting = {tp for tp in tps if begins[tp] < ends[tp]}
            while waiting:
                for tp, records in (await reader.getmany(*waiting, timeout_ms=50, max_records=20_000)).items():
                    if records:
                        yield tp.topic, records
                waiting = {tp for tp in waiting if await reader.position(tp) < ends[tp]}
        finally:
            # Else it would go on fetching what we write. Not unsubscribed: that asks where all of Kafka's topics lie.
            reader.pause(*tps)

    async def _settle(self) -> bool:
        """Decide what Kafka left undecided, as it was meant (`undecided`); whether there was any. Raises KafkaError."""
        producer = self._producer
        assert producer is not None
        spans = await undecided.left(producer.client, undecided.owned(self.partition))
        lines = _lines(producer)
        if spans:
            await undecided.settle(
                producer, spans, bootstrap=self._bootstrap, partition=self.partition, last=self._last
            )
        self._lines = lines
        return bool(spans)

    # -- ends ----------------------------------------------------------------------------------------------------

    async def _start_producer(self) -> None:
        self._producer = AIOKafkaProducer(
            bootstrap_servers=self._bootstrap,
            linger_ms=0,
            max_batch_size=BATCH_BYTES,
            max_request_size=2 * topics.MAX_MESSAGE_BYTES,
            transactional_id=f"{topics.LEDGER}-{self.partition}",
            transaction_timeout_ms=int(TRANSACTION_TIMEOUT_S * 1000),
        )
        await self._producer.start()
        await self._known.tell(self._producer.client)

    async def _stop_producer(self) -> None:
        producer, self._producer = self._producer, None
        if producer is not None:
            try:
                await asyncio.wait_for(producer.stop(), STOP_TIMEOUT_S)
            except Exception as error:  # noqa: BLE001 - a fenced producer may refuse to stop cleanly
                log.info("ledger %d: its producer did not stop cleanly: %r", self.partition, error)
            _hush(producer)

    async def _stop_clients(self) -> None:
        await self._stop_producer()
        reader, self._reader = self._reader, None
        if reader is not None:
            await reader.stop()

    def _is_lost(self) -> LedgerLost:
        return LedgerLost(f"ledger {self.partition} is lost: {type(self.lost).__name__}")

    def _lose(self, error: BaseException, *, tell: bool = True, written: asyncio.Future[Commit] | None = None) -> None:
        first, self.lost = self.lost is None, self.lost or error
        queue, self._queue = self._queue, []
        self._rows, self._offsets = {}, {}  # they may hold what never committed
        self.pages.wipe()
        lost = self._is_lost()
        for future in (*(future for _, future in queue), written, self._written):
            if future is not None and not future.done():
                future.set_exception(lost)
        self._erasures.fail(lost)
        if first and tell and self._on_lost is not None:
            self._on_lost(self, error)


def fenced(error: BaseException) -> bool:
    """True when another owner has taken the partition (or our own transaction timed out), false when Kafka failed."""
    return isinstance(error, ProducerFenced | InvalidProducerEpoch)


def _cause(producer: AIOKafkaProducer, error: BaseException) -> BaseException:
    """Why the producer's sender died, where it did: whoever calls the producer then hears only that it cannot."""
    sender: asyncio.Task[None] | None = producer._sender.sender_task  # noqa: SLF001 - aiokafka tells it nowhere else
    ended = sender is not None and sender.done() and not sender.cancelled()
    return (sender.exception() if sender is not None and ended else None) or error


def _lines(producer: AIOKafkaProducer) -> dict[Any, Any]:
    """Its connections that stand."""
    conns = producer.client._conns  # noqa: SLF001 - aiokafka shows them nowhere else
    return {key: connection for key, connection in conns.items() if connection.connected()}


def _hush(producer: AIOKafkaProducer) -> None:
    """Look at what aiokafka left for nobody to wait for, else the loop prints each at some later moment, in full."""
    queued = [batch for batches in producer._message_accumulator._batches.values() for batch in batches]  # noqa: SLF001
    waiters = [producer._txn_manager.wait_for_transaction_end(), *(batch._drain_waiter for batch in queued)]  # noqa: SLF001
    for waiter in waiters:
        if waiter is not None and waiter.done():
            _retrieved(waiter)


def _done() -> asyncio.Future[Commit]:
    nothing: asyncio.Future[Commit] = asyncio.get_running_loop().create_future()
    nothing.set_result(Commit(0.0))
    return nothing


def _retrieved(future: asyncio.Future[Any]) -> None:
    if not future.cancelled():
        future.exception()  # a dropped event is not an unhandled error: it will be delivered again
