"""Rate, errors and duration of every route: the outermost ASGI layer."""

from __future__ import annotations

import time
from typing import Any

from litestar.enums import ScopeType
from litestar.types import ASGIApp, Message, Receive, Scope, Send

from services.gateway.problems import route_of
from stream.metrics import requests as metrics

LEFT_STATUS = 499  # the caller left before the answer began
RAM_ONLY = "/render"
"""Of apps that keep no record: no request of theirs is counted by itself (`stream.metrics.renders`)."""


def metered(app: ASGIApp) -> ASGIApp:
    """`app`, with its requests counted by the name of the handler that they met."""

    async def meter(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != ScopeType.HTTP or scope["path"].endswith(RAM_ONLY):
            await app(scope, receive, send)
            return
        status = LEFT_STATUS

        async def sending(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        began = time.perf_counter()
        metrics.began()
        try:
            await app(scope, receive, sending)
        finally:
            found: Any = scope
            metrics.ended(route_of(found), status, time.perf_counter() - began)

    return meter
