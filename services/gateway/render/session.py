"""One request's connection to a worker: the verdict first, then an actor for each picture. Closing it ends them all."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Final

import aiohttp
import msgspec

from services.gateway.errors import OwnerAway, OwnerRefused
from services.gateway.render.desk import Desk, gone
from services.gateway.render.errors import WorkerLost
from stream.agents.api_render import (
    PATH,
    Ask,
    Begin,
    Declined,
    Ended,
    FromGateway,
    FromWorker,
    Granted,
    Offered,
    Stop,
    Want,
)
from stream.events.bus import Outcome
from stream.events.lease import Task

HEARTBEAT_S: Final = 10.0
CONNECT_S: Final = 5.0
VERDICT_S: Final = 10.0

_encode = msgspec.msgpack.Encoder().encode
_decoder = msgspec.msgpack.Decoder(FromWorker)

Make = Callable[[Offered], Task]


class Session:
    """`granted` is the verdict. `work` may be called for many pictures at once."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse, granted: Granted) -> None:
        self.granted = granted
        self._socket = socket
        self._told: dict[int, asyncio.Queue[Offered | Ended | None]] = {}
        self._lost = False

    async def work(self, item: int, job: str, make: Make) -> Outcome:
        """One picture's way through an actor; `make` says what an offered actor is to be told.

        Raises OwnerRefused as the worker said, WorkerLost.
        """
        told = self._told[item] = asyncio.Queue()
        try:
            await self._say(Want(item, job))
            while True:
                match None if self._lost else await told.get():
                    case Offered() as offered:
                        await self._say(Begin(item, make(offered)))
                    case Ended(outcome=Outcome() as outcome):
                        return outcome
                    case Ended(problem=problem) if problem is not None:
                        raise OwnerRefused(problem)
                    case _:
                        raise _lost()
        except asyncio.CancelledError:
            with suppress(WorkerLost):
                await self._say(Stop(item))
            raise
        finally:
            del self._told[item]

    async def listen(self) -> None:
        """Until the worker closes."""
        try:
            async for message in self._socket:
                if message.type is not aiohttp.WSMsgType.BINARY:
                    return
                heard = _decoder.decode(message.data)
                if isinstance(heard, Offered | Ended) and (told := self._told.get(heard.item)) is not None:
                    told.put_nowait(heard)
        finally:
            self._lost = True
            for told in self._told.values():
                told.put_nowait(None)

    async def _say(self, message: FromGateway) -> None:
        try:
            await self._socket.send_bytes(_encode(message))
        except (aiohttp.ClientError, ConnectionError):
            raise _lost() from None


@asynccontextmanager
async def opened(desk: Desk, ask: Ask) -> AsyncIterator[Session]:
    """At any worker. Raises OwnerRefused with its refusal, OwnerAway where none answers."""
    socket = await _connected(desk)
    try:
        session = Session(socket, await _judged(socket, ask))
        listening = asyncio.create_task(session.listen(), name="render session")
        try:
            yield session
        finally:
            await gone(listening)
    finally:
        await socket.close()


async def _connected(desk: Desk) -> aiohttp.ClientWebSocketResponse:
    for url in desk.workers():
        with suppress(aiohttp.ClientError, TimeoutError):
            async with asyncio.timeout(CONNECT_S):
                return await desk.http.ws_connect(f"{url}{PATH}", headers=desk.headers, heartbeat=HEARTBEAT_S)
    raise OwnerAway("expected a worker to answer, none did: send it again soon")


async def _judged(socket: aiohttp.ClientWebSocketResponse, ask: Ask) -> Granted:
    try:
        await socket.send_bytes(_encode(ask))
        answer = _decoder.decode(await socket.receive_bytes(timeout=VERDICT_S))
    except (aiohttp.ClientError, ConnectionError, TimeoutError, TypeError, msgspec.MsgspecError):
        raise _lost() from None
    match answer:
        case Granted():
            return answer
        case Declined(problem=problem):
            raise OwnerRefused(problem)
        case _:
            raise _lost()


def _lost() -> WorkerLost:
    return WorkerLost("expected the worker to stay, it has gone; of what was sent nothing is left: send it again")
