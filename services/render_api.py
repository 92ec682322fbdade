"""`GET /render` at a worker: the WebSocket of one request of a RAM-only app. Nothing is logged of it, nothing kept."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from http import HTTPStatus
from typing import Final

import msgspec
from aiohttp import WSCloseCode, WSMsgType, web

from ray_cluster.client import Cluster
from ray_cluster.engines import registry
from services.costs import LearntCosts
from stream.agents.api import Problem
from stream.agents.api_render import Ask, Begin, Declined, Ended, FromGateway, Granted, Offered, Stop, Want
from stream.agents.estate import Tools
from stream.agents.render import BEGIN_S, NoActor, Renderer, judge
from stream.errors import MayflyError
from stream.events.lease import UNKNOWN_SIZE, Proposal, Task

MAX_MESSAGE_BYTES: Final = 1 << 20
MAX_ITEMS: Final = 256  # of one request at a time: a gateway asks for fewer
HEARTBEAT_S: Final = 10.0  # a gateway that does not answer for half as long again is gone, and with it its client

Judge = Callable[[Ask], Granted]

_encode = msgspec.msgpack.Encoder().encode
_decoder = msgspec.msgpack.Decoder(FromGateway)


class RenderSocket:
    """Serves it. `judge`: the verdict; `renderer`: whoever finds an actor and follows it."""

    def __init__(self, renderer: Renderer, judge: Judge) -> None:
        self._renderer, self._judge = renderer, judge
        self._open: set[web.WebSocketResponse] = set()

    async def serve(self, request: web.Request) -> web.WebSocketResponse:
        """One request, to its end."""
        socket = web.WebSocketResponse(heartbeat=HEARTBEAT_S, max_msg_size=MAX_MESSAGE_BYTES, compress=False)
        await socket.prepare(request)
        self._open.add(socket)
        try:
            await _Session(socket, self._renderer, self._judge).run()
        finally:
            self._open.discard(socket)
            with suppress(ConnectionError):
                await socket.close()
        return socket

    async def close(self) -> None:
        """Every request that is served here ends, and its work is let go."""
        await asyncio.gather(*(one.close(code=WSCloseCode.GOING_AWAY) for one in list(self._open)))


class _Session:
    def __init__(self, socket: web.WebSocketResponse, renderer: Renderer, judge: Judge) -> None:
        self._socket, self._renderer, self._judge = socket, renderer, judge
        self._ask: Ask | None = None
        self._working: dict[int, asyncio.Task[None]] = {}
        self._begun: dict[int, asyncio.Future[Task]] = {}

    async def run(self) -> None:
        """Until the gateway closes, or says what no gateway says. Nothing of it is left when this returns."""
        try:
            async for message in self._socket:
                if message.type is not WSMsgType.BINARY or not await self._hear(message.data):
                    return
        finally:
            for task in self._working.values():
                task.cancel()
            await asyncio.gather(*self._working.values(), return_exceptions=True)

    async def _hear(self, raw: bytes) -> bool:
        try:
            message = _decoder.decode(raw)
        except msgspec.MsgspecError:
            return False
        match message:
            case Ask() if self._ask is None:
                return await self._judged(message)
            case Want(item=item, job=job) if self._ask and item not in self._working:
                if len(self._working) >= MAX_ITEMS:
                    return False
                self._working[item] = asyncio.create_task(self._work(self._ask, item, job), name="render")
            case Begin(item=item, task=task):
                if (begun := self._begun.get(item)) and not begun.done():
                    begun.set_result(task)
            case Stop(item=item):
                if (working := self._working.get(item)) is not None:
                    working.cancel()
            case _:
                return False
        return True

    async def _judged(self, ask: Ask) -> bool:
        try:
            answer: Granted | Declined = self._judge(ask)
        except MayflyError as error:
            answer = Declined(_problem(error))
        await self._say(answer)
        self._ask = ask
        return isinstance(answer, Granted)

    async def _work(self, ask: Ask, item: int, job: str) -> None:
        async def offer(fence: int, proposal: Proposal) -> Task:
            begun: asyncio.Future[Task] = asyncio.get_running_loop().create_future()
            self._begun[item] = begun
            await self._say(Offered(item, fence, proposal.offer, proposal.public))
            try:
                async with asyncio.timeout(BEGIN_S):
                    return await begun
            except TimeoutError:
                raise NoActor("expected the gateway to begin at once, it did not: send the picture again") from None

        try:
            ended = Ended(item, outcome=await self._renderer.work(ask, job, offer))
        except MayflyError as error:
            ended = Ended(item, problem=_problem(error))
        except Exception:  # noqa: BLE001 - told to the caller, and of a request nothing is logged
            problem = Problem("internal", HTTPStatus.INTERNAL_SERVER_ERROR, "this is our fault: send it again")
            ended = Ended(item, problem=problem)
        finally:
            self._begun.pop(item, None)
            self._working.pop(item, None)
        await self._say(ended)

    async def _say(self, message: Granted | Declined | Offered | Ended) -> None:
        with suppress(ConnectionError):
            await self._socket.send_bytes(_encode(message))


def _problem(error: MayflyError) -> Problem:
    return Problem(error.kind, error.status, str(error), getattr(error, "retry_after_s", 0.0))


@asynccontextmanager
async def opened(
    cluster: Cluster, tools: Tools, costs: LearntCosts, unsafe: str, ended: Callable[[asyncio.Task[None]], None]
) -> AsyncIterator[RenderSocket]:
    """A worker's. `unsafe`: why it may not serve RAM-only apps; `ended`: told if its conversation with Ray breaks.

    What its attempts took is not learnt: how long somebody's picture needed is nobody's to remember (003, X3).
    """
    renderer = Renderer(
        cluster,
        f"render-{secrets.token_hex(8)}",
        pool=lambda operation: registry.row(operation).pool,
        cost_s=lambda operation: costs.cost_s(operation, UNKNOWN_SIZE),
        tools=tools,
    )
    running = asyncio.create_task(renderer.run(), name="renderer")
    running.add_done_callback(ended)
    try:
        yield RenderSocket(renderer, lambda ask: judge(tools, ask, unsafe=unsafe))
    finally:
        running.cancel()
