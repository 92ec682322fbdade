"""Where partitions lie, asked once for all Kafka clients of a process.

A worker has two clients for each partition that it owns, and each would ask for itself, topic by topic as it meets
them. The answer names every partition of a topic: with 64 of them, reading it again and again took much of an opening.
A client that was told keeps itself up to date from then on, as any does.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable
from typing import Any

from aiokafka.client import AIOKafkaClient
from aiokafka.errors import KafkaError

FRESH_S = 30.0
"""After this it is asked anew: partitions move, and who was told first may be closed."""


class Known:
    """One per cluster. `topics`: all that its clients will meet."""

    def __init__(self, topics: Iterable[str], *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._topics, self._monotonic = frozenset(topics), monotonic
        self._until = float("-inf")
        self._partitions: dict[str, Any] = {}
        self._of_brokers: Any = None
        self._asking = asyncio.Lock()

    async def tell(self, client: AIOKafkaClient) -> None:
        """A client that has just started knows the topics after this. Raises KafkaError where nobody answers."""
        cluster = client.cluster
        async with self._asking:
            if self._monotonic() >= self._until:
                if not await client.set_topics(self._topics):
                    raise KafkaError("expected to be told where partitions lie, no broker answered")
                found = cluster._partitions  # noqa: SLF001 - aiokafka replaces these with each answer, and changes none
                self._partitions = {topic: found[topic] for topic in self._topics if topic in found}
                self._of_brokers, self._until = cluster._broker_partitions, self._monotonic() + FRESH_S  # noqa: SLF001
        # No more than it will ask for itself from now on: a topic that it did not, it would lose with its next answer,
        # and a batch that waits for that topic's leader would wait for ever.
        client._topics = set(self._topics)  # noqa: SLF001 - as if it had asked
        cluster._partitions, cluster._broker_partitions = self._partitions, self._of_brokers  # noqa: SLF001
