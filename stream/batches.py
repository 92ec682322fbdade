"""Records of one transaction, put into batches by us.

aiokafka's `send` costs 20 µs a record: a metadata check, a future and its callbacks for each. A batch has one future.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from aiokafka import AIOKafkaProducer
from aiokafka.errors import IllegalOperation, KafkaError
from aiokafka.structs import RecordMetadata

# What a producer's method raises when its sender died. Which of them depends on how far the news has got: the last two
# are of aiokafka's own state machine, and neither is a KafkaError.
PRODUCER_ERRORS = (KafkaError, IllegalOperation, AssertionError)


@dataclass(slots=True)
class Batch:
    """Records of one topic's partition. `tags`: what its maker calls those of them that have a name."""

    topic: str
    partition: int
    builder: Any
    tags: list[int] = field(default_factory=list)

    def last_offset(self, base: int) -> int:
        """The offset of its last record, where `base` is that of its first."""
        return base + int(self.builder.record_count()) - 1


class Batches:
    """Fill with `add`, then `send`. Records of a topic stay in order; a topic's all go to one partition.

    `mark`: a header of each batch's first record, by which the transaction is known among others.
    """

    def __init__(self, producer: AIOKafkaProducer, mark: tuple[str, bytes] | None = None) -> None:
        self._producer = producer
        self._mark = [] if mark is None else [mark]
        self.records: Counter[str] = Counter()  # by topic
        self._batches: list[Batch] = []
        self._open: dict[str, Batch] = {}

    def add(
        self,
        topic: str,
        partition: int,
        key: bytes,
        value: bytes | None,
        *,
        headers: Iterable[tuple[str, bytes]] = (),
        tag: int | None = None,
        alone: bool = False,
    ) -> None:
        """One record. `alone`: in a batch of its own, so that its refusal is nobody else's."""
        record: dict[str, Any] = {"timestamp": None, "key": key, "value": value, "headers": list(headers)}
        batch = None if alone else self._open.get(topic)
        if batch is None or batch.builder.append(**record) is None:  # none yet, or full
            batch = self._open[topic] = Batch(topic, partition, self._producer.create_batch())
            self._batches.append(batch)
            batch.builder.append(**record | {"headers": [*self._mark, *headers]})  # the first always fits
        self.records[topic] += 1
        if tag is not None:
            batch.tags.append(tag)
        if alone:
            del self._open[topic]

    async def send(self) -> list[tuple[Batch, RecordMetadata | BaseException]]:
        """Each batch, and where its first record lies or why it was not taken."""
        sent: list[asyncio.Future[RecordMetadata]] = []
        unsent: list[BaseException] = []
        for batch in self._batches:
            try:
                sent.append(await self._producer.send_batch(batch.builder, batch.topic, partition=batch.partition))
            except PRODUCER_ERRORS as error:  # the producer died of an earlier batch, whose answer tells why
                unsent = [error] * (len(self._batches) - len(sent))
                break
        answers = await asyncio.gather(*sent, return_exceptions=True)
        return list(zip(self._batches, (*answers, *unsent), strict=True))
