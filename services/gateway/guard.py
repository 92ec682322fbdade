"""Who calls: every route below /v1 needs a tenant's API key, and an app that this tenant may use."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Awaitable, Callable
from typing import Any, Final

from litestar.connection import ASGIConnection
from litestar.handlers import BaseRouteHandler

from services.gateway.errors import GatewayStarting, Unauthorized, UnknownApp
from services.gateway.tenants import TenantTable

Connection = ASGIConnection[Any, Any, Any, Any]

_BEARER: Final = re.compile(r"Bearer (mf_[A-Za-z0-9_-]{43})")


def guard(tenants: TenantTable, caught_up: asyncio.Event) -> Callable[[Connection, BaseRouteHandler], Awaitable[None]]:
    """Litestar's guard of /v1: sets `request.user` to the Tenant.

    `caught_up`: all tenants have been read. Until then an unknown key may be one that is yet to come.

    A closure, not an object: Litestar copies the guards of a router deeply, and a copied table never learns anything.
    """

    async def check(connection: Connection, _: BaseRouteHandler) -> None:
        """Raises Unauthorized, UnknownApp or GatewayStarting before anything else of the request is looked at.

        A coroutine that awaits nothing: a plain function would go to a thread and back, for each request.
        """
        match = _BEARER.fullmatch(connection.headers.get("authorization", ""))
        tenant = tenants.find(match[1], time.time()) if match else None
        if tenant is None and match and not caught_up.is_set():
            raise GatewayStarting("expected a gateway that knows all tenants, this one is still reading: ask again")
        if tenant is None:
            raise Unauthorized("expected `Authorization: Bearer mf_…` with a valid API key of a tenant")
        app = connection.path_params.get("app")
        if app is not None and app not in tenant.apps:
            raise UnknownApp("expected an app that this tenant may use; this is none")
        connection.scope["user"] = tenant

    return check
