"""Server-sent events of one job: its status whenever it changes, until it has ended (WHATWG HTML, 9.2)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Final

import msgspec
from litestar.types import Receive, Scope, Send

from services.gateway.core import Core
from services.gateway.download import until_left
from services.gateway.errors import OwnerAway, OwnerRefused
from services.gateway.problems import document, note, route_of
from services.gateway.tenants import Tenant
from stream.agents.api import GetJob, JobView
from stream.events.rows import JobState
from stream.ids import Kind

KEEP_ALIVE_S: Final = 10.0
_KEEP_ALIVE: Final = b":\n\n"
_HEADERS: Final = [
    (b"content-type", b"text/event-stream"),
    (b"cache-control", b"no-store"),
    (b"x-accel-buffering", b"no"),  # proxies that buffer would make progress useless
]


class EventStream:
    """The answer to GET …/events, as an ASGI app. `after`: the last event that the client has seen, or -1."""

    def __init__(self, core: Core, tenant: Tenant, app: str, job: str, after: int) -> None:
        self._core = core
        self._tenant = tenant
        self._ask = GetJob(tenant.id, app, job, after)
        self._partition = core.mint.check(Kind.JOB, tenant.id, job)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Raises a MayflyError where the job cannot be read at all; then nothing was sent."""
        with self._core.flights.stream():
            view = await self._core.client.ask(self._partition, self._ask, JobView)
            pump = asyncio.ensure_future(self._pump(view, route_of(scope), send))
            left = asyncio.ensure_future(until_left(receive))
            stopping = asyncio.ensure_future(self._core.flights.stopping.wait())
            try:
                await asyncio.wait({pump, left, stopping}, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for task in (pump, left, stopping):
                    task.cancel()
                await asyncio.gather(pump, left, stopping, return_exceptions=True)
            if not pump.cancelled() and (error := pump.exception()) is not None:
                note(error, route_of(scope))  # the connection is cut: its client comes back with Last-Event-ID
            elif stopping.done() and not stopping.cancelled() and pump.cancelled():
                await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _pump(self, view: JobView, route: str, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": _HEADERS})
        async with aclosing(self._frames(view, route)) as frames:
            async for frame in frames:
                await send({"type": "http.response.body", "body": frame, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _frames(self, view: JobView, route: str) -> AsyncGenerator[bytes]:
        seen = self._ask.after
        while True:
            ended = JobState(view.state).ended
            if view.seq != seen or ended:  # not >: a new owner may count anew
                seen = view.seq
                yield _frame("status", msgspec.json.encode(view), seen)
            else:
                yield _KEEP_ALIVE
            if ended:
                return
            ask = msgspec.structs.replace(self._ask, after=seen, wait_s=KEEP_ALIVE_S)
            while True:
                try:
                    view = await self._core.client.ask(self._partition, ask, JobView, wait_s=KEEP_ALIVE_S)
                    break
                except OwnerAway:
                    yield _KEEP_ALIVE  # the status will come when the partition has an owner again
                except OwnerRefused as error:
                    yield _frame("problem", msgspec.json.encode(document(note(error, route))), seen)
                    return


def _frame(event: str, data: bytes, number: int) -> bytes:
    return b"event: %b\nid: %d\ndata: %b\n\n" % (event.encode(), number, data)
