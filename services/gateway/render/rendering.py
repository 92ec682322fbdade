"""One request of a RAM-only app, as an ASGI app: read, have worked on, answer; and at any end, wipe.

Reading never waits for the answer to be read, so a client may send all before it reads anything. When the client
leaves, the connection to the worker is closed, and with it every lease of the request.
"""

from __future__ import annotations

import asyncio
import traceback
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any, Final

import msgspec
import structlog
from litestar.types import Receive, Scope, Send

from services.gateway import bodies
from services.gateway.core import Core
from services.gateway.download import until_left
from services.gateway.errors import GatewayStopping, UploadCutOff, UploadStalled
from services.gateway.problems import problem_of
from services.gateway.render import form
from services.gateway.render.answer import MULTIPART, Answer, failure
from services.gateway.render.desk import gone
from services.gateway.render.errors import BadForm
from services.gateway.render.form import Begins, Ends, Event, Field
from services.gateway.render.picture import Asked, Made, Picture
from services.gateway.render.session import Session, opened
from services.gateway.tenants import Tenant
from services.gateway.upload import body
from stream.agents.api import Problem
from stream.agents.api_render import Ask
from stream.errors import MayflyError
from stream.metrics import renders as metrics

LEAVE_S: Final = 0.25
_TOLD_MOST: Final = 100

log = structlog.get_logger()
_told: set[tuple[str, ...]] = set()


class _Several(msgspec.Struct, frozen=True):
    """A second picture has begun."""


class _Over(msgspec.Struct, frozen=True):
    """No further picture comes: so many came, and what went wrong with the body, if anything did."""

    pictures: int
    problem: Problem | None = None


class _Done(msgspec.Struct, frozen=True):
    """A picture's result, or why there is none."""

    item: int
    picture: Picture
    made: Made | None = None
    problem: Problem | None = None


_News = _Several | _Over | _Done


class Rendering:
    """The answer to `POST …/render`. `operation`: as the query says, or empty where a form's field does."""

    def __init__(self, core: Core, tenant: Tenant, app: str, operation: str) -> None:
        self._core, self._tenant, self._app, self._operation = core, tenant, app, operation

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Raises nothing: what goes wrong is told, or cuts the connection if something was told already."""
        answer = Answer(send)
        try:
            with self._core.desk.request(), self._core.flights.transfer(self._tenant):
                await self._serve(_header(scope, b"content-type"), _header(scope, b"accept"), receive, answer)
        except asyncio.CancelledError:
            if answer.started or not self._core.flights.stopping.is_set():
                raise
            stopping = GatewayStopping("expected a gateway that stays, this one is stopping: send it again")
            await answer.refuse(_problem(stopping))
        except Exception as error:  # noqa: BLE001 - told without a word of what was sent
            if not answer.started:
                await answer.refuse(_problem(error))

    async def _serve(self, content_type: str, accept: str, receive: Receive, answer: Answer) -> None:
        events = form.events(content_type, body(receive), self._core.desk.max_pictures)
        async with aclosing(events):
            asked = await self._asked(events)
            ask = Ask(
                self._tenant.id,
                self._app,
                asked.operation,
                tuple(msgspec.json.decode(asked.params)),
                max_jobs=self._tenant.limits.jobs,
                max_work_s=self._tenant.limits.work_s,
            )
            async with opened(self._core.desk, ask) as session:
                several = MULTIPART in accept
                await _Request(self._core, asked, session, answer, several=several).run(events, receive)

    async def _asked(self, events: AsyncGenerator[Event]) -> Asked:
        """What stands before the first picture."""
        fields: dict[str, bytes] = {}
        async for event in events:
            match event:
                case Field(name=name, value=value):
                    fields[name] = value
                case _:
                    params = form.params_of(fields.get("params", b"{}"))
                    operation = self._operation or fields.get("operation", b"").decode(errors="replace")
                    return Asked(self._tenant.id, self._app, operation, bodies.canonical(params))
        raise BadForm("expected at least one picture (a part with a filename), got none")


class _Request:
    def __init__(self, core: Core, asked: Asked, session: Session, answer: Answer, *, several: bool) -> None:
        self._desk, self._asked, self._session, self._answer, self._several = core.desk, asked, session, answer, several
        self._news: asyncio.Queue[_News] = asyncio.Queue()
        self._pictures: list[Picture] = []
        self._coming: Picture | None = None  # whose bytes are being read
        self._working: set[asyncio.Task[None]] = set()
        self._ended = 0

    async def run(self, events: AsyncGenerator[Event], receive: Receive) -> None:
        """From the first picture's first byte until the answer's last, or until the client has left."""
        reading = asyncio.create_task(self._read(events, receive), name="render read")
        writing = asyncio.create_task(self._write(), name="render write")
        try:
            await asyncio.wait({reading, writing}, return_when=asyncio.FIRST_COMPLETED)
            if not writing.done() and self._answer.finishing:
                # The server says the same of a client that left and of a response that ended.
                await asyncio.wait({writing}, timeout=LEAVE_S)
            if writing.done():
                writing.result()
        finally:
            await gone(reading, writing, *self._working)
            for picture in self._pictures:
                picture.wipe()
            self._count("left", len(self._pictures) - self._ended)

    # -- in ------------------------------------------------------------------------------------------------------

    async def _read(self, events: AsyncGenerator[Event], receive: Receive) -> None:
        """Returns when the client has left."""
        problem = None
        try:
            self._begin()  # the picture whose Begins has been read
            async for event in events:
                await self._take(event)
        except UploadStalled as error:
            problem = _problem(error)
        except UploadCutOff:
            return
        except Exception as error:  # noqa: BLE001 - told, beside what came before it
            problem = _problem(error)
        whole = len(self._pictures) - (self._coming is not None)
        self._news.put_nowait(_Over(whole, problem))
        await until_left(receive)

    async def _take(self, event: Event) -> None:
        try:
            match event:
                case Begins():
                    self._begin()
                case bytes() if self._coming is not None:
                    await self._coming.take(event)
                case Ends() if self._coming is not None:
                    await self._coming.finish()
                    work = self._work(len(self._pictures) - 1, self._coming)
                    self._working.add(asyncio.create_task(work, name="render"))
                    self._coming = None
        except MayflyError as error:  # this picture's fault, or no room for it: the rest of its bytes is passed over
            assert self._coming is not None
            self._failed(len(self._pictures) - 1, self._coming, _problem(error))
            self._coming = None

    def _begin(self) -> None:
        self._coming = Picture(self._desk, self._asked, self._session.granted)
        self._pictures.append(self._coming)
        if len(self._pictures) == 2:  # noqa: PLR2004 - more than one
            self._news.put_nowait(_Several())

    async def _work(self, item: int, picture: Picture) -> None:
        try:
            outcome = await self._session.work(item, picture.job, picture.task)
            problem = failure(outcome)
            made = picture.made(outcome) if problem is None else None
        except Exception as error:  # noqa: BLE001 - told to whoever sent the picture
            self._failed(item, picture, _problem(error))
        else:
            if problem is not None:
                self._failed(item, picture, problem)
            else:
                self._news.put_nowait(_Done(item, picture, made))

    def _failed(self, item: int, picture: Picture, problem: Problem) -> None:
        picture.wipe()
        self._news.put_nowait(_Done(item, picture, problem=problem))

    # -- out -----------------------------------------------------------------------------------------------------

    async def _write(self) -> None:
        over: _Over | None = None
        held: _Done | None = None  # until it is known whether one picture came, or several
        if self._several:
            await self._answer.begin()
        while over is None or self._ended < over.pictures:
            match await self._news.get():
                case _Over() as over:
                    pass
                case _Several():
                    await self._open(held)
                case _Done() as done if self._several:
                    await self._part(done)
                case _Done() as held:
                    pass
            if over is not None and not self._several and (over.problem or held):
                return await self._alone(over, held)
        if over.problem is not None:
            await self._answer.problem(over.pictures, over.problem)
        return await self._answer.end()

    async def _open(self, held: _Done | None) -> None:
        if not self._several:
            self._several = True
            await self._answer.begin()
            if held is not None:
                await self._part(held)

    async def _part(self, done: _Done) -> None:
        if done.made is not None:
            await self._answer.result(done.item, done.picture, done.made)
        elif done.problem is not None:
            await self._answer.problem(done.item, done.problem)
        self._end(done)

    async def _alone(self, over: _Over, done: _Done | None) -> None:
        if problem := over.problem or (done.problem if done is not None else None):
            await self._answer.refuse(problem)
        elif done is not None and done.made is not None:
            await self._answer.plain(done.picture, done.made)
        if done is not None:
            self._end(done)

    def _end(self, done: _Done) -> None:
        """Told, and so gone."""
        done.picture.wipe()
        self._ended += 1
        self._count("succeeded" if done.problem is None else "failed", 1)

    def _count(self, outcome: str, pictures: int) -> None:
        if self._session.granted.counted:
            metrics.count(self._asked.app, self._asked.operation, outcome, pictures)


def _problem(error: Exception) -> Problem:
    """As it is told. A fault of ours is logged once for each place in the code: of a request nothing is logged."""
    problem = problem_of(error)
    if problem.kind == "internal":
        frames = traceback.extract_tb(error.__traceback__)[-1:]
        where = tuple(f"{frame.filename.rpartition('/')[2]}:{frame.lineno}" for frame in frames)
        fault = (type(error).__name__, *where)
        if fault not in _told and len(_told) < _TOLD_MOST:
            _told.add(fault)
            log.error("render.fault", error=type(error).__name__, where=list(where))
    return problem


def _header(scope: Scope, name: bytes) -> str:
    found: dict[bytes, Any] = dict(scope["headers"])
    return bytes(found.get(name, b"")).decode("latin-1")
