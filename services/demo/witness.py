"""What the stores themselves hold, past every API: the bucket, the ledger's topic, the root store."""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Final, Self

from aiokafka import AIOKafkaConsumer, TopicPartition

from services.local import s3
from services.roots import root_stores
from services.settings import Settings
from stream import topics
from stream.events.rows import AssetHead, rows

POLL_MS: Final = 100
SETTLE_POLL_S: Final = 0.05


class Witness:
    """Use as `async with`: from then on every committed row is seen, also those that compaction takes later."""

    def __init__(self, settings: Settings) -> None:
        self.objects_of: dict[str, str] = {}
        """Asset → the name of its object, of every asset that ever had a row."""
        self._settings = settings
        self._living: set[str] = set()
        self._tombstones: set[str] = set()
        self._partitions = [TopicPartition(topics.LEDGER, n) for n in range(settings.partitions)]
        self._consumer = AIOKafkaConsumer(
            bootstrap_servers=settings.kafka, isolation_level="read_committed", enable_auto_commit=False
        )
        served = s3.S3(settings.s3_url, settings.s3_access_key, settings.s3_secret_key)
        self._s3 = s3.client(served)

    async def __aenter__(self) -> Self:
        await self._consumer.start()
        self._consumer.assign(self._partitions)
        for partition, begin in (await self._consumer.beginning_offsets(self._partitions)).items():
            self._consumer.seek(partition, begin)
        self._reading = asyncio.create_task(self._read(), name="witness")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._reading.cancel()
        await asyncio.gather(self._reading, return_exceptions=True)
        await self._consumer.stop()

    async def settle(self) -> None:
        """Return once everything committed until now is read."""
        ends = await self._consumer.end_offsets(self._partitions)
        while not self._reading.done():
            if all([await self._consumer.position(each) >= ends[each] for each in self._partitions]):
                return
            await asyncio.sleep(SETTLE_POLL_S)
        self._reading.result()

    def tombstoned(self, row_id: str) -> bool:
        """Whether the last committed record of this row is a tombstone, after `settle`."""
        return row_id in self._tombstones

    def rows(self) -> int:
        """How many rows of subjects, jobs and assets there are, after `settle`."""
        return len(self._living)

    async def objects(self) -> set[str]:
        """Names of all objects in the bucket."""
        return await asyncio.to_thread(
            lambda: {str(each.object_name) for each in self._s3.list_objects(self._settings.bucket, recursive=True)}
        )

    async def oldest_root(self, partition: int) -> int:
        """The lowest root version of the partition that is not destroyed."""
        with root_stores(self._settings) as stores:
            return min(await stores(partition).versions())

    async def _read(self) -> None:
        while True:
            for records in (await self._consumer.getmany(timeout_ms=POLL_MS)).values():
                for record in records:
                    self._take(record.key.decode(), record.value)

    def _take(self, row_id: str, value: bytes | None) -> None:
        if "_" not in row_id:
            return  # the owner's own: how far it has read
        if value is None:
            self._living.discard(row_id)
            self._tombstones.add(row_id)
            return
        self._living.add(row_id)
        self._tombstones.discard(row_id)
        header, _ = rows.decode(value)
        if isinstance(header, AssetHead):
            self.objects_of[row_id] = header.object
