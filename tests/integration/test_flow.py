"""Events on real Faust workers: what cannot be handled is parked, what was handled is not handled again."""

from __future__ import annotations

import asyncio
import os
import secrets
import signal
from collections import deque
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest
import pytest_asyncio
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.errors import KafkaError
from faust.types import TP

from services.local.system import System
from services.worker import AGENTS
from stream import topics
from stream.agents.flow import Flow
from stream.events.bus import GenerateRequested, bus
from stream.events.rows import Parked, rows
from stream.ledger import Change, Commit, LedgerLost
from tests.integration.client import (
    APP,
    Client,
    asset_of,
    eventually,
    ledger_headers,
    records,
    worker_metrics,
)

WRONG_TOPIC = bus.encode(GenerateRequested(job="job_x", at=0.0))


@pytest_asyncio.fixture(scope="module")
async def client(system: System) -> AsyncIterator[Client]:
    async with Client(system, *await system.tenant(APP)) as client:
        yield client


async def put(system: System, topic: str, partition: int, value: bytes) -> int:
    """An event by hand; its offset."""
    async with AIOKafkaProducer(bootstrap_servers=system.settings.kafka, enable_idempotence=True) as producer:
        sent = await producer.send_and_wait(topic, value, key=b"by hand", partition=partition)
        return int(sent.offset)


async def group_is_at(kafka: str, ends: dict[TopicPartition, int]) -> bool:
    async with AIOKafkaConsumer(bootstrap_servers=kafka, group_id=topics.GROUP, enable_auto_commit=False) as looker:
        looker.assign(list(ends))
        return all([(await looker.committed(tp) or 0) >= end for tp, end in ends.items()])


async def ends_of(kafka: str) -> dict[TopicPartition, int]:
    """Where each input topic ends now."""
    async with AIOKafkaConsumer(bootstrap_servers=kafka) as looker:
        return dict(await looker.end_offsets([TopicPartition(topic, n) for topic in topics.EVENTS for n in range(4)]))


async def rewind(kafka: str, to: dict[TopicPartition, int]) -> None:
    """The workers' group is where it was then, as if no later commit had arrived. Only while it has no member."""
    async with AIOKafkaConsumer(bootstrap_servers=kafka, group_id=topics.GROUP, enable_auto_commit=False) as looker:
        looker.assign(list(to))
        async with asyncio.timeout(30):
            while True:
                try:
                    await looker.commit(to)
                except KafkaError:  # a member is still there
                    await asyncio.sleep(0.1)
                else:
                    return


@pytest.mark.stack
class TestParking:
    @pytest.mark.parametrize("topic", topics.EVENTS)
    async def test_an_undecodable_event_is_parked_and_the_partition_goes_on(self, client: Client, topic: str) -> None:
        system, partition = client.system, topics.EVENTS.index(topic)
        before = (await worker_metrics(system))["mayfly_parked_total", "undecodable", topic]
        value = b"\xffno event" + secrets.token_bytes(8)
        offset = await put(system, topic, partition, value)

        async def parked() -> Any:
            return next((r for r in await records(system.settings.kafka, topics.PARKED) if r.value == value), None)

        record = await eventually(parked)
        where = f"{topic}/{offset}"
        assert record.partition == partition
        assert {("origin", where.encode()), ("reason", b"undecodable")} <= set(record.headers)
        row = (await ledger_headers(system))[f"parked/{where}"]
        assert isinstance(row, Parked)
        assert (row.topic, row.offset, row.reason) == (topic, offset, "undecodable")
        assert (await worker_metrics(system))["mayfly_parked_total", "undecodable", topic] == before + 1
        await client.done(client.place(partition))

    async def test_an_event_on_the_wrong_topic_is_parked(self, client: Client) -> None:
        offset = await put(client.system, topics.UPLOAD, 2, WRONG_TOPIC)

        async def row() -> Any:
            return (await ledger_headers(client.system)).get(f"parked/{topics.UPLOAD}/{offset}")

        assert (await eventually(row)).reason == "unexpected-event"
        await client.done(client.place(2))


@pytest.mark.stack
class TestRedelivery:
    async def test_killed_between_a_tombstone_and_its_offset_commit(self, client: Client) -> None:
        """All events of its jobs come again after their rows were tombstoned: nothing is resurrected or repeated."""
        system, kafka = client.system, client.system.settings.kafka
        began = await ends_of(kafka)
        begun = await client.begin(choice="discard")
        view = await client.ended(begun["id"])
        kept = await client.done()
        photo, result = asset_of(begun, "input"), asset_of(view, "result")
        assert (await client.asset(result["id"])).status_code == 200
        for asset in (photo, result):
            await client.receipt(asset)

        async def tombstoned() -> bool:
            return not {photo["id"], result["id"]} & set(await ledger_headers(system))

        await eventually(tombstoned)
        events = [record for topic in topics.EVENTS for record in await records(kafka, topic)]
        assert any(record.offset >= began[TopicPartition(record.topic, record.partition)] for record in events)
        ends = {TopicPartition(r.topic, r.partition): r.offset + 1 for r in events}
        restarts, old = system.restarts, [system.child(name) for name in ("worker-1", "worker-2")]
        for child in old:
            assert child is not None
            os.kill(child.pid, signal.SIGTERM)

        async def fresh() -> list[int]:
            children = [system.child(name) for name in ("worker-1", "worker-2")]
            pids = [child.pid for child in children if child is not None and child not in old]
            return pids if len(pids) == 2 and system.restarts >= restarts + 2 else []

        pids = await eventually(fresh)
        for pid in pids:  # held back, long before they join
            os.kill(pid, signal.SIGSTOP)
        before = await ledger_headers(system)
        written = {topic: len(await records(kafka, topic)) for topic in topics.EVENTS}
        await rewind(kafka, began)
        for pid in pids:
            os.kill(pid, signal.SIGCONT)
        await eventually(lambda: group_is_at(kafka, ends), within_s=60.0)
        after = await ledger_headers(system)
        assert after.keys() == before.keys()
        assert all(after[name] == head for name, head in before.items() if name.startswith("job_"))
        assert {topic: len(await records(kafka, topic)) for topic in topics.EVENTS} == written
        for asset in (photo, result):
            assert await client.status_of(asset["id"]) == 410
        for asset in kept["assets"]:
            assert await client.status_of(asset["id"]) == 200
        seen: dict[bytes, bytes | None] = {}
        for record in await records(kafka, topics.LEDGER):
            assert record.key not in seen or seen[record.key] is not None or record.value is None, record.key
            seen[record.key] = record.value


@dataclass(slots=True, eq=False)
class Event:
    """What Flow needs of a Faust event."""

    offset: int
    value: bytes
    acked: list[int]
    generation_id: int = 1
    message: Any = field(init=False)

    def __post_init__(self) -> None:
        self.message = SimpleNamespace(
            tp=TP("generate", 0),
            topic="generate",
            partition=0,
            offset=self.offset,
            key=b"k",
            value=self.value,
            generation_id=self.generation_id,
        )

    def ack(self) -> None:
        self.acked.append(self.offset)


class HeldLedger:
    """Commits when it is told to."""

    def __init__(self) -> None:
        self.next, self.lost = 0, False
        self.changes: list[Change] = []
        self.futures: deque[asyncio.Future[Commit]] = deque()

    def applied(self, _topic: str) -> int:
        return self.next

    def barrier(self) -> asyncio.Future[Commit]:
        return self.commit(Change())

    def commit(self, change: Change) -> asyncio.Future[Commit]:
        if self.lost:
            raise LedgerLost("expected to be ours")
        self.changes.append(change)
        self.futures.append(future := asyncio.get_running_loop().create_future())
        return future


class Estates:
    """One estate on partition 0, of a group's generation."""

    def __init__(self) -> None:
        self.ledger, self.generation = HeldLedger(), 1
        self.on_revoked: list[Any] = []
        rules = SimpleNamespace(parked_retention_s=60.0)
        book = SimpleNamespace(discard=lambda: None, index_due=lambda *_: None)
        self.estate = SimpleNamespace(
            ledger=self.ledger, commit=self.ledger.commit, book=book, rules=rules, now=lambda: 1000.0
        )

    def __getitem__(self, partition: int) -> Any:
        return self.estate


class TestOrder:
    """Acknowledgements, with commits that come when the test says so."""

    @pytest.fixture
    def estates(self) -> Estates:
        return Estates()

    @pytest.fixture
    def parked(self) -> list[tuple[str, str]]:
        return []

    @pytest.fixture
    def flow(self, estates: Estates, parked: list[tuple[str, str]]) -> Flow:
        return Flow(estates, on_parked=lambda *what: parked.append(what), limit=8)  # type: ignore[arg-type]

    DECISIONS = AGENTS["generate"] | {GenerateRequested: lambda *_: None}

    async def add(self, flow: Flow, acked: list[int], *offsets: int, value: bytes = WRONG_TOPIC, **more: int) -> None:
        for offset in offsets:
            await flow.add(Event(offset, value, acked, **more), self.DECISIONS)  # type: ignore[arg-type]

    async def test_nothing_is_acknowledged_past_what_is_not_committed(self, flow: Flow, estates: Estates) -> None:
        acked: list[int] = []
        await self.add(flow, acked, 0, 1, 2, 3)
        first, *rest = estates.ledger.futures
        for future in rest:
            future.set_result(Commit(0.0))
        await asyncio.sleep(0)
        assert acked == []
        first.set_result(Commit(0.0))
        await asyncio.sleep(0)
        assert acked == [0, 1, 2, 3]

    async def test_what_fails_to_commit_holds_all_behind_it(self, flow: Flow, estates: Estates) -> None:
        acked: list[int] = []
        await self.add(flow, acked, 0, 1, 2)
        first, second, third = estates.ledger.futures
        first.set_result(Commit(0.0))
        second.set_exception(LedgerLost("expected to be ours"))
        third.set_result(Commit(0.0))
        await asyncio.sleep(0)
        assert acked == [0]

    async def test_a_duplicate_is_not_decided_again_but_acknowledged(self, flow: Flow, estates: Estates) -> None:
        acked: list[int] = []
        estates.ledger.next = 5
        await self.add(flow, acked, 4)
        assert [change.consumed for change in estates.ledger.changes] == [None]
        estates.ledger.futures[0].set_result(Commit(0.0))
        await asyncio.sleep(0)
        assert acked == [4]

    async def test_what_nobody_can_decode_is_parked(
        self, flow: Flow, estates: Estates, parked: list[tuple[str, str]]
    ) -> None:
        await self.add(flow, [], 7, value=b"nonsense")
        (change,) = estates.ledger.changes
        header, _ = rows.decode(change.rows[b"parked/generate/7"])
        assert isinstance(header, Parked)
        assert header.due == 1060.0
        assert (change.events[0].topic, change.events[0].value) == (topics.PARKED, b"nonsense")
        assert change.consumed == ("generate", 7)
        assert parked == [("generate", "undecodable")]

    async def test_a_decision_that_raises_parks_its_event(self, parked: list[tuple[str, str]], flow: Flow) -> None:
        def broken(*_: object) -> Change:
            raise ZeroDivisionError

        await flow.add(Event(3, WRONG_TOPIC, []), {GenerateRequested: broken})  # type: ignore[arg-type]
        assert parked == [("generate", "ZeroDivisionError")]

    async def test_on_a_lost_partition_nothing_is_acknowledged_nor_parked(
        self, flow: Flow, estates: Estates, parked: list[tuple[str, str]]
    ) -> None:
        acked: list[int] = []
        estates.ledger.lost = True
        await self.add(flow, acked, *range(20))  # more than may be in flight: none holds its place
        estates.ledger.lost = False
        estates.generation = 2
        for revoked in estates.on_revoked:
            revoked()
        await self.add(flow, acked, 0, 1, generation_id=2)
        for future in estates.ledger.futures:
            future.set_result(Commit(0.0))
        await asyncio.sleep(0)
        assert acked == [0, 1]
        assert parked == []

    async def test_an_event_that_waited_through_a_rebalance_is_not_handled(self, flow: Flow, estates: Estates) -> None:
        """Those before it were dropped; handling it would make their redelivery look like duplicates."""
        acked: list[int] = []
        await self.add(flow, acked, *range(8))
        late = asyncio.create_task(self.add(flow, acked, 8))
        await asyncio.sleep(0)
        assert not late.done()
        estates.generation = 2
        estates.ledger.futures[0].set_exception(LedgerLost("revoked"))
        await late
        assert len(estates.ledger.changes) == 8
