"""Ask an owner as an operator: `mayfly hold` does, with the internal token, on the machine that the workers run on."""

from __future__ import annotations

import asyncio
import ssl
from http import HTTPStatus
from typing import Any, TypeVar

import aiohttp
import msgspec

from services.gateway.errors import OwnerAway, OwnerRefused
from services.settings import Settings
from services.tls import client_context
from services.unanswered import Unanswered
from stream.agents.api import VERBS, Problem

T = TypeVar("T", bound=msgspec.Struct)

_VERB_OF = {request: verb for verb, (request, _) in VERBS.items()}
TIMEOUT_S = 30.0
LIST_TIMEOUT_S = 5.0
"""Of one worker, where all partitions are asked: one that hangs must not keep from us what the others know."""


async def ask(
    settings: Settings,
    ports: list[int],
    partition: int,
    request: msgspec.Struct,
    reply: type[T],
    *,
    within_s: float = TIMEOUT_S,
) -> T:
    """The owner's answer, whichever of these workers it is. Raises OwnerRefused or OwnerAway."""
    context = client_context(settings.tls_dir)
    connector = aiohttp.TCPConnector(ssl=context if isinstance(context, ssl.SSLContext) else True)
    headers = {"Authorization": f"Bearer {settings.internal_token}", "Content-Type": "application/msgpack"}
    scheme = "https" if settings.tls_dir else "http"
    timeout = aiohttp.ClientTimeout(total=within_s)
    async with aiohttp.ClientSession(connector=connector, headers=headers, timeout=timeout) as http:
        for port in ports:
            url = f"{scheme}://127.0.0.1:{port}/v1/{partition}/{_VERB_OF[type(request)]}"
            try:
                async with http.post(url, data=msgspec.msgpack.encode(request)) as answer:
                    found: Any = await answer.read()
                    if answer.status == HTTPStatus.OK:
                        return msgspec.msgpack.decode(found, type=reply)
            except (aiohttp.ClientError, TimeoutError):
                continue
            problem = msgspec.msgpack.decode(found, type=Problem)
            if answer.status not in {HTTPStatus.MISDIRECTED_REQUEST, HTTPStatus.SERVICE_UNAVAILABLE}:
                raise OwnerRefused(problem)
    raise OwnerAway(f"expected a worker here that owns partition {partition}, found none: try again in a moment")


async def ask_every(
    settings: Settings, ports: list[int], request: msgspec.Struct, reply: type[T]
) -> tuple[list[tuple[int, T]], list[Unanswered]]:
    """(partition, its owner's answer) of those that answer, and which do not.

    Raises OwnerAway if none does, OwnerRefused where one says that this request is wrong.
    """
    found = await asyncio.gather(
        *(_ask_one(settings, ports, partition, request, reply) for partition in range(settings.partitions))
    )
    silent = [one for one in found if isinstance(one, Unanswered)]
    if len(silent) == len(found):
        raise OwnerAway("expected a worker here that owns a partition, none answered: `mayfly status` shows what runs")
    return [(n, one) for n, one in enumerate(found) if not isinstance(one, Unanswered)], silent


async def _ask_one(
    settings: Settings, ports: list[int], partition: int, request: msgspec.Struct, reply: type[T]
) -> T | Unanswered:
    try:
        return await ask(settings, ports, partition, request, reply, within_s=LIST_TIMEOUT_S)
    except OwnerAway as error:
        return Unanswered(partition, error.kind)
    except OwnerRefused as error:
        if error.problem.status < HTTPStatus.INTERNAL_SERVER_ERROR:
            raise
        return Unanswered(partition, error.problem.kind)
