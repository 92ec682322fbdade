"""Every topic: what it is for, how it is kept, and its creation. Faust ignores topics that do not exist when it starts.

Compaction forgets an old value only when a segment rolls, and a segment rolls by time only when something is
appended: each owner's heartbeat sees to that (about `SEGMENT_S` + the cleaner's round).
"""

from __future__ import annotations

import asyncio
import math
from typing import ClassVar

import msgspec
from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.client import AIOKafkaClient
from aiokafka.errors import KafkaError

from stream.errors import StoreUnavailable
from stream.offsets import ends

LEDGER = "ledger"
KEYS = "keys"
AUDIT = "audit"
OWNERS = "owners"
TENANTS = "tenants"
CLOCK = "clock"
REGISTER = "register"  # what is shared with whom, and what is announced: nothing of any subject
PARKED = "parked"
UPLOAD = "upload"
DETECT = "detect"
GENERATE = "generate"
EXPIRE = "expire"
STATISTICS = "metrics.v1"

EVENTS = (UPLOAD, DETECT, GENERATE, EXPIRE)
"""The topics that agents read, co-partitioned with the ledger."""

GROUP = "mayfly"
"""The group in which workers share the partitions of these topics."""

SEGMENT_S = 60
STATISTICS_SEGMENT_S = 7 * 24 * 3600  # they are few
TOMBSTONE_S = 24 * 3600
"""A closed ledger kept in memory longer than this must not be reopened: it may have missed a tombstone."""

MAX_MESSAGE_BYTES = 1 << 20  # of a batch, not of a record: producers keep theirs below it
MAX_VALUE_BYTES = 900_000
METADATA_POLL_S = 0.05


class Topic(msgspec.Struct, frozen=True):
    """A topic as it must be."""

    name: str
    partitioned: bool  # by subject, like the ledger; else one partition
    config: dict[str, str]


class WrongPartitions(StoreUnavailable):
    """The cluster was made for another number of partitions: subjects would be looked for in the wrong place."""

    kind: ClassVar[str] = "wrong-partitions"


def _compacted(**more: str) -> dict[str, str]:
    return {
        "cleanup.policy": "compact",
        "segment.ms": str(SEGMENT_S * 1000),
        "max.compaction.lag.ms": str(SEGMENT_S * 1000),
        "min.cleanable.dirty.ratio": "0.01",
        "delete.retention.ms": str(TOMBSTONE_S * 1000),
        "max.message.bytes": str(MAX_MESSAGE_BYTES),
        "message.timestamp.type": "LogAppendTime",
    } | {key.replace("_", "."): value for key, value in more.items()}


def _deleted(retention_s: float) -> dict[str, str]:
    return {
        "cleanup.policy": "delete",
        "retention.ms": str(int(retention_s * 1000)),
        "segment.ms": str(int(min(retention_s / 4, 3600) * 1000)),
        "max.message.bytes": str(MAX_MESSAGE_BYTES),
        "message.timestamp.type": "LogAppendTime",
    }


def plan(event_retention_s: float, parked_retention_s: float, statistics_s: float = math.inf) -> tuple[Topic, ...]:
    """All topics. `event_retention_s`: how long a consumed event may stay (ids only in clear, bodies sealed).

    `statistics_s`: how long policies let anonymised counts stay.
    """
    forever = {"retention.ms": "-1", "segment.ms": str(STATISTICS_SEGMENT_S * 1000)}
    return (
        Topic(LEDGER, partitioned=True, config=_compacted()),
        # A key's death must not depend on a page cache: see decision 7 and the vault.
        Topic(KEYS, partitioned=True, config=_compacted(flush_messages="1")),
        # Receipts identify nobody and are kept; time-based retention would remove leaves that checkpoints count.
        Topic(AUDIT, partitioned=True, config=_deleted(event_retention_s) | {"retention.ms": "-1"}),
        Topic(OWNERS, partitioned=False, config=_compacted()),
        Topic(TENANTS, partitioned=False, config=_compacted()),
        Topic(CLOCK, partitioned=False, config=_compacted()),
        Topic(REGISTER, partitioned=False, config=_compacted()),
        Topic(
            STATISTICS,
            partitioned=False,
            config=_deleted(event_retention_s) | forever if math.isinf(statistics_s) else _deleted(statistics_s),
        ),
        Topic(PARKED, partitioned=True, config=_deleted(parked_retention_s)),
        *(Topic(name, partitioned=True, config=_deleted(event_retention_s)) for name in EVENTS),
    )


def owned() -> tuple[str, ...]:
    """Topics of which a partition has one writer: the ledger of that number."""
    return (LEDGER, KEYS, AUDIT, PARKED, *EVENTS)


def written() -> tuple[str, ...]:
    """What every owner writes, sooner or later."""
    return (*owned(), OWNERS)


async def create(bootstrap: str, topics: tuple[Topic, ...], *, partitions: int, replication: int = 1) -> None:
    """Create what is missing, and wait until it can be used. Raises WrongPartitions where one has another count."""
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    try:
        there = set(await admin.list_topics())
        for described in await admin.describe_topics([topic.name for topic in topics if topic.name in there]):
            wanted = {t.name: partitions if t.partitioned else 1 for t in topics}[described["topic"]]
            if len(described["partitions"]) != wanted:
                raise WrongPartitions(
                    f"expected {wanted} partitions of {described['topic']}, found {len(described['partitions'])}: "
                    "start with the count that this cluster was created with"
                )
        missing = [topic for topic in topics if topic.name not in there]
        await admin.create_topics(
            [NewTopic(t.name, partitions if t.partitioned else 1, replication, topic_configs=t.config) for t in missing]
        )
    finally:
        await admin.close()
    if missing:
        await _lead(
            bootstrap,
            [TopicPartition(t.name, n) for t in missing for n in range(partitions if t.partitioned else 1)],
        )


async def _lead(bootstrap: str, tps: list[TopicPartition]) -> None:
    """Until each partition's leader answers for it: it does so some time after all brokers have heard of the topic."""
    client = AIOKafkaClient(bootstrap_servers=bootstrap)
    try:
        await client.bootstrap()
        await client.set_topics({tp.topic for tp in tps})
        while True:
            try:
                await ends(client, tps)
            except KafkaError:
                await asyncio.sleep(METADATA_POLL_S)
                await client.force_metadata_update()
            else:
                return
    finally:
        await client.close()


async def config_of(bootstrap: str, topic: str) -> dict[str, str]:
    """The live configuration of a topic, for checks."""
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    try:
        answers = await admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, topic)])
        return {entry[0]: entry[1] for answer in answers for resource in answer.resources for entry in resource[4]}
    finally:
        await admin.close()
