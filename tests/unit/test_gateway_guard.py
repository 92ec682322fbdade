"""Who calls is told from who cannot be told yet: a gateway that is still reading tenants refuses nobody for good."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any, cast

import pytest

from services.gateway.errors import GatewayStarting, Unauthorized
from services.gateway.guard import guard
from services.gateway.tenants import TenantTable, new_key


def called_with(authorization: str) -> Any:
    return SimpleNamespace(headers={"authorization": authorization}, path_params={}, scope={})


@pytest.mark.parametrize(("read", "expected"), [(False, GatewayStarting), (True, Unauthorized)])
async def test_an_unknown_key_is_refused_only_by_who_knows_all(read: bool, expected: type[Exception]) -> None:
    caught_up = asyncio.Event()
    if read:
        caught_up.set()
    check = guard(TenantTable(), caught_up)
    with pytest.raises(expected):
        await check(called_with(f"Bearer {new_key()}"), cast("Any", None))


async def test_what_is_no_key_is_refused_at_once() -> None:
    with pytest.raises(Unauthorized):
        await guard(TenantTable(), asyncio.Event())(called_with("Bearer nonsense"), cast("Any", None))
