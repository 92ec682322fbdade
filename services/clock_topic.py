"""The demo's clock: one record on the `clock` topic moves every process at once. A real clock has no such topic."""

from __future__ import annotations

import asyncio
import contextlib
import struct
from collections.abc import AsyncIterator

from aiokafka import AIOKafkaProducer

from services.topic_follow import follow
from stream import topics
from stream.clock import DemoClock

_OFFSET = struct.Struct(">d")
KEY = b"offset"


@contextlib.asynccontextmanager
async def follow_clock(bootstrap: str, clock: DemoClock) -> AsyncIterator[None]:
    """Keep `clock` where the topic says, from before this returns until it is left."""

    def apply(_key: bytes, value: bytes | None) -> None:
        if value is not None:
            clock.shift_to(max(clock.offset_s, *_OFFSET.unpack(value)))

    caught_up = asyncio.Event()
    task = asyncio.create_task(follow(bootstrap, topics.CLOCK, apply, caught_up), name="clock")
    try:
        await caught_up.wait()
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def advance(bootstrap: str, offset_s: float) -> None:
    """Everybody's demo clock shall be this far ahead of real time."""
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap, enable_idempotence=True)
    await producer.start()
    try:
        await producer.send_and_wait(topics.CLOCK, _OFFSET.pack(offset_s), key=KEY, partition=0)
    finally:
        await producer.stop()
