"""Transactions that Kafka calls ended without telling their partitions, made on purpose: each is decided as it was.

The broker is told not to ask whether a partition belongs to a transaction, so that a producer may write where the
coordinator has not heard of it: what a skipped marker leaves behind.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager

import pytest
import pytest_asyncio
from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from services.local.kafka import NODE_ID
from stream import topics, undecided
from stream.ledger import Change, Ledger, LedgerLost, Outgoing
from stream.metrics import worker as metrics
from tests.integration.place import Place

pytestmark = pytest.mark.stack

VERIFICATION = "transaction.partition.verification.enable"


@pytest_asyncio.fixture(scope="module", autouse=True)
async def unverified(kafka: str) -> AsyncIterator[None]:
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka)
    await admin.start()

    async def verify(configs: dict[str, str]) -> None:
        await admin.alter_configs([ConfigResource(ConfigResourceType.BROKER, str(NODE_ID), configs=configs)])

    try:
        await verify({VERIFICATION: "false"})
        yield
    finally:
        await verify({})
        await admin.close()


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(undecided, "PATIENCE_S", 0.2)


@asynccontextmanager
async def untold(ledger: Ledger, which: Collection[str]) -> AsyncIterator[None]:
    """The coordinator does not hear that a transaction writes to these topics. Every one before it is marked."""
    producer = ledger._producer
    assert producer is not None
    while await undecided.left(producer.client, undecided.owned(ledger.partition)):
        pass
    manager = producer._txn_manager
    tell = manager.maybe_add_partition_to_txn

    def withhold(tp: TopicPartition) -> None:
        if tp.topic in which:
            manager._txn_partitions.add(tp)
        else:
            tell(tp)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(manager, "maybe_add_partition_to_txn", withhold)
        yield


def change(n: int) -> Change:
    """One of each kind."""
    event = Outgoing(topics.UPLOAD, b"job", b"event %d" % n)
    return Change({b"row %d" % n: b"there"}, [event], leaves=[lambda: b"leaf %d" % n])


async def told(place: Place) -> tuple[set[bytes], list[bytes], list[bytes]]:
    """What the next owner finds, and what an agent does: rows, leaves, events."""
    ledger = place.ledger()
    replay = await ledger.open()
    rows = {key for key, _ in ledger.items()}
    await ledger.close()
    leaves = [record.value for record in await place.read(topics.AUDIT)]
    assert replay.audit == leaves
    return rows, leaves, [record.value for record in await place.read(topics.UPLOAD)]


def decided(outcome: str) -> float:
    return metrics.UNDECIDED.labels(outcome)._value.get()


WHOLE = ({b"row 1", b"row 2"}, [b"leaf 1", b"leaf 2"], [b"event 1", b"event 2"])
FIRST = ({b"row 1"}, [b"leaf 1"], [b"event 1"])


def every() -> tuple[str, ...]:
    return (topics.LEDGER, topics.KEYS, topics.AUDIT, topics.UPLOAD, topics.OWNERS)


@pytest.mark.parametrize(
    "which",
    [
        pytest.param(every, id="no partition was told"),
        pytest.param(lambda: (topics.AUDIT,), id="all but the audit log were"),
        pytest.param(lambda: (topics.UPLOAD,), id="all but the events were"),
        pytest.param(lambda: (topics.LEDGER,), id="all but the ledger were"),
        pytest.param(lambda: (topics.LEDGER, topics.UPLOAD), id="the audit log alone was"),
    ],
)
async def test_what_was_acknowledged_is_there_whoever_was_told(place: Place, which: object) -> None:
    committed, aborted = decided("committed"), decided("aborted")
    async with place.opened() as ledger:
        await ledger.apply(change(1))
        async with untold(ledger, which()):  # type: ignore[operator]
            await ledger.apply(change(2))
            await ledger.close()
    assert await told(place) == WHOLE
    assert (decided("committed"), decided("aborted")) == (committed + 1, aborted)
    assert await told(place) == WHOLE  # and stays


@pytest.mark.parametrize(
    "which",
    [
        pytest.param(every, id="no partition was told"),
        pytest.param(lambda: (topics.LEDGER,), id="all but the ledger were"),
        pytest.param(lambda: (topics.AUDIT,), id="all but the audit log were"),
    ],
)
async def test_what_never_ended_goes_as_a_whole(place: Place, which: object, monkeypatch: pytest.MonkeyPatch) -> None:
    """One batch is missing: nobody can have been told that this was committed."""
    aborted = decided("aborted")
    async with place.opened() as ledger:
        await ledger.apply(change(1))
        producer = ledger._producer
        assert producer is not None
        send = producer.send_batch

        async def lose(builder: object, topic: str, *, partition: int) -> object:
            if topic == topics.UPLOAD:
                raise AssertionError
            return await send(builder, topic, partition=partition)

        async with untold(ledger, which()):  # type: ignore[operator]
            monkeypatch.setattr(producer, "send_batch", lose)
            with pytest.raises(LedgerLost):
                await ledger.apply(change(2))
            await ledger.close()
    assert await told(place) == FIRST
    assert decided("aborted") == aborted + 1


async def test_a_transaction_that_was_aborted_in_one_partition_is_aborted_in_all(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whole, but the next owner's InitProducerId aborted what the coordinator knew of."""
    async with place.opened() as ledger:
        await ledger.apply(change(1))
        producer = ledger._producer
        assert producer is not None

        async def die() -> None:
            raise AssertionError

        async with untold(ledger, (topics.LEDGER, topics.UPLOAD)):
            monkeypatch.setattr(producer, "commit_transaction", die)
            with pytest.raises(LedgerLost):
                await ledger.apply(change(2))
            await ledger.close()
    assert await told(place) == FIRST


async def test_an_owner_who_lost_a_connection_decides_before_it_writes_on(place: Place) -> None:
    """Else its next transaction would decide only where it writes itself."""
    committed = decided("committed")
    async with place.opened() as ledger:
        await ledger.apply(change(1))
        async with untold(ledger, every()):
            await ledger.apply(change(2))
        assert ledger._producer is not None
        for connection in list(ledger._producer.client._conns.values()):
            connection.close()
        await ledger.apply(Change({b"row 3": b"there"}))
        assert decided("committed") == committed + 1
        assert [record.value for record in await place.read(topics.UPLOAD)] == [b"event 1", b"event 2"]
    assert await told(place) == (WHOLE[0] | {b"row 3"}, *WHOLE[1:])


async def test_what_another_producer_left_open_is_nothing_to_go_on_with(place: Place) -> None:
    async with place.opened() as ledger:
        await ledger.apply(change(1))
    async with AIOKafkaProducer(bootstrap_servers=place.kafka, transactional_id=f"other-{place.partition}") as other:
        await other.begin_transaction()
        await other.send_and_wait(topics.AUDIT, b"?", partition=place.partition)
        with pytest.raises(undecided.StillUndecided, match="it stays as it is"):
            await place.ledger().open()
        await other.abort_transaction()
    assert await told(place) == FIRST
