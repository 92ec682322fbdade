"""Asking all workers for their counts, from memory to memory: nothing is written on the way, and none is kept here."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator
from http import HTTPStatus

import aiohttp
import msgspec
from aiokafka.errors import KafkaError

from services.gateway.owners import OwnerTable
from services.settings import Settings
from services.tls import client_context
from services.topic_follow import read_whole
from stream import topics
from stream.agents.publishing import Collect
from stream.metrics.tally import Ask, Share

log = logging.getLogger(__name__)

PATH = "/counts"
TIMEOUT_S = 5.0

_shares = msgspec.msgpack.Decoder(list[Share])


@contextlib.asynccontextmanager
async def counts_of(settings: Settings) -> AsyncIterator[Collect]:
    """A function that asks every worker that the `owners` topic names."""
    context = client_context(settings.tls_dir)
    scheme = "https" if settings.tls_dir else "http"
    connector = aiohttp.TCPConnector(ssl=context if context is not None else True, force_close=True)
    headers = {"Authorization": f"Bearer {settings.internal_token}", "Content-Type": "application/msgpack"}
    timeout = aiohttp.ClientTimeout(total=TIMEOUT_S)
    async with aiohttp.ClientSession(connector=connector, headers=headers, timeout=timeout) as http:

        async def one(address: str, ask: Ask) -> list[Share]:
            try:
                async with http.post(f"{scheme}://{address}{PATH}", data=msgspec.msgpack.encode(ask)) as answer:
                    return _shares.decode(await answer.read()) if answer.status == HTTPStatus.OK else []
            except (aiohttp.ClientError, TimeoutError, msgspec.MsgspecError) as error:
                log.warning("counts: a worker did not answer: %s", type(error).__name__)
                return []

        async def collect(ask: Ask) -> list[Share]:
            table = OwnerTable(settings.partitions)
            try:
                await read_whole(settings.kafka, topics.OWNERS, table.apply)
            except KafkaError as error:
                log.warning("counts: owners are not known: %s", type(error).__name__)
                return []
            owners = [table.get(partition) for partition in range(settings.partitions)]
            found = await asyncio.gather(*(one(each, ask) for each in {o.address for o in owners if o is not None}))
            return [share for shares in found for share in shares]

        yield collect
