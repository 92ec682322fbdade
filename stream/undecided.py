"""Transactions that Kafka calls ended, and whose partitions were never told.

A coordinator that takes over finds a transaction that was about to end, and writes its markers. Where a partition has
no leader in that moment (any broker that comes back after a crash has none for a while), Kafka takes it for deleted,
skips its marker and calls the transaction complete (4.3.1 and before: `TransactionMarkerChannelManager` asks
`KRaftMetadataCache.getPartitionLeaderEndpoint`, which tells no difference). Acknowledged records then lie there, nobody
reads past them, and the next marker of the same producer decides them, whatever it says. An owner who opened short of
them wrote the same leaves of the audit log again, and its own first commit made both visible.

So whoever opens a ledger, or lost a connection while it held one, looks for them first, and decides them as they were
meant. The records tell how: the first of each batch carries the mark of its transaction, and the ledger's batch a
manifest of all that was written. What is whole was about to be committed, or may be, since nobody was told otherwise;
what is not whole never was.

One gap is left: the transaction that decides is itself open for the moment between two requests. A second crash in just
that moment aborts what it was to commit: as a whole, as if the first crash had come a moment earlier.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import ClassVar

import msgspec
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.client import AIOKafkaClient
from aiokafka.errors import KafkaError

from stream import topics
from stream.errors import StoreUnavailable
from stream.metrics import worker as metrics
from stream.offsets import ends

log = logging.getLogger(__name__)

MANIFEST_KEY = b"manifest"
"""The ledger's row that holds the manifest of its last transaction."""
MARK_HEADER = "transaction"
LOOK_S = 0.05
PATIENCE_S = 3.0
"""For markers that are on their way: less than a self-lease."""
ANSWER_S = 3.0
"""For leaders that do not answer yet: not longer than for markers."""


class Manifest(msgspec.Struct, frozen=True):
    """What a transaction wrote: how many records of each topic, its own record included. In its ledger's batch."""

    mark: bytes
    records: dict[str, int]


@dataclass(slots=True, frozen=True)
class Undecided:
    """Records at the end of a partition that are neither committed nor aborted. `mark`: of the first one."""

    records: int
    mark: bytes


class StillUndecided(StoreUnavailable):
    """Of a producer that is not ours, or that this one could not end: whoever reads short of it must not go on."""

    kind: ClassVar[str] = "still-undecided"


def decide(
    found: Mapping[str, Undecided],
    *,
    owned: Collection[str],
    ledger: str,
    manifest: Manifest | None,
    last: Manifest | None,
    committed: Collection[str] = (),
) -> dict[str, bool]:
    """By topic, whether what was found is to be committed. Of one transaction, always all the same way.

    `owned`: topics that were looked at; `manifest`: the one in what was found of the ledger; `last`: of the last
    transaction that is committed there; `committed`: topics of `manifest` in which its records are committed already.
    """
    answer = {topic: last is not None and one.mark == last.mark for topic, one in found.items()}
    if ledger not in found:
        return answer
    whole = manifest is not None and (
        bool(committed)
        or all(
            found.get(topic) == Undecided(records, manifest.mark)
            for topic, records in manifest.records.items()
            if topic in owned
        )
    )
    mine = found[ledger].mark
    return {topic: whole if one.mark == mine else answer[topic] for topic, one in found.items()}


def owned(partition: int) -> list[TopicPartition]:
    """Where a partition's owner alone writes: what can be seen there is its own."""
    return [TopicPartition(topic, partition) for topic in topics.owned()]


async def left(client: AIOKafkaClient, tps: Iterable[TopicPartition]) -> dict[TopicPartition, tuple[int, int]]:
    """Those with records that stay undecided, and their range of offsets. No producer may be writing there.

    Raises KafkaError once Kafka did not answer for `ANSWER_S`.
    """
    loop = asyncio.get_running_loop()
    began, waiting = loop.time(), list(tps)
    while True:
        passed_s = loop.time() - began
        try:
            found = {tp: span for tp, span in (await ends(client, waiting)).items() if span[0] < span[1]}
        except KafkaError:
            if passed_s >= ANSWER_S:
                raise
            client.force_metadata_update()
        else:
            if not found or passed_s >= PATIENCE_S:
                return found
            waiting = list(found)
        await asyncio.sleep(LOOK_S)


async def settle(
    producer: AIOKafkaProducer,
    spans: Mapping[TopicPartition, tuple[int, int]],
    *,
    bootstrap: str,
    partition: int,
    last: Manifest | None,
) -> None:
    """Decide what is `left` of this partition's own topics, as it was meant. Nothing else may use its owner's producer.

    `last`: of the last transaction that is committed in the ledger. Raises StillUndecided, KafkaError.
    """
    found, manifest = await look(bootstrap, spans)
    there: set[str] = set()
    if manifest is not None:
        others = [tp for tp in owned(partition) if tp.topic in manifest.records and tp not in spans]
        tails = {tp: end for tp, (_, end) in (await ends(producer.client, others)).items()}
        there = await committed(bootstrap, manifest, tails)
    verdict = decide(found, owned=topics.owned(), ledger=topics.LEDGER, manifest=manifest, last=last, committed=there)
    # Where others write as well, nothing can be seen: that goes with the rest.
    known = {topic for one in (manifest, last) if one is not None for topic in one.records}
    shared = [
        TopicPartition(topic, 0 if topic == topics.OWNERS else partition) for topic in sorted(known - {*topics.owned()})
    ]
    for commit in sorted(set(verdict.values())):
        tps = [tp for tp in spans if verdict[tp.topic] is commit]
        log.error("ledger %d: Kafka left %s undecided: commit %s", partition, sorted(tps), commit)
        metrics.undecided(commit=commit)
        await end(producer, [*tps, *shared], commit=commit)
    if rest := await left(producer.client, spans):
        raise StillUndecided(f"ledger {partition}: expected to decide {sorted(rest)}, it stays as it is")


async def look(
    bootstrap: str, spans: Mapping[TopicPartition, tuple[int, int]]
) -> tuple[dict[str, Undecided], Manifest | None]:
    """What lies there, read as it is; and the manifest in the ledger's own."""
    found: dict[str, Undecided] = {}
    manifest: Manifest | None = None
    async with AIOKafkaConsumer(bootstrap_servers=bootstrap, enable_auto_commit=False, fetch_max_wait_ms=20) as reader:
        reader.assign(list(spans))
        for tp, (begin, _) in spans.items():
            reader.seek(tp, begin)
        waiting = set(spans)
        while waiting:
            for tp, records in (await reader.getmany(*waiting, timeout_ms=50)).items():
                for record in records:
                    if tp.topic not in found:
                        found[tp.topic] = Undecided(spans[tp][1] - spans[tp][0], mark_of(record.headers))
                    if tp.topic == topics.LEDGER and record.key == MANIFEST_KEY and record.value is not None:
                        manifest = msgspec.msgpack.decode(record.value, type=Manifest)
            waiting = {tp for tp in waiting if await reader.position(tp) < spans[tp][1]}
    return found, manifest


async def committed(bootstrap: str, manifest: Manifest, tails: Mapping[TopicPartition, int]) -> set[str]:
    """Topics of this manifest whose records are committed. `tails`: where partitions with nothing undecided end."""
    begins = {tp: end - 1 - manifest.records[tp.topic] for tp, end in tails.items()}  # what it wrote, and a marker
    begins = {tp: begin for tp, begin in begins.items() if begin >= 0}
    seen: set[str] = set()
    if not begins:  # aiokafka's consumer cannot be stopped right after its start
        return seen
    async with AIOKafkaConsumer(
        bootstrap_servers=bootstrap, isolation_level="read_committed", enable_auto_commit=False, fetch_max_wait_ms=20
    ) as reader:
        for tp, begin in begins.items():
            reader.assign([tp])
            reader.seek(tp, begin)
            while await reader.position(tp) < tails[tp]:
                for record in (await reader.getmany(tp, timeout_ms=50)).get(tp, ()):
                    if record.offset == begin and mark_of(record.headers) == manifest.mark:
                        seen.add(tp.topic)
    return seen


async def end(producer: AIOKafkaProducer, tps: Iterable[TopicPartition], *, commit: bool) -> None:
    """Write the markers, by a transaction of the same producer that has no records. Raises KafkaError."""
    await producer.begin_transaction()
    for tp in tps:
        producer._txn_manager.maybe_add_partition_to_txn(tp)  # noqa: SLF001 - what a send does first
    await (producer.commit_transaction() if commit else producer.abort_transaction())


def mark_of(headers: Iterable[tuple[str, bytes]]) -> bytes:
    """The mark of the transaction that a batch's first record belongs to; empty where there is none."""
    return next((value for name, value in headers if name == MARK_HEADER), b"")
