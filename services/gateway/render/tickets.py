"""The server of tickets: engine actors fetch and bring ciphertext here, as they do at S3. No log, no list, no names.

Plain HTTP on an address that only actors need to reach: what crosses it is sealed, and a ticket opens nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from http import HTTPStatus
from typing import Final

import aiohttp
from aiohttp import web

from stream.errors import MayflyError
from stream.vault.room import NoRoomLeft, Room
from stream.vault.shelf import Shelf, Way

PATH: Final = "/tickets"
SLICE_BYTES: Final = 256 * 1024
ROOM_S: Final = 10.0  # a result waits so long for room: then its picture is to be sent again
RETRY_AFTER_S: Final = 2
_SHUTDOWN_S: Final = 0.5


class TicketServer:
    """Serves `GET` and `PUT /tickets/{ticket}` until `stop()`. `fetched`: told which object was fetched whole."""

    def __init__(self, results: Room, *, fetched: Callable[[str], None]) -> None:
        self._results, self._fetched = results, fetched
        app = web.Application()
        app.router.add_get(PATH + "/{ticket}", self._get, allow_head=False)
        app.router.add_put(PATH + "/{ticket}", self._put)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=_SHUTDOWN_S)

    async def start(self, host: str, port: int = 0) -> Shelf:
        """Listen; the shelf whose tickets are redeemed here."""
        await self._runner.setup()
        await web.TCPSite(self._runner, host, port).start()
        self.shelf = Shelf(f"http://{host}:{self._runner.addresses[0][1]}{PATH}")
        return self.shelf

    async def stop(self) -> None:
        """Close the port."""
        await self._runner.cleanup()

    async def _get(self, request: web.Request) -> web.StreamResponse:
        try:
            name = self.shelf.redeem(request.match_info["ticket"], Way.GET)
            sealed = self.shelf.get(name)
        except MayflyError as error:
            return web.Response(status=_status(error))
        answer = web.StreamResponse(headers={"Content-Length": str(len(sealed)), "Cache-Control": "no-store"})
        with suppress(ConnectionError):  # the actor has gone: nobody needs to hear of it, least of all a log
            await answer.prepare(request)
            for at in range(0, len(sealed), SLICE_BYTES):
                await answer.write(sealed[at : at + SLICE_BYTES])
            await answer.write_eof()
            self._fetched(name)
        return answer

    async def _put(self, request: web.Request) -> web.Response:
        size = request.content_length
        if not size:
            return web.Response(status=HTTPStatus.LENGTH_REQUIRED)
        try:
            name = self.shelf.redeem(request.match_info["ticket"], Way.PUT)
            await self._results.take(size, wait_s=ROOM_S)
        except MayflyError as error:
            retry = {"Retry-After": str(RETRY_AFTER_S)} if isinstance(error, NoRoomLeft) else None
            return web.Response(status=_status(error), headers=retry)
        sealed, kept = bytearray(), False
        try:
            async for chunk in request.content.iter_any():
                sealed += chunk
            if kept := len(sealed) == size and self.shelf.awaits(name):
                self.shelf.put(name, sealed, lambda: self._results.give(size))
        except (aiohttp.ClientError, OSError):
            pass  # cut off: nothing remains
        finally:
            if not kept:
                self._results.give(size)
        return web.Response(status=HTTPStatus.OK if kept else HTTPStatus.FORBIDDEN)


def _status(error: MayflyError) -> int:
    return {"no-ticket": HTTPStatus.FORBIDDEN, "no-such-object": HTTPStatus.NOT_FOUND}.get(error.kind, error.status)
