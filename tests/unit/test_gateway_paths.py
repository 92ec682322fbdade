"""A path names a user: when its request is over, no cache of the gateway keeps it."""

from __future__ import annotations

import asyncio
import functools
import gc
from types import SimpleNamespace
from typing import Any, cast

from services.gateway.app import make_app
from services.gateway.core import Core
from services.gateway.tenants import TenantTable

NAME = "a-user-whom-nobody-else-is-called"
PATH = f"/v1/genzo/subjects/{NAME}"
CACHE = type(functools.lru_cache(len))


def caches_that_hold(name: str) -> list[str]:
    """Every functools cache in this process that holds it, in a key or a value."""
    caches = [held for held in gc.get_objects() if isinstance(held, CACHE)]
    return [repr(cache) for cache in caches if any(name in repr(held) for held in gc.get_referents(cache))]


def test_a_cache_that_holds_it_is_found() -> None:
    cached = functools.lru_cache(str.upper)
    cached(NAME)
    assert len(caches_that_hold(NAME)) == 1


async def test_a_path_is_not_remembered() -> None:
    app = cast("Any", make_app(cast("Core", SimpleNamespace(tenants=TenantTable(), caught_up=asyncio.Event()))))
    told: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: dict[str, Any]) -> None:
        told.append(message)

    scope = {"type": "http", "method": "DELETE", "path": PATH, "raw_path": PATH.encode(), "query_string": b""}
    await app(scope | {"headers": [(b"host", b"gateway")], "http_version": "1.1"}, receive, send)
    assert told[0]["status"] == 401  # it was routed: the guard comes behind
    assert caches_that_hold(NAME) == []
