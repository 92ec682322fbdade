"""What goes back: one picture as itself, several as multipart/mixed (RFC 2046), each part as soon as it is there."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Iterable
from http import HTTPStatus
from typing import Final

import msgspec
from litestar.types import Send

from services.gateway import problems
from services.gateway.download import headers
from services.gateway.errors import UploadStalled
from services.gateway.render.picture import Made, Picture
from stream.agents.api import Problem
from stream.events.bus import Outcome

STALL_S: Final = 30.0
MULTIPART: Final = "multipart/mixed"
_EXTENSIONS: Final = {"image/jpeg": "jpg", "image/png": "png", "image/webp": "webp", "video/mp4": "mp4"}
_RETRY: Final = frozenset({HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE})
_QUIET: Final = [(b"cache-control", b"no-store"), (b"x-accel-buffering", b"no")]


class Answer:
    """The response of one request. `finishing`: its last byte is on its way, or gone."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._boundary = secrets.token_hex(16)
        self.started = self.finishing = False

    async def refuse(self, problem: Problem) -> None:
        """The whole answer is a problem."""
        body = msgspec.json.encode(problems.document(problem))
        found = [(b"content-type", problems.MEDIA_TYPE.encode()), (b"content-length", b"%d" % len(body)), *_QUIET]
        if problem.status in _RETRY:
            found.append((b"retry-after", b"%d" % problems.retry_after_s(problem)))
        await self._start(problem.status, found)
        await self._body(body, last=True)

    async def plain(self, picture: Picture, made: Made) -> None:
        """The whole answer is one result."""
        await self._start(HTTPStatus.OK, headers(made.media_type, made.size_bytes))
        left = made.size_bytes
        for piece in picture.opened():
            left -= len(piece)
            await self._body(piece, last=not left)

    async def begin(self) -> None:
        """Parts will follow."""
        kind = f"{MULTIPART}; boundary={self._boundary}".encode()
        await self._start(HTTPStatus.OK, [(b"content-type", kind), *_QUIET])

    async def result(self, item: int, picture: Picture, made: Made) -> None:
        """A part: the result of picture `item`."""
        extension = _EXTENSIONS.get(made.media_type, "bin")
        lines = [
            f"Content-Type: {made.media_type}",
            f"Content-Length: {made.size_bytes}",
            f'Content-Disposition: attachment; filename="{item}.{extension}"',
            f"Mayfly-Item: {item}",
            f"Mayfly-Status: {HTTPStatus.OK.value}",
        ]
        await self._part(lines, picture.opened())

    async def problem(self, item: int, problem: Problem) -> None:
        """A part: what became of picture `item`."""
        body = msgspec.json.encode(problems.document(problem))
        lines = [
            f"Content-Type: {problems.MEDIA_TYPE}",
            f"Content-Length: {len(body)}",
            f"Mayfly-Item: {item}",
            f"Mayfly-Status: {problem.status}",
            *([f"Retry-After: {problems.retry_after_s(problem)}"] if problem.status in _RETRY else ()),
        ]
        await self._part(lines, [body])

    async def end(self) -> None:
        """No further part: the closing boundary says that this was all."""
        await self._body(f"--{self._boundary}--\r\n".encode(), last=True)

    async def _part(self, lines: list[str], body: Iterable[bytes]) -> None:
        await self._body("\r\n".join([f"--{self._boundary}", *lines, "\r\n"]).encode())
        for piece in body:
            await self._body(piece)
        await self._body(b"\r\n")

    async def _start(self, status: int, found: list[tuple[bytes, bytes]]) -> None:
        self.started = True
        await self._send({"type": "http.response.start", "status": status, "headers": found})

    async def _body(self, piece: bytes, *, last: bool = False) -> None:
        self.finishing = last
        try:
            async with asyncio.timeout(STALL_S):
                await self._send({"type": "http.response.body", "body": piece, "more_body": not last})
        except TimeoutError:
            raise UploadStalled(f"expected a byte to be read at least every {STALL_S:g} s, none was") from None


def failure(outcome: Outcome) -> Problem | None:
    """What an attempt's end means to whoever sent the picture; None where it succeeded.

    The reason is a stable kind of ours, or the class of what nobody foresaw: the latter is not told.
    """
    if outcome.status == "succeeded":
        return None
    ours = outcome.reason.islower()
    if outcome.kind == "permanent" and ours:
        detail = "the engine cannot work on this picture with these parameters: see the kind"
        return Problem(outcome.reason, HTTPStatus.UNPROCESSABLE_ENTITY, detail)
    if outcome.kind == "permanent":
        detail = "the engine failed on this picture: another one may do"
        return Problem("engine-failed", HTTPStatus.INTERNAL_SERVER_ERROR, detail)
    detail = "the attempt did not come to its end, and nothing is kept to try it again: send the picture again"
    return Problem(outcome.reason if ours else "engine-failed", HTTPStatus.SERVICE_UNAVAILABLE, detail)
