"""Topics of the ledger's own, under names that no system on this broker has."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest
import pytest_asyncio

from services.local.stack import LocalStack
from stream import topics
from tests.integration.place import Place

PARTITIONS = 40


@pytest.fixture(scope="module")
def own_topics() -> Iterator[list[topics.Topic]]:
    """The ledger's topics under names of their own, so that no system on this broker meets our rows."""
    mark = secrets.token_hex(4)
    with pytest.MonkeyPatch.context() as patch:
        for name in ("LEDGER", "KEYS", "AUDIT", "OWNERS", "PARKED", "UPLOAD", "DETECT"):
            patch.setattr(topics, name, f"{name.lower()}-{mark}")
        patch.setattr(topics, "EVENTS", (topics.UPLOAD, topics.DETECT))
        yield [topic for topic in topics.plan(3600, 3600) if topic.name.endswith(mark)]


@pytest_asyncio.fixture(scope="module")
async def kafka(stack: LocalStack, own_topics: list[topics.Topic]) -> str:
    await topics.create(stack.endpoints.kafka, tuple(own_topics), partitions=PARTITIONS)
    return stack.endpoints.kafka


@pytest.fixture(scope="module")
def numbers() -> Iterator[int]:
    return count()


@pytest.fixture
def place(kafka: str, numbers: Iterator[int], tmp_path: Path) -> Place:
    """A partition that no other test of the module uses."""
    return Place(kafka, next(numbers), tmp_path / "roots")
