"""What anybody with read access to Kafka sees of a run: every committed row and receipt, with the broker's own time."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from typing import Self

import msgspec
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from stream import topics
from stream.audit.leaves import decode
from stream.audit.log import Entry
from stream.audit.receipts import Receipt
from stream.events.rows import AssetHead, JobHead, rows

FOLLOWED = (topics.LEDGER, topics.AUDIT)
AGAIN_S = 0.2

Head = AssetHead | JobHead


class Outside:
    """Follows `ledger` and `audit` from their beginning, before compaction takes anything. Use as `async with`."""

    def __init__(self, kafka: str, partitions: int) -> None:
        self.jobs: defaultdict[str, list[JobHead]] = defaultdict(list)
        self.assets: defaultdict[str, list[AssetHead | None]] = defaultdict(list)
        """Each id's rows in the order of their commits; None is its tombstone."""
        self.unreadable: dict[str, float] = {}
        """Commitment (hex) of an erased asset → when its receipt says that it was unreadable, epoch seconds."""
        self._kafka = kafka
        self._next = {TopicPartition(topic, n): 0 for topic in FOLLOWED for n in range(partitions)}

    async def __aenter__(self) -> Self:
        self._following = asyncio.create_task(self._follow(), name="outside")
        return self

    async def __aexit__(self, *_exc: object) -> None:
        self._following.cancel()
        await asyncio.gather(self._following, return_exceptions=True)

    async def caught_up(self) -> None:
        """Until all that was committed before this call has been read."""
        if self._following.done():
            self._following.result()
        async with AIOKafkaConsumer(bootstrap_servers=self._kafka, isolation_level="read_committed") as reader:
            ends = await reader.end_offsets(list(self._next))
        # A position may stay behind the marker of the last transaction: nothing can be read of that.
        while any(self._next[tp] < end - 1 for tp, end in ends.items()):
            await asyncio.sleep(AGAIN_S)

    async def _follow(self) -> None:
        while True:
            try:
                await self._read()
            except (KafkaError, OSError):
                await asyncio.sleep(AGAIN_S)  # the broker is one of those that die

    async def _read(self) -> None:
        options = {"isolation_level": "read_committed", "enable_auto_commit": False}
        async with AIOKafkaConsumer(bootstrap_servers=self._kafka, **options) as reader:
            reader.assign(list(self._next))
            for tp, offset in self._next.items():
                reader.seek(tp, offset)
            while True:
                for tp, records in (await reader.getmany(timeout_ms=200)).items():
                    for record in records:
                        self._take(tp.topic, record.key, record.value)
                        self._next[tp] = record.offset + 1
                for tp in self._next:
                    self._next[tp] = max(self._next[tp], await reader.position(tp))

    def _take(self, topic: str, key: bytes, value: bytes | None) -> None:
        if topic == topics.AUDIT:
            self._leaf(msgspec.msgpack.decode(value or b"", type=Entry))
        elif key.startswith(b"job_") and value is not None:
            head, _ = rows.decode(value)
            assert isinstance(head, JobHead)
            self.jobs[key.decode()].append(head)
        elif key.startswith(b"ast_"):
            found = rows.decode(value)[0] if value is not None else None
            assert found is None or isinstance(found, AssetHead)
            self.assets[key.decode()].append(found)

    def _leaf(self, entry: Entry) -> None:
        leaf = decode(entry.leaf, entry.index)
        if not isinstance(leaf, Receipt):
            return
        for covered in entry.covered:
            for commitment in covered:
                self.unreadable[commitment.hex()] = leaf.t_unreadable_ms / 1000
