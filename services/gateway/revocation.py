"""The internal listener: owners take read grants back here. On its own port, with mTLS, never beside the public API."""

from __future__ import annotations

import hmac
import ssl
from typing import Final

import msgspec
from aiohttp import web

from services.gateway.grants import Grants

PATH: Final = "/internal/grants/revoke"
_SHUTDOWN_S: Final = 0.5


class Revoke(msgspec.Struct, frozen=True):
    """msgpack body of the call; the answer 200 says that the key is wiped and nothing flows any more."""

    grant: str


class RevocationServer:
    """Serves `POST /internal/grants/revoke` until `stop()`."""

    def __init__(self, grants: Grants, token: str) -> None:
        self._grants = grants
        self._expected = f"Bearer {token}".encode()
        app = web.Application(client_max_size=4096)
        app.router.add_post(PATH, self._revoke)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=_SHUTDOWN_S)

    async def start(self, host: str, port: int, ssl_context: ssl.SSLContext | None) -> int:
        """Listen; the port, also where 0 was asked for."""
        await self._runner.setup()
        await web.TCPSite(self._runner, host, port, ssl_context=ssl_context).start()
        bound: int = self._runner.addresses[0][1]
        return bound

    async def stop(self) -> None:
        """Close the port."""
        await self._runner.cleanup()

    async def _revoke(self, request: web.Request) -> web.Response:
        given = request.headers.get("Authorization", "").encode()
        if not hmac.compare_digest(given, self._expected):
            return web.Response(status=401)
        try:
            call = msgspec.msgpack.decode(await request.read(), type=Revoke)
        except msgspec.MsgspecError:
            return web.Response(status=400)
        await self._grants.revoke(call.grant)
        return web.Response()
