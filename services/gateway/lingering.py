"""Refuse without slamming the door (RFC 9112, 9.6): a client still sending would get a reset and never read why.

So when an answer went out before the whole body came, a little more of it is taken and thrown away.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import Final

from litestar.enums import ScopeType
from litestar.types import ASGIApp, Receive, Scope, Send
from litestar.types.asgi_types import HTTPReceiveMessage, WebSocketReceiveMessage

LINGER_BYTES: Final = 1 << 20
LINGER_S: Final = 1.0


def lingering(app: ASGIApp) -> ASGIApp:
    """`app`, after whose answers the rest of a request is discarded: `LINGER_BYTES`, `LINGER_S` at most."""

    async def linger(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != ScopeType.HTTP:
            await app(scope, receive, send)
            return
        more = True

        async def receiving() -> HTTPReceiveMessage | WebSocketReceiveMessage:
            nonlocal more
            message = await receive()
            more = message["type"] == "http.request" and message["more_body"]
            return message

        await app(scope, receiving, send)
        if more and scope["method"] in {"PUT", "POST"}:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(_discard(receive), LINGER_S)

    return linger


async def _discard(receive: Receive) -> None:
    left = LINGER_BYTES
    while left > 0:
        message = await receive()
        if message["type"] != "http.request" or not message["more_body"]:
            return
        left -= len(message["body"])
