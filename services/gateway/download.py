"""One download: opened chunk by chunk, for as long as its grant lives. A revoked one is cut, not finished.

The connection then closes before Content-Length is reached, so that no client takes half a picture for a whole one.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Final

from litestar.types import Receive, Scope, Send

from services.gateway.core import Core
from services.gateway.errors import GrantRevoked, OwnerAway, OwnerRefused
from services.gateway.grants import Holding
from services.gateway.problems import note, route_of
from services.gateway.tenants import Tenant
from stream.agents.api import Done, EndRead, GrantRead, ReadTicket, Renewed, RenewRead
from stream.errors import MayflyError
from stream.ids import Kind
from stream.metrics import requests as metrics
from stream.vault.envelope import Recipient
from stream.vault.purposes import read_info, stream_name
from stream.vault.secret import Truncated
from stream.vault.stream_seal import Opener

LEAVE_S: Final = 0.25

_COMMON: Final = (
    (b"accept-ranges", b"none"),
    (b"cache-control", b"no-store"),  # a cache would keep longer than we promised
    (b"content-security-policy", b"sandbox"),
    (b"x-content-type-options", b"nosniff"),
)


def headers(media_type: str, size_bytes: int) -> list[tuple[bytes, bytes]]:
    """Of a GET and of its HEAD alike."""
    return [(b"content-type", media_type.encode()), (b"content-length", b"%d" % size_bytes), *_COMMON]


class Download:
    """The answer to GET, as an ASGI app: grant, open, send, wipe."""

    def __init__(self, core: Core, tenant: Tenant, app: str, asset: str) -> None:
        self._core = core
        self._tenant = tenant
        self._app = app
        self._asset = asset
        self._partition = core.mint.check(Kind.ASSET, tenant.id, asset)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Raises a MayflyError as long as nothing was sent; later failures cut the connection."""
        core, started = self._core, False

        async def sending(message: object) -> None:
            nonlocal started
            started = True
            await send(message)  # type: ignore[arg-type]

        with core.flights.transfer(self._tenant):
            recipient = Recipient.new()
            ask = GrantRead(self._tenant.id, self._app, self._asset, recipient.public, core.revoke_url)
            ticket = await core.client.ask(self._partition, ask, ReadTicket)
            complete = False
            try:
                key = recipient.open_key(ticket.sealed_key, read_info(self._asset, self._app))
                holding = core.grants.hold(ticket.grant, key)
                complete = await self._transfer(ticket, holding, receive, sending)
            except Exception as error:  # what nobody foresaw, too, is counted, and cuts the connection
                if not started:
                    raise
                note(error, route_of(scope))
            finally:
                core.grants.drop(ticket.grant)
                await self._end(ticket.grant, complete=complete)

    async def _transfer(self, ticket: ReadTicket, holding: Holding, receive: Receive, send: Send) -> bool:
        """Send until done (True), or until the client leaves (False). Raises GrantRevoked, and what the store does."""
        left = asyncio.ensure_future(until_left(receive))
        watch = asyncio.ensure_future(holding.revoked.wait())
        renew = asyncio.ensure_future(self._renew(ticket, holding))
        pump = asyncio.ensure_future(self._pump(ticket, holding, left, send))
        try:
            await asyncio.wait({left, watch, pump}, return_when=asyncio.FIRST_COMPLETED)
            if left.done():
                # The server says the same of a client that left and of a response that ended: the pump knows which.
                await asyncio.wait({watch, pump}, timeout=LEAVE_S, return_when=asyncio.FIRST_COMPLETED)
            if holding.revoked.is_set():
                raise GrantRevoked("expected the grant to last, its owner took it back: the asset is gone")
            return await pump if pump.done() else False
        finally:
            for task in (pump, renew, watch, left):
                task.cancel()
            await asyncio.gather(pump, renew, watch, left, return_exceptions=True)

    async def _pump(self, ticket: ReadTicket, holding: Holding, left: asyncio.Future[None], send: Send) -> bool:
        opener = Opener(holding.key, stream_name(self._asset), self._app)
        sent = 0
        async with aclosing(_opened(self._core, ticket, opener)) as chunks:
            async for plain in chunks:
                if not sent:
                    found = headers(ticket.media_type, ticket.size_bytes)
                    await send({"type": "http.response.start", "status": 200, "headers": found})
                sent += len(plain)
                last = sent == ticket.size_bytes
                if last:
                    await asyncio.sleep(0)  # let a client's leaving, or a revocation, be noticed first
                if left.done() or holding.revoked.is_set():
                    return False
                await send({"type": "http.response.body", "body": plain, "more_body": not last})
        metrics.media("out", sent)
        return True

    async def _renew(self, ticket: ReadTicket, holding: Holding) -> None:
        """Keep the grant while bytes flow; when it cannot be kept, it ends as if revoked."""
        until = ticket.until
        half_s = self._core.grant_ttl_s / 2
        while True:
            await asyncio.sleep(max(0.0, until - half_s - time.time()))
            try:
                ask = RenewRead(self._partition, ticket.grant)
                left_s = max(0.0, until - time.time())
                renewed = await asyncio.wait_for(self._core.client.ask(self._partition, ask, Renewed), left_s)
            except (OwnerRefused, OwnerAway, TimeoutError):
                renewed = None
            if renewed is None or renewed.until <= until:
                await asyncio.sleep(max(0.0, until - time.time()))
                holding.key.wipe()
                holding.revoked.set()
                return
            until = renewed.until

    async def _end(self, grant: str, *, complete: bool) -> None:
        try:
            ask = EndRead(self._partition, grant, complete)
            await asyncio.shield(asyncio.ensure_future(self._core.client.ask(self._partition, ask, Done)))
        except MayflyError as error:
            # The grant ends by itself within its TTL. A complete read not told is found by the class's own deadline.
            note(error, "end_read")


async def _opened(core: Core, ticket: ReadTicket, opener: Opener) -> AsyncGenerator[bytes]:
    """Plaintext pieces, none empty, `size_bytes` in all. Raises Tampered, Truncated, and what the store does."""
    size = 0
    async with aclosing(core.courier.get_stream(ticket.get_url)) as sealed:
        async for piece in sealed:
            if plain := opener.update(piece):
                size += len(plain)
                yield plain
    plain = opener.final()
    if size + len(plain) != ticket.size_bytes:
        raise Truncated(f"expected {ticket.size_bytes} bytes as recorded, got {size + len(plain)}: do not use them")
    yield plain


async def until_left(receive: Receive) -> None:
    """Return when the client has left (the empty request body comes first)."""
    while (await receive())["type"] != "http.disconnect":
        pass
