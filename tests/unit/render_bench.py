# ruff: noqa: ARG002 - a cluster of one actor needs no name of it
"""A render from end to end in one process: the gateway's app, a worker's socket, an engine actor; no Ray, no Kafka."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from types import SimpleNamespace
from typing import Any

import aiohttp
import msgspec
from aiohttp import web

from ray_cluster.actors import EngineActor
from ray_cluster.leases import Inventory, Progress, Proposal, Task, Work
from services.gateway.flights import Flights
from services.gateway.render import desk as desks
from services.gateway.render.rendering import Rendering
from services.gateway.tenants import Tenant
from services.render_api import RenderSocket
from services.settings import Settings
from stream.agents.api_render import PATH, Ask, Granted
from stream.agents.crowd import Crowd
from stream.agents.render import LANE, Renderer
from stream.errors import LostLease, StoreUnavailable

TENANT = Tenant("ten_1", ("app",), ())
ACTOR = "engine-noop-1"


class Refused(LostLease):
    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Died(LostLease):
    """And nobody knows what it had begun."""


class OneActor:
    """A cluster of one actor that offers itself at once, as often as it is asked. `refuse`: that many starts.

    `forget`: so many submissions are lost, as with a scheduler that restarts.
    """

    def __init__(self, actor: EngineActor) -> None:
        self.actor, self.refuse, self.refusal, self.forget = actor, 0, "offer-gone", 0
        self.calls: list[str] = []
        self.tasks: list[Task] = []
        self.dead = self.silent = self.dies = False
        self._queue: asyncio.Queue[Proposal] = asyncio.Queue()
        self._stock: dict[int, bytes] = {}
        self._seen = -1

    async def epoch(self) -> str:
        return f"epoch {self.forget}"

    async def submit(self, works: list[Work]) -> None:
        if self.forget:
            self.forget -= 1
            return
        for work in works:
            if not self._stock:
                inventory = msgspec.msgpack.decode(await self.actor.watch("w", self._seen, 4, 0), type=Inventory)
                self._seen, self._stock = inventory.version, dict(inventory.fresh)
            offer, public = self._stock.popitem()
            self._queue.put_nowait(Proposal(work.job, ACTOR, public, offer))

    async def proposals(self, worker: str, wait_s: float) -> list[Proposal]:
        return [await self._queue.get()]

    async def withdraw(self, job: str) -> None:
        self.calls.append("withdraw")

    async def decline(self, job: str, actor: str, offer: int) -> None:
        self.calls.append("decline")

    async def places(self, job_ids: list[str]) -> dict[str, Any]:
        raise NotImplementedError

    async def start(self, actor: str, task: Task) -> None:
        self.tasks.append(task)
        if self.refuse:
            self.refuse -= 1
            raise Refused(self.refusal)
        if refusal := await self.actor.start(msgspec.msgpack.encode(task)):
            raise Refused(refusal)
        if self.dies:
            self.dead = True
            raise Died("expected an answer, it is dead")

    async def progress(self, actor: str, job: str, fence: int, *, after_seq: int = -1, wait_s: float = 10) -> Progress:
        if self.dead:
            raise Died("expected an answer, it is dead")
        if self.silent:
            raise StoreUnavailable("silent")
        return msgspec.msgpack.decode(await self.actor.progress(job, fence, after_seq, wait_s), type=Progress)

    async def cancel(self, actor: str, job: str, fence: int) -> None:
        self.calls.append("cancel")
        await self.actor.cancel(job, fence)

    async def ack(self, actor: str, job: str, fence: int) -> None:
        self.calls.append("ack")
        await self.actor.ack([(job, fence)])

    async def kill(self, actor: str) -> None:
        self.calls.append("kill")


class Bench:
    """What a test holds. `render` is one request."""

    def __init__(
        self, desk: desks.Desk, cluster: OneActor, socket: RenderSocket, flights: Flights, crowd: Crowd
    ) -> None:
        self.desk, self.cluster, self.socket, self.flights, self.crowd = desk, cluster, socket, flights, crowd

    @property
    def empty(self) -> bool:
        """Nothing of any picture is left at the gateway or at the actor."""
        rooms = self.desk.inputs.taken_bytes + self.desk.results.taken_bytes
        held = len(self.desk.shelf) or rooms or self.cluster.actor._leases or self.crowd.claims()
        return not held and "0 tickets" in repr(self.desk.shelf)

    async def render(
        self,
        *chunks: bytes,
        content_type: str = "image/jpeg",
        accept: str = "",
        leave: asyncio.Event | None = None,
        cut: bool = False,
    ) -> Reply:
        """`leave`: when the client goes, after its body; `cut`: it goes before its end."""
        reply, left = Reply(), leave or asyncio.Event()
        body = list(chunks)

        async def receive() -> Any:
            if body:
                return {"type": "http.request", "body": body.pop(0), "more_body": bool(body) or cut}
            if not cut:
                await left.wait()
            return {"type": "http.disconnect"}

        async def send(message: Any) -> None:
            reply.take(message)

        headers = [(b"content-type", content_type.encode()), (b"accept", accept.encode())]
        core: Any = SimpleNamespace(desk=self.desk, flights=self.flights)
        scope: Any = {"type": "http", "headers": headers}
        await Rendering(core, TENANT, "app", "noop")(scope, receive, send)
        return reply


class Reply:
    def __init__(self) -> None:
        self.status, self.body, self.whole = 0, b"", False
        self.headers: dict[str, str] = {}

    def take(self, message: Any) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self.headers = {name.decode(): value.decode() for name, value in message["headers"]}
        else:
            self.body += message["body"]
            self.whole = not message["more_body"]

    @property
    def kind(self) -> str:
        return str(msgspec.json.decode(self.body)["type"]).removeprefix("urn:mayfly:problem:")


def granted(ask: Ask) -> Granted:
    return Granted(("image/jpeg", "image/png"), 1 << 20, 10**6, 1.0, "photo")


@asynccontextmanager
async def bench(*, unsafe: str = "", **settings: Any) -> AsyncIterator[Bench]:
    """Served on loopback."""
    told = Settings(
        kafka="",
        s3_url="",
        s3_access_key="",
        s3_secret_key="",
        bucket="",
        state_dir="",
        secret="00" * 32,
        internal_token="t",
        **settings,
    )
    actor = EngineActor("noop", ("noop",))
    assert await actor.ready() == ""
    actor._unsafe = False  # also on a machine that swaps
    cluster = OneActor(actor)
    crowd = Crowd()
    crowd.predict = lambda operation: (operation, 3.0)
    tools: Any = SimpleNamespace(real_time=lambda: 0.0, crowd=crowd)
    renderer = Renderer(cluster, "render-1", pool=lambda _: "noop", cost_s=lambda _: 0.1, tools=tools)

    def judged(ask: Ask) -> Granted:
        crowd.look(ask.tenant, ask.operation, LANE, max_jobs=ask.max_jobs, max_work_s=ask.max_work_s)
        return granted(ask)

    socket = RenderSocket(renderer, judged)
    app = web.Application()
    app.router.add_get(PATH, socket.serve)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    async with AsyncExitStack() as stack:
        await runner.setup()
        stack.push_async_callback(runner.cleanup)
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        running = asyncio.create_task(renderer.run())
        stack.push_async_callback(desks.gone, running)
        http = await stack.enter_async_context(aiohttp.ClientSession())
        owners: Any = SimpleNamespace(addresses={f"127.0.0.1:{runner.addresses[0][1]}"})
        opened = desks.opened(told, owners=owners, http=http, host="127.0.0.1", scheme="http", unsafe=unsafe)
        desk = await stack.enter_async_context(opened)
        yield Bench(desk, cluster, socket, Flights(), crowd)
        await actor._open.aclose()
