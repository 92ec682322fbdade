"""Topics on a real broker."""

from __future__ import annotations

import secrets

import pytest
from aiokafka import TopicPartition
from aiokafka.client import AIOKafkaClient

from services.local.stack import LocalStack
from stream import topics
from stream.offsets import ends

pytestmark = pytest.mark.stack

PARTITIONS = 40


def plan() -> tuple[topics.Topic, ...]:
    return tuple(topics.Topic(f"made-{n}-{secrets.token_hex(4)}", partitioned=True, config={}) for n in range(5))


async def test_what_was_created_can_be_used(stack: LocalStack) -> None:
    """Its brokers tell of a leader about a second before that leader answers."""
    made = plan()
    await topics.create(stack.endpoints.kafka, made, partitions=PARTITIONS)
    client = AIOKafkaClient(bootstrap_servers=stack.endpoints.kafka)
    try:
        await client.bootstrap()
        await client.set_topics({topic.name for topic in made})
        tps = [TopicPartition(topic.name, n) for topic in made for n in range(PARTITIONS)]
        assert await ends(client, tps) == dict.fromkeys(tps, (0, 0))
    finally:
        await client.close()


async def test_topics_of_another_size_are_refused(stack: LocalStack) -> None:
    made = plan()[:1]
    await topics.create(stack.endpoints.kafka, made, partitions=2)
    await topics.create(stack.endpoints.kafka, made, partitions=2)  # it is there
    with pytest.raises(topics.WrongPartitions, match=r"expected 3 partitions of made-0-[0-9a-f]+, found 2"):
        await topics.create(stack.endpoints.kafka, made, partitions=3)
