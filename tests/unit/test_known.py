"""Where partitions lie is asked once, and told to every other client of the process."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest
from aiokafka.client import AIOKafkaClient
from aiokafka.cluster import ClusterMetadata
from aiokafka.errors import KafkaError

from stream.known import FRESH_S, Known

TOPICS = ("ledger", "keys")
OTHER = "told-though-nobody-asked"


class Client:
    """A started client, which learns what it asks for."""

    def __init__(self, *, answers: bool = True) -> None:
        self.cluster, self.asked = ClusterMetadata(), 0
        self._topics: set[str] = set()
        self._answers = answers

    async def set_topics(self, topics: frozenset[str]) -> bool:
        self.asked += 1
        await asyncio.sleep(0)
        self.cluster._partitions = {topic: {0: object()} for topic in (*topics, OTHER)} if self._answers else {}
        return self._answers


async def tell(known: Known, *clients: Client) -> None:
    await asyncio.gather(*(known.tell(cast("AIOKafkaClient", client)) for client in clients))


async def test_one_asks_and_all_know() -> None:
    clients: list[Any] = [Client() for _ in range(5)]
    await tell(Known(TOPICS), *clients)
    assert [client.asked for client in clients] == [1, 0, 0, 0, 0]
    assert all(client.cluster.topics() == set(TOPICS) == client._topics for client in clients)


async def test_nobody_is_told_of_a_topic_that_they_would_not_ask_for_again() -> None:
    known, first, second = Known(TOPICS), Client(), Client()
    await tell(known, first)
    first.cluster._partitions = {**first.cluster._partitions, "another": {0: object()}}  # which it met since
    await tell(known, second)
    assert second.cluster.topics() == set(TOPICS)


async def test_what_was_told_long_ago_is_asked_anew() -> None:
    now = 0.0
    known = Known(TOPICS, monotonic=lambda: now)
    first, second, third = Client(), Client(), Client()
    await tell(known, first)
    now = FRESH_S - 1
    await tell(known, second)
    now = FRESH_S
    await tell(known, third)
    assert (second.asked, third.asked) == (0, 1)


async def test_nobody_answers_is_kafkas_failure_and_the_next_asks() -> None:
    known, deaf, hears = Known(TOPICS), Client(answers=False), Client()
    with pytest.raises(KafkaError):
        await tell(known, deaf)
    await tell(known, hears)
    assert hears.asked == 1
