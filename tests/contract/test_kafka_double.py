"""What an owner needs of Kafka, on a real broker and on the one that the crash walk simulates."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from functools import partial
from itertools import count
from typing import Any

import pytest
import pytest_asyncio
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.errors import IllegalOperation, MessageSizeTooLargeError, ProducerFenced

from stream import topics
from stream.batches import PRODUCER_ERRORS
from stream.ledger import _cause, _hush, fenced
from tests.simulated.clients import Consumer, Producer
from tests.simulated.kafka import Cluster

PARTITIONS = 40
LIMIT_BYTES = 4096
WAIT_S = 15.0
Records = list[tuple[bytes, bytes | None]]


class Kafka:
    """One topic of its own. `partition` is one that no other test uses."""

    def __init__(self, bootstrap: str, producer: Callable[..., Any], consumer: Callable[..., Any]) -> None:
        self.bootstrap, self._producer, self._consumer = bootstrap, producer, consumer
        self.topic = f"double-{secrets.token_hex(4)}"
        self.partition = 0
        self._numbers = count()

    async def create(self) -> None:
        """Topics exist on a simulated cluster."""

    def take(self) -> None:
        self.partition = next(self._numbers)

    @property
    def tp(self) -> TopicPartition:
        return TopicPartition(self.topic, self.partition)

    @asynccontextmanager
    async def producer(self) -> AsyncIterator[Any]:
        """One that fences those before it, as the ledger makes it."""
        producer = self._producer(
            bootstrap_servers=self.bootstrap,
            linger_ms=0,
            max_batch_size=LIMIT_BYTES * 4,
            max_request_size=LIMIT_BYTES * 8,
            transactional_id=f"{self.topic}-{self.partition}",
            transaction_timeout_ms=10_000,
        )
        await producer.start()
        try:
            yield producer
        finally:
            with suppress(*PRODUCER_ERRORS):
                await asyncio.wait_for(producer.stop(), WAIT_S)
            _hush(producer)

    @asynccontextmanager
    async def consumer(self, isolation_level: str = "read_committed") -> AsyncIterator[Any]:
        consumer = self._consumer(
            bootstrap_servers=self.bootstrap,
            isolation_level=isolation_level,
            enable_auto_commit=False,
            fetch_max_wait_ms=20,
        )
        await consumer.start()
        try:
            yield consumer
        finally:
            await consumer.stop()

    async def send(self, producer: Any, records: Records, **headers: bytes) -> int:
        """The offset of the first of these, in one batch of the open transaction."""
        batch = producer.create_batch()
        for key, value in records:
            assert batch.append(timestamp=None, key=key, value=value, headers=list(headers.items())) is not None
        assert batch.record_count() == len(records)
        answer = await (await producer.send_batch(batch, self.topic, partition=self.partition))
        return answer.offset

    async def commit(self, producer: Any, records: Records, **headers: bytes) -> int:
        await producer.begin_transaction()
        offset = await self.send(producer, records, **headers)
        await producer.commit_transaction()
        return offset

    async def end(self, isolation_level: str = "read_committed") -> int:
        async with self.consumer(isolation_level) as consumer:
            return (await consumer.end_offsets([self.tp]))[self.tp]

    async def until_end(self, end: int) -> None:
        async with asyncio.timeout(WAIT_S), self.consumer() as consumer:
            while (await consumer.end_offsets([self.tp]))[self.tp] < end:
                pass  # each look is a round trip

    async def read(self, isolation_level: str = "read_committed") -> list[Any]:
        """All there is, as the ledger replays it."""
        async with asyncio.timeout(WAIT_S), self.consumer(isolation_level) as consumer:
            consumer.assign([self.tp])
            begin, end = (await consumer.beginning_offsets([self.tp]))[self.tp], await self.end(isolation_level)
            consumer.seek(self.tp, begin)
            found: list[Any] = []
            while begin < end and await consumer.position(self.tp) < end:
                for records in (await consumer.getmany(self.tp, timeout_ms=50, max_records=20_000)).values():
                    found += records
            consumer.pause(self.tp)
            return found


class Broker(Kafka):
    """A real one."""

    async def create(self) -> None:
        config = {"cleanup.policy": "compact", "flush.messages": "1", "max.message.bytes": str(LIMIT_BYTES)}
        topic = topics.Topic(self.topic, partitioned=True, config=config)
        await topics.create(self.bootstrap, (topic,), partitions=PARTITIONS)


def simulated() -> Kafka:
    cluster = Cluster()
    kafka = Kafka("simulated", partial(Producer, cluster), partial(Consumer, cluster))
    for partition in range(PARTITIONS):
        cluster.log(kafka.topic, partition).max_batch_bytes = LIMIT_BYTES
    return kafka


@pytest.fixture(scope="module", params=["simulated", pytest.param("broker", marks=pytest.mark.stack)])
def made(request: pytest.FixtureRequest) -> Kafka:
    if request.param == "simulated":
        return simulated()
    return Broker(request.getfixturevalue("stack").endpoints.kafka, AIOKafkaProducer, AIOKafkaConsumer)


@pytest_asyncio.fixture
async def kafka(made: Kafka) -> Kafka:
    await made.create()
    made.take()
    return made


ONE: Records = [(b"a", b"1")]
TWO: Records = [(b"b", b"2"), (b"c", None)]


async def test_an_empty_partition_begins_and_ends_at_nothing(kafka: Kafka) -> None:
    async with kafka.consumer() as consumer:
        assert (await consumer.beginning_offsets([kafka.tp]), await kafka.end()) == ({kafka.tp: 0}, 0)
    assert await kafka.read() == []


async def test_what_is_committed_is_read_in_order_with_headers_and_tombstones(kafka: Kafka) -> None:
    async with kafka.producer() as producer:
        assert await kafka.commit(producer, ONE) == 0
        assert await kafka.commit(producer, TWO, h=b"v") == 2  # a marker takes an offset
    await kafka.until_end(5)
    found = await kafka.read()
    assert [(record.offset, record.key, record.value) for record in found] == [
        (0, b"a", b"1"),
        (2, b"b", b"2"),
        (3, b"c", None),
    ]
    assert [tuple(record.headers) for record in found] == [(), (("h", b"v"),), (("h", b"v"),)]


async def test_what_is_open_is_not_read_and_holds_the_committed_end(kafka: Kafka) -> None:
    async with kafka.producer() as producer:
        await kafka.commit(producer, ONE)
        await kafka.until_end(2)
        await producer.begin_transaction()
        await kafka.send(producer, TWO)
        assert await kafka.end() == 2
        assert await kafka.end("read_uncommitted") == 4
        assert [record.key for record in await kafka.read()] == [b"a"]
        await producer.commit_transaction()
        await kafka.until_end(5)
        assert [record.key for record in await kafka.read()] == [b"a", b"b", b"c"]


async def test_a_commit_is_answered_before_its_marker_is_there(kafka: Kafka) -> None:
    early = 0
    async with kafka.producer() as producer, kafka.consumer() as consumer:
        await consumer.end_offsets([kafka.tp])
        for _ in range(50):
            offset = await kafka.commit(producer, ONE)
            while (await consumer.end_offsets([kafka.tp]))[kafka.tp] <= offset:
                early += 1
    assert early > 0


async def test_aborted_records_are_invisible_and_stay_in_the_log(kafka: Kafka) -> None:
    async with kafka.producer() as producer:
        await producer.begin_transaction()
        await kafka.send(producer, ONE)
        await producer.abort_transaction()
        await kafka.until_end(2)
        await kafka.commit(producer, TWO)
        await kafka.until_end(5)
    assert [record.key for record in await kafka.read()] == [b"b", b"c"]
    assert [record.key for record in await kafka.read("read_uncommitted")] == [b"a", b"b", b"c"]


async def test_a_log_that_ends_in_aborted_records_is_read_to_its_end(kafka: Kafka) -> None:
    async with kafka.producer() as producer:
        await kafka.commit(producer, ONE)
        await producer.begin_transaction()
        await kafka.send(producer, TWO)
        await producer.abort_transaction()
    await kafka.until_end(5)
    assert [record.key for record in await kafka.read()] == [b"a"]


async def test_a_start_aborts_what_the_one_before_left_open(kafka: Kafka) -> None:
    async with kafka.producer() as old:
        await old.begin_transaction()
        await kafka.send(old, ONE)
        async with kafka.producer():
            assert await kafka.end() == 2  # its marker is there before the new one may begin
            assert await kafka.read() == []
            assert [record.key for record in await kafka.read("read_uncommitted")] == [b"a"]


async def test_a_start_waits_for_the_marker_of_what_was_committed(kafka: Kafka) -> None:
    for turn in range(10):
        async with kafka.producer() as old:
            offset = await kafka.commit(old, ONE)
            async with kafka.producer():
                assert await kafka.end() == offset + 2
        assert len(await kafka.read()) == turn + 1


async def begins(kafka: Kafka, producer: Any) -> Callable[[], Awaitable[object]]:
    return lambda: kafka.commit(producer, TWO)


async def has_begun(kafka: Kafka, producer: Any) -> Callable[[], Awaitable[object]]:
    await producer.begin_transaction()
    return lambda: kafka.send(producer, TWO)


async def has_sent(kafka: Kafka, producer: Any) -> Callable[[], Awaitable[object]]:
    await producer.begin_transaction()
    await kafka.send(producer, TWO)
    return producer.commit_transaction


async def sends_more(kafka: Kafka, producer: Any) -> Callable[[], Awaitable[object]]:
    await producer.begin_transaction()
    await kafka.send(producer, TWO)
    return lambda: kafka.send(producer, TWO)


@pytest.mark.parametrize("prepare", [begins, has_begun, has_sent, sends_more])
async def test_a_fenced_producer_is_refused_whatever_it_does_next(
    kafka: Kafka, prepare: Callable[..., Awaitable[Callable[[], Awaitable[object]]]]
) -> None:
    async with AsyncExitStack() as stack:
        old = await stack.enter_async_context(kafka.producer())
        await kafka.commit(old, ONE)
        act = await prepare(kafka, old)
        new = await stack.enter_async_context(kafka.producer())
        with pytest.raises(PRODUCER_ERRORS) as refused:
            await asyncio.wait_for(act(), WAIT_S)
        cause = _cause(old, refused.value)
        assert fenced(cause)
        assert type(cause) is ProducerFenced
        with pytest.raises(PRODUCER_ERRORS):
            await asyncio.wait_for(kafka.commit(old, TWO), WAIT_S)
        await kafka.commit(new, [(b"new", b"3")])
        await kafka.until_end(await kafka.end("read_uncommitted"))
    assert [record.key for record in await kafka.read()] == [b"a", b"new"]


async def test_nothing_is_sent_outside_a_transaction(kafka: Kafka) -> None:
    async with kafka.producer() as producer:
        with pytest.raises(IllegalOperation):
            await kafka.send(producer, ONE)


async def test_a_batch_takes_what_fits(kafka: Kafka) -> None:
    async with kafka.producer() as producer:
        batch, taken = producer.create_batch(), 0
        while batch.append(timestamp=None, key=b"k", value=bytes(LIMIT_BYTES), headers=[]) is not None:
            taken += 1
        assert taken == batch.record_count() == 3


async def test_a_batch_that_is_too_large_is_refused_and_the_next_producer_goes_on(kafka: Kafka) -> None:
    async with kafka.producer() as producer:
        await producer.begin_transaction()
        with pytest.raises(MessageSizeTooLargeError):
            await kafka.send(producer, [(b"k", secrets.token_bytes(2 * LIMIT_BYTES))])
    async with kafka.producer() as producer:
        await kafka.commit(producer, ONE)
        await kafka.until_end(await kafka.end("read_uncommitted"))
    assert [record.key for record in await kafka.read()] == [b"a"]


async def test_where_it_reads_first_is_where_it_was_put(kafka: Kafka) -> None:
    async with kafka.producer() as producer:
        for _ in range(3):
            offset = await kafka.commit(producer, ONE)
        await kafka.until_end(offset + 2)
    async with asyncio.timeout(WAIT_S), kafka.consumer() as consumer:
        consumer.assign([kafka.tp])
        consumer.seek(kafka.tp, 2)
        assert await consumer.position(kafka.tp) == 2
        found: list[int] = []
        while await consumer.position(kafka.tp) < offset + 2:
            for records in (await consumer.getmany(kafka.tp, timeout_ms=50)).values():
                found += [record.offset for record in records]
        assert found == [2, 4]
