"""Order something of the scheduler as an operator: through any worker that answers, since all speak to the same one."""

from __future__ import annotations

import ssl
from http import HTTPStatus
from typing import Any, TypeVar

import aiohttp
import msgspec

from ray_cluster.orders import Order
from services.gateway.errors import OwnerAway, OwnerRefused
from services.pool_api import MSGPACK, PATH
from services.settings import Settings
from services.tls import client_context
from stream.agents.api import Problem

T = TypeVar("T")

TIMEOUT_S = 30.0


async def ask(settings: Settings, ports: list[int], order: Order, reply: type[T]) -> T:
    """The scheduler's answer. Raises OwnerRefused, or OwnerAway where no worker, or no scheduler, answers."""
    context = client_context(settings.tls_dir)
    connector = aiohttp.TCPConnector(ssl=context if isinstance(context, ssl.SSLContext) else True)
    headers = {"Authorization": f"Bearer {settings.internal_token}", "Content-Type": MSGPACK}
    scheme = "https" if settings.tls_dir else "http"
    timeout = aiohttp.ClientTimeout(total=TIMEOUT_S)
    async with aiohttp.ClientSession(connector=connector, headers=headers, timeout=timeout) as http:
        for port in ports:
            try:
                url = f"{scheme}://127.0.0.1:{port}{PATH}"
                async with http.post(url, data=msgspec.msgpack.encode(order)) as answer:
                    found: Any = await answer.read()
                    if answer.status == HTTPStatus.OK:
                        return msgspec.msgpack.decode(found, type=reply)
            except (aiohttp.ClientError, TimeoutError):
                continue
            problem = msgspec.msgpack.decode(found, type=Problem)
            if answer.status != HTTPStatus.SERVICE_UNAVAILABLE:
                raise OwnerRefused(problem)
    raise OwnerAway("expected a worker here whose scheduler answers, found none: `mayfly status` shows what runs")
