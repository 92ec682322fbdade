"""Custody in memory: sealed objects that one process holds, and tickets by which they are fetched or brought, once.

As in S3's custody only ciphertext comes here. A ticket is 256 random bits in a URL: whoever has it may do one thing to
one object, once, until it expires. An object is there until it is deleted, and is overwritten then.
"""

from __future__ import annotations

import hashlib
import secrets
import time
from collections.abc import Callable, Iterable
from enum import StrEnum
from typing import ClassVar

import msgspec

from stream.errors import LostLease
from stream.vault.courier import NoSuchObject

TICKET_BYTES = 32


class NoTicket(LostLease):
    """Never given out, used already, expired, or for something else: which of them is not said."""

    kind: ClassVar[str] = "no-ticket"
    status: ClassVar[int] = 403


class Way(StrEnum):
    """What a ticket is good for."""

    GET = "GET"
    PUT = "PUT"


class _Ticket(msgspec.Struct, frozen=True):
    way: Way
    name: str
    until: float


class Shelf:
    """A `Custody` of this process. `base`: the URL of the server that redeems its tickets (`services.gateway.render`).

    How many bytes may lie here is their bringers' business: they book `Room` before.
    """

    def __init__(self, base: str, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._base = base
        self._monotonic = monotonic
        self._objects: dict[str, tuple[bytearray, Callable[[], None]]] = {}
        self._tickets: dict[bytes, _Ticket] = {}
        self._awaited: set[str] = set()

    def __repr__(self) -> str:
        return f"Shelf({len(self._objects)} objects, {len(self._tickets)} tickets)"

    def __len__(self) -> int:
        return len(self._objects)

    @property
    def held_bytes(self) -> int:
        """Of all objects together."""
        return sum(len(sealed) for sealed, _ in self._objects.values())

    # -- as any custody ------------------------------------------------------------------------------------------

    def put_url(self, name: str, expires_s: int) -> str:
        """The URL by which anybody may bring the object `name`, once, within so many seconds."""
        self._awaited.add(name)
        return self._url(Way.PUT, name, expires_s)

    def get_url(self, name: str, expires_s: int) -> str:
        """The URL by which anybody may fetch the object `name`, once, within so many seconds."""
        return self._url(Way.GET, name, expires_s)

    async def delete(self, names: Iterable[str]) -> None:
        """Overwrite and forget these objects, and their tickets; what is not there is no error."""
        self.drop(*names)

    async def remaining(self, names: Iterable[str]) -> list[str]:
        """Which of these are still there."""
        return [name for name in names if name in self._objects]

    # -- what only its own process does --------------------------------------------------------------------------

    def put(self, name: str, sealed: bytearray, dropped: Callable[[], None]) -> None:
        """Take an object over; `dropped` is called once, when it goes."""
        self.drop(name)
        self._objects[name] = sealed, dropped

    def awaits(self, name: str) -> bool:
        """Whether what is being brought is wanted still: an object deleted on its way here must not come to lie."""
        return name in self._awaited

    def get(self, name: str) -> memoryview:
        """The object itself; its bytes turn to zeros when it is dropped. Raises `NoSuchObject`."""
        try:
            return memoryview(self._objects[name][0]).toreadonly()
        except KeyError:
            raise NoSuchObject("expected an object on this shelf: it never came whole, or it is gone") from None

    def redeem(self, ticket: str, way: Way) -> str:
        """The name of the object that this ticket is for; it is used up. Raises `NoTicket`."""
        self._expire()
        digest = _digest(ticket)
        found = self._tickets.get(digest)
        if found is None or found.way is not way:
            raise NoTicket("expected a ticket for this, unused and in its time: ask for a new lease")
        del self._tickets[digest]
        return found.name

    def void(self, *names: str) -> None:
        """Tickets of these objects are good for nothing any more; the objects stay."""
        gone = set(names)
        for digest in [digest for digest, one in self._tickets.items() if one.name in gone]:
            del self._tickets[digest]

    def drop(self, *names: str) -> None:
        """As `delete`, at once."""
        self.void(*names)
        self._awaited.difference_update(names)
        for name in names:
            if (found := self._objects.pop(name, None)) is not None:
                sealed, dropped = found
                sealed[:] = bytes(len(sealed))
                dropped()

    def _url(self, way: Way, name: str, expires_s: int) -> str:
        self._expire()
        ticket = secrets.token_urlsafe(TICKET_BYTES)
        self._tickets[_digest(ticket)] = _Ticket(way, name, self._monotonic() + expires_s)
        return f"{self._base}/{ticket}"

    def _expire(self) -> None:
        now = self._monotonic()
        for digest in [digest for digest, one in self._tickets.items() if one.until <= now]:
            del self._tickets[digest]


def _digest(ticket: str) -> bytes:
    """Looked up by digest, so that timing tells nothing of a ticket, and what lies in memory opens nothing."""
    return hashlib.sha256(ticket.encode()).digest()
