"""The demo's clock: one record on the `clock` topic moves every process at once. A real clock has no such topic."""

from __future__ import annotations

import asyncio
import contextlib
import struct
from collections.abc import AsyncIterator

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from stream import topics
from stream.clock import DemoClock

_OFFSET = struct.Struct(">d")
KEY = b"offset"


@contextlib.asynccontextmanager
async def follow_clock(bootstrap: str, clock: DemoClock) -> AsyncIterator[None]:
    """Keep `clock` where the topic says, from before this returns until it is left."""
    consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap, enable_auto_commit=False, fetch_max_wait_ms=50)
    await consumer.start()
    tp = TopicPartition(topics.CLOCK, 0)
    consumer.assign([tp])
    consumer.seek(tp, (await consumer.beginning_offsets([tp]))[tp])
    end = (await consumer.end_offsets([tp]))[tp]

    async def once() -> None:
        for record in (await consumer.getmany(tp, timeout_ms=200)).get(tp, ()):
            (offset_s,) = _OFFSET.unpack(record.value)
            if offset_s > clock.offset_s:
                clock.shift_to(offset_s)

    async def forever() -> None:
        while True:
            await once()

    while await consumer.position(tp) < end:
        await once()
    task = asyncio.create_task(forever(), name="clock")
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await consumer.stop()


async def advance(bootstrap: str, offset_s: float) -> None:
    """Everybody's demo clock shall be this far ahead of real time."""
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap, enable_idempotence=True)
    await producer.start()
    try:
        await producer.send_and_wait(topics.CLOCK, _OFFSET.pack(offset_s), key=KEY, partition=0)
    finally:
        await producer.stop()
