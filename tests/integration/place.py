"""One partition of the ledger's topics on a real broker, for tests of what is kept there."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from aiokafka import AIOKafkaConsumer, TopicPartition

from stream import topics
from stream.ledger import Ledger
from stream.vault.pages import KeyPages
from stream.vault.rootstore_file import FileRootStore


class Place:
    """One partition of topics of our own, and the root store that belongs to it."""

    def __init__(self, kafka: str, partition: int, roots: Path) -> None:
        self.kafka, self.partition, self.roots = kafka, partition, roots
        self.lost: list[BaseException] = []

    def ledger(self, **options: object) -> Ledger:
        pages = KeyPages(self.partition, FileRootStore(self.roots))
        return Ledger(
            self.partition,
            pages,
            bootstrap=self.kafka,
            on_lost=lambda _, error: self.lost.append(error),
            **options,  # type: ignore[arg-type]
        )

    @asynccontextmanager
    async def opened(self, **options: object) -> AsyncIterator[Ledger]:
        ledger = self.ledger(**options)
        await ledger.open()
        try:
            yield ledger
        finally:
            await ledger.close()

    async def read(self, topic: str) -> list:
        """Every committed record of the partition."""
        tp = TopicPartition(topic, self.partition)
        async with AIOKafkaConsumer(
            bootstrap_servers=self.kafka, isolation_level="read_committed", enable_auto_commit=False
        ) as reader:
            reader.assign([tp])
            begin, end = (await reader.beginning_offsets([tp]))[tp], (await reader.end_offsets([tp]))[tp]
            reader.seek(tp, begin)
            found: list = []
            while begin < end and await reader.position(tp) < end:
                for records in (await reader.getmany(tp, timeout_ms=100)).values():
                    found += records
            return found

    async def rows(self) -> dict[bytes, bytes | None]:
        return {record.key: record.value for record in await self.read(topics.LEDGER)}

    def versions(self) -> list[str]:
        return sorted(path.name for path in self.roots.iterdir() if path.name.startswith("v"))
