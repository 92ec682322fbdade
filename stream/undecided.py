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
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import ClassVar

import msgspec
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.client import AIOKafkaClient
from aiokafka.errors import KafkaError, LeaderNotAvailableError, for_code
from aiokafka.protocol.offset import OffsetRequest, OffsetResetStrategy

from stream.errors import StoreUnavailable

MARK_HEADER = "transaction"
LOOK_S = 0.05
PATIENCE_S = 3.0
"""For markers that are on their way: less than a self-lease."""

_UNCOMMITTED, _COMMITTED = 0, 1


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


async def ends(client: AIOKafkaClient, tps: Iterable[TopicPartition]) -> dict[TopicPartition, tuple[int, int]]:
    """Of each partition, where its decided records end, and where all of them do. Raises KafkaError."""
    by_node: defaultdict[int, defaultdict[str, list[tuple[int, int]]]] = defaultdict(lambda: defaultdict(list))
    for tp in tps:
        node = client.cluster.leader_for_partition(tp)
        if node is None or node < 0:
            raise LeaderNotAvailableError(tp)
        by_node[node][tp.topic].append((tp.partition, OffsetResetStrategy.LATEST))

    async def ask(level: int) -> dict[TopicPartition, int]:
        requests = [(node, OffsetRequest(-1, level, list(topics.items()))) for node, topics in by_node.items()]
        found: dict[TopicPartition, int] = {}
        for response in await asyncio.gather(*(client.send(node, request) for node, request in requests)):
            for topic, partitions in response.topics:
                for partition, code, _at, offset in partitions:
                    if code:
                        raise for_code(code)(topic, partition)
                    found[TopicPartition(topic, partition)] = offset
        return found

    stable = await ask(_COMMITTED)  # first: what is written in between would look undecided, and is looked at again
    written = await ask(_UNCOMMITTED)
    return {tp: (stable[tp], written[tp]) for tp in written}


async def left(client: AIOKafkaClient, tps: Iterable[TopicPartition]) -> dict[TopicPartition, tuple[int, int]]:
    """Those with records that stay undecided, and their range of offsets. No producer may be writing there.

    Raises KafkaError once Kafka did not answer for `PATIENCE_S`.
    """
    loop = asyncio.get_running_loop()
    until, waiting = loop.time() + PATIENCE_S, list(tps)
    while True:
        late = loop.time() >= until
        try:
            found = {tp: span for tp, span in (await ends(client, waiting)).items() if span[0] < span[1]}
        except KafkaError:
            if late:
                raise
            client.force_metadata_update()
        else:
            if not found or late:
                return found
            waiting = list(found)
        await asyncio.sleep(LOOK_S)


async def look(
    bootstrap: str, spans: Mapping[TopicPartition, tuple[int, int]], *, ledger: str, row: bytes
) -> tuple[dict[str, Undecided], Manifest | None]:
    """What lies there, read as it is; and the manifest in the ledger's own (the last value of `row`)."""
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
                    if tp.topic == ledger and record.key == row and record.value is not None:
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
