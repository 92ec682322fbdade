"""Read one partition of a topic whole, or follow a topic of one: all of it, then each record as it is committed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

import structlog
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

_POLL_MS: Final = 500
_RETRY_S: Final = 0.5

Apply = Callable[[bytes, bytes | None], None]

log = structlog.get_logger()


async def read_whole(bootstrap: str, topic: str, apply: Apply, *, partition: int = 0) -> int:
    """Apply every record that was committed when this was called; the end offset then. Raises KafkaError."""
    consumer, tp, end = await _open(bootstrap, topic, partition)
    try:
        await _read_to(consumer, tp, end, apply)
    finally:
        await consumer.stop()
    return end


async def follow(bootstrap: str, topic: str, apply: Apply, caught_up: asyncio.Event) -> None:
    """Apply for ever; `caught_up` is set once all that was there at the start is applied. Outlives broker failures."""
    while True:
        try:
            consumer, partition, end = await _open(bootstrap, topic)
            try:
                await _read_to(consumer, partition, end, apply)
                caught_up.set()
                while True:
                    await _poll(consumer, partition, apply)
            finally:
                await consumer.stop()
        except KafkaError as error:
            log.warning("follow.retry", topic=topic, error=type(error).__name__)
            await asyncio.sleep(_RETRY_S)


async def _open(bootstrap: str, topic: str, number: int = 0) -> tuple[AIOKafkaConsumer, TopicPartition, int]:
    consumer = AIOKafkaConsumer(
        bootstrap_servers=bootstrap,
        isolation_level="read_committed",  # owners are written inside the ledger's transactions
        enable_auto_commit=False,
        auto_offset_reset="earliest",
    )
    try:
        await consumer.start()
        partition = TopicPartition(topic, number)
        consumer.assign([partition])
        # Not seek_to_beginning: right after assign it loses against the reset that assign has begun.
        consumer.seek(partition, (await consumer.beginning_offsets([partition]))[partition])
        end = int((await consumer.end_offsets([partition]))[partition])
    except BaseException:
        await consumer.stop()
        raise
    return consumer, partition, end


async def _read_to(consumer: AIOKafkaConsumer, partition: TopicPartition, end: int, apply: Apply) -> None:
    while await consumer.position(partition) < end:
        await _poll(consumer, partition, apply)


async def _poll(consumer: AIOKafkaConsumer, partition: TopicPartition, apply: Apply) -> None:
    for record in (await consumer.getmany(partition, timeout_ms=_POLL_MS)).get(partition, ()):
        apply(record.key, record.value)
