"""What all renders of one gateway share: the shelf, the room on it, the connections to workers, the limits."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from typing import Any

import aiohttp

from services.gateway.owners import OwnerTable
from services.gateway.render.errors import RenderFull
from services.gateway.render.tickets import TicketServer
from services.settings import Settings
from stream.ids import Mint
from stream.vault.resident import MemoryUnsafe
from stream.vault.room import Room
from stream.vault.shelf import Shelf


class Desk:
    """Use `opened`. `unsafe`: why this process may not serve RAM-only apps; '' if it may."""

    def __init__(
        self, settings: Settings, *, owners: OwnerTable, http: aiohttp.ClientSession, scheme: str, unsafe: str
    ) -> None:
        self.http, self.mint = http, Mint(bytes.fromhex(settings.secret), settings.partitions)
        self.inputs, self.results = Room(settings.render_bytes // 2), Room(settings.render_bytes // 2)
        self.max_pictures = settings.render_items
        self.ticket_s = int(settings.lease_url_s)
        self.headers = {"Authorization": f"Bearer {settings.internal_token}"}
        self.shelf: Shelf
        self._owners, self._scheme, self._unsafe = owners, scheme, unsafe
        self._requests, self._max_requests = 0, settings.render_requests

    def workers(self) -> list[str]:
        """URLs of all workers that the `owners` topic names, in random order: any of them will do."""
        found = sorted(self._owners.addresses)
        return [f"{self._scheme}://{address}" for address in random.sample(found, len(found))]

    def drop(self, name: str) -> None:
        """An actor has fetched this input."""
        self.shelf.drop(name)

    @contextmanager
    def request(self) -> Iterator[None]:
        """One render. Raises MemoryUnsafe, RenderFull."""
        if self._unsafe:
            raise MemoryUnsafe("this app is worked on in memory only, and this deployment cannot promise that yet")
        if self._requests >= self._max_requests:
            raise RenderFull(f"expected fewer than {self._max_requests} renders at a time here: send it again soon")
        self._requests += 1
        try:
            yield
        finally:
            self._requests -= 1


@asynccontextmanager
async def opened(
    settings: Settings, *, owners: OwnerTable, http: aiohttp.ClientSession, host: str, scheme: str, unsafe: str
) -> AsyncIterator[Desk]:
    """A desk whose tickets are served on `host`."""
    desk = Desk(settings, owners=owners, http=http, scheme=scheme, unsafe=unsafe)
    async with AsyncExitStack() as stack:
        # An input that an actor has fetched is needed no more: nothing is tried again from a stored copy.
        server = TicketServer(desk.results, fetched=desk.drop)
        stack.push_async_callback(server.stop)
        desk.shelf = await server.start(settings.ticket_host or host)
        yield desk


async def gone(*tasks: asyncio.Task[Any]) -> None:
    """Cancel them, and wait until they have ended."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
