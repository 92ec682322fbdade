"""Where partitions end, asked of their leaders: twice in one turn, for what is decided and for what is written."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Iterable

from aiokafka import TopicPartition
from aiokafka.client import AIOKafkaClient
from aiokafka.errors import LeaderNotAvailableError, for_code
from aiokafka.protocol.offset import OffsetRequest, OffsetResetStrategy

_UNCOMMITTED, _COMMITTED = 0, 1


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
