"""The operator's register: who receives what, and what is announced. A compacted topic; no subject is in it."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import AsyncIterator
from typing import ClassVar, TypeVar

import msgspec
from aiokafka import AIOKafkaProducer

from services.topic_follow import follow, read_whole
from stream import topics
from stream.errors import BadRequest
from stream.policies.announcements import Announcement
from stream.policies.sharing import Shared

Entry = Shared | Announcement

T = TypeVar("T", bound=Entry)

ID_BYTES = 6

_decoder: msgspec.json.Decoder[Entry] = msgspec.json.Decoder(Entry)


class UnknownEntry(BadRequest):
    """The register has no such line."""

    kind: ClassVar[str] = "unknown-entry"
    status: ClassVar[int] = 404


class Register:
    """Its lines, by id."""

    def __init__(self) -> None:
        self.entries: dict[str, Entry] = {}

    def apply(self, key: bytes, value: bytes | None) -> None:
        """The next record of the topic."""
        if value is None:
            self.entries.pop(key.decode(), None)
        else:
            self.entries[key.decode()] = _decoder.decode(value)

    def of(self, kind: type[T]) -> dict[str, T]:
        """The lines of one kind."""
        return {name: entry for name, entry in self.entries.items() if isinstance(entry, kind)}

    def find(self, name: str, kind: type[T]) -> T:
        """Raises UnknownEntry."""
        found = self.of(kind).get(name)
        if found is None:
            raise UnknownEntry("expected the id of a line of the register, as `ls` or `due` shows it")
        return found


@contextlib.asynccontextmanager
async def followed(bootstrap: str) -> AsyncIterator[Register]:
    """A register that is as the topic says, from before this is entered until it is left."""
    found, caught_up = Register(), asyncio.Event()
    task = asyncio.create_task(follow(bootstrap, topics.REGISTER, found.apply, caught_up), name="register")
    try:
        await caught_up.wait()
        yield found
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def load(bootstrap: str) -> Register:
    """All of it. Raises KafkaError."""
    found = Register()
    await read_whole(bootstrap, topics.REGISTER, found.apply)
    return found


async def write(bootstrap: str, entry: Entry | None, name: str = "") -> str:
    """Add a line, replace the one of that id, or, with None, take it away. Its id."""
    name = name or secrets.token_hex(ID_BYTES)
    value = None if entry is None else msgspec.json.encode(entry)
    async with AIOKafkaProducer(bootstrap_servers=bootstrap, acks="all", enable_idempotence=True) as producer:
        await producer.send_and_wait(topics.REGISTER, value, name.encode(), partition=0)
    return name
