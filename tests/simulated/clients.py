"""aiokafka against the simulated cluster: its own producer on another wire, and a consumer of the calls that we use.

The producer's whole state machine is aiokafka's (batches, sequence numbers, retries, what a fenced one raises); only
the client that would open sockets is replaced. `bootstrap_servers` names the machine that the client runs on.
"""

from __future__ import annotations

import asyncio
from functools import partial
from types import SimpleNamespace
from typing import Any, Self

import pytest
from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.errors import KafkaConnectionError
from aiokafka.protocol.offset import OffsetRequest, OffsetRequest_v3, OffsetResponse_v3
from aiokafka.protocol.produce import ProduceRequest, ProduceRequest_v7, ProduceResponse_v7
from aiokafka.protocol.transaction import (
    AddPartitionsToTxnRequest,
    AddPartitionsToTxnRequest_v0,
    AddPartitionsToTxnResponse_v0,
    EndTxnRequest,
    EndTxnRequest_v0,
    EndTxnResponse_v0,
    InitProducerIdRequest,
    InitProducerIdRequest_v0,
    InitProducerIdResponse_v0,
)

from tests.simulated.kafka import Cluster, Entry, Status
from tests.simulated.machine import Machine

RETRY_S = 0.1
NODE = 0
LINE = SimpleNamespace(connected=lambda: True)


class Wire:
    """What a producer asks of its client: one node that leads everything."""

    _client_id = "simulated"
    cluster = SimpleNamespace(
        leader_for_partition=lambda _: NODE,
        partitions_for_topic=lambda _: range(64),
        failed_update=lambda _: None,
        _partitions={},
        _broker_partitions={},
    )

    def __init__(self, cluster: Cluster, machine: Machine) -> None:
        self._kafka, self._machine = cluster, machine

    @property
    def _conns(self) -> dict[int, Any]:
        """Where the cluster's life changed, another one."""
        return {self._kafka.life: LINE}

    async def bootstrap(self) -> None:
        """There is nothing to find."""

    async def close(self) -> None:
        """There is nothing to close."""

    async def ready(self, *_: Any, **__: Any) -> bool:
        return True

    async def coordinator_lookup(self, *_: Any) -> int:
        return NODE

    async def set_topics(self, _: frozenset[str]) -> bool:
        return True

    def force_metadata_update(self) -> asyncio.Future[bool]:
        done = asyncio.get_running_loop().create_future()
        done.set_result(True)
        return done

    async def _wait_on_metadata(self, _: str) -> None:
        """All topics exist."""

    async def _maybe_wait_metadata(self) -> None:
        """They are always known."""

    async def send(self, _: int, request: Any, **__: Any) -> Any:
        """One request and its answer: a step before it arrives, and one before the answer does."""
        name, shape, work = {
            InitProducerIdRequest: ("init", InitProducerIdRequest_v0, self._init),
            AddPartitionsToTxnRequest: ("add", AddPartitionsToTxnRequest_v0, self._add),
            ProduceRequest: ("produce", ProduceRequest_v7, self._produce),
            EndTxnRequest: ("end", EndTxnRequest_v0, self._end),
            OffsetRequest: ("ends", OffsetRequest_v3, self._ends),
        }[type(request)]
        asked = request.build(shape)
        await self._machine.step(f"{name} asked")
        answer = work(asked)
        await self._machine.step(f"{name} answered")
        return answer

    def _init(self, asked: Any) -> Any:
        return InitProducerIdResponse_v0(0, *self._kafka.init(asked.transactional_id))

    def _add(self, asked: Any) -> Any:
        places = [(topic, at) for topic, partitions in asked.topics for at in partitions]
        code = self._kafka.add(asked.transactional_id, asked.producer_id, asked.producer_epoch, places)
        return AddPartitionsToTxnResponse_v0(0, [(topic, [(at, code)]) for topic, at in places])

    def _produce(self, asked: Any) -> Any:
        at_ms = int(asyncio.get_running_loop().time() * 1000)
        answers = []
        for topic, partitions in asked.topics:
            for at, batch in partitions:
                code, offset = self._kafka.produce(asked.transactional_id, topic, at, bytes(batch), self._machine.name)
                answers.append((topic, [(at, code, offset, at_ms, 0)]))
        return ProduceResponse_v7(answers, 0)

    def _end(self, asked: Any) -> Any:
        status = Status.COMMITTED if asked.transaction_result else Status.ABORTED
        return EndTxnResponse_v0(
            0, self._kafka.end(asked.transactional_id, asked.producer_id, asked.producer_epoch, status)
        )

    def _ends(self, asked: Any) -> Any:
        answers = []
        for topic, partitions in asked.topics:
            for at, _ in partitions:
                log = self._kafka.log(topic, at)
                answers.append((topic, [(at, 0, -1, log.stable if asked.isolation_level else log.end)]))
        return OffsetResponse_v3(0, answers)


class Producer(AIOKafkaProducer):
    """aiokafka's, on the simulated wire."""

    def __init__(self, cluster: Cluster, *, bootstrap_servers: str, **options: Any) -> None:
        super().__init__(**options)
        wire = Wire(cluster, cluster.machines[bootstrap_servers])
        self.client, self._metadata = wire, wire.cluster
        self._sender.client, self._message_accumulator._cluster = wire, wire.cluster


class Consumer:
    """The calls of AIOKafkaConsumer that the ledger uses, without a group."""

    def __init__(
        self, cluster: Cluster, *, bootstrap_servers: str, isolation_level: str = "read_uncommitted", **_: Any
    ) -> None:
        self._kafka, self._machine = cluster, cluster.machines[bootstrap_servers]
        self._committed = isolation_level == "read_committed"
        self._client = Wire(cluster, self._machine)
        self._at: dict[TopicPartition, int] = {}

    async def start(self) -> None:
        await self._step("reader starts")

    async def stop(self) -> None:
        self._at.clear()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    def assign(self, tps: list[TopicPartition]) -> None:
        self._at = {tp: self._end(tp) for tp in tps}  # where auto.offset.reset puts it: the latest

    def pause(self, *_: TopicPartition) -> None:
        """It fetches nothing by itself."""

    def seek(self, tp: TopicPartition, offset: int) -> None:
        self._at[tp] = offset

    async def position(self, tp: TopicPartition) -> int:
        return self._at[tp]

    async def beginning_offsets(self, tps: list[TopicPartition]) -> dict[TopicPartition, int]:
        await self._step("begin asked")
        return dict.fromkeys(tps, 0)

    async def end_offsets(self, tps: list[TopicPartition]) -> dict[TopicPartition, int]:
        await self._step("end looked for")
        ends = {tp: self._end(tp) for tp in tps}
        await self._step("end seen")
        return ends

    async def getmany(
        self, *tps: TopicPartition, timeout_ms: int = 0, max_records: int | None = None
    ) -> dict[TopicPartition, list[Entry]]:
        await self._step("fetch")
        found: dict[TopicPartition, list[Entry]] = {}
        for tp in tps or tuple(self._at):
            log, end = self._kafka.log(*tp), self._end(tp)
            seen = [entry for entry in log.since(self._at[tp]) if entry.offset < end]
            wanted = {Status.COMMITTED} if self._committed else set(Status) - {Status.MARKER}
            records = [entry for entry in seen if entry.status in wanted]
            if max_records is not None and len(records) > max_records:
                del records[max_records:]
                end = records[-1].offset + 1
            self._at[tp] = max(self._at[tp], end)
            if records:
                found[tp] = records
        if not found:
            await asyncio.sleep(timeout_ms / 1000)
        return found

    def _end(self, tp: TopicPartition) -> int:
        log = self._kafka.log(*tp)
        return log.stable if self._committed else log.end

    async def _step(self, name: str) -> None:
        while True:
            try:
                return await self._machine.step(name)
            except KafkaConnectionError:  # as aiokafka does, until it is answered
                await asyncio.sleep(RETRY_S)


def plug(patch: pytest.MonkeyPatch, cluster: Cluster) -> None:
    """Every ledger opened from now on talks to this cluster."""
    patch.setattr("stream.ledger.AIOKafkaProducer", partial(Producer, cluster))
    patch.setattr("stream.ledger.AIOKafkaConsumer", partial(Consumer, cluster))
    patch.setattr("stream.undecided.AIOKafkaConsumer", partial(Consumer, cluster))
