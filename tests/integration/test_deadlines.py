"""Deadlines are ceilings: readable until due, unreadable a second after, never at the ceiling, whoever dies."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from http import HTTPStatus
from typing import Any

import pytest
import pytest_asyncio

from services.local.system import System
from services.local.system import estates as estates_at
from stream.audit.receipt_file import Verdict, verify
from tests.integration.client import APP, POLL_S, Client, asset_of, go_on_to

pytestmark = pytest.mark.stack

BEFORE_S = 2.0
AFTER_S = 1.0
KILLED_S = 1.0
TAKEN_OVER_WITHIN_S = 60.0
AHEAD_S = 30.0  # so that what others left is erased before a second counts


@pytest_asyncio.fixture(scope="module")
async def client(system: System) -> AsyncIterator[Client]:
    async with Client(system, *await system.tenant(APP)) as client:
        yield client


async def now(system: System) -> float:
    """What the promise clock shows, by whichever owner answers."""
    return max(estate["now"] for estate in await system.estates())


async def owner_of(system: System, partition: int) -> int:
    """The pid of the worker that owns it."""
    for name, port in system._ports.items():
        if partition in {estate["partition"] for estate in await estates_at(system.settings, [port])}:
            child = system.child(name)
            assert child is not None
            return child.pid
    raise AssertionError(f"nobody owns partition {partition}")


async def until_unreadable(client: Client, asset: dict[str, Any]) -> list[int]:
    """Every answer to a HEAD, from now to the first 410."""
    seen: list[int] = []
    async with asyncio.timeout(TAKEN_OVER_WITHIN_S):
        while not seen or seen[-1] != HTTPStatus.GONE:
            seen.append(await client.status_of(asset["id"]))
            await asyncio.sleep(POLL_S)
    return seen


async def erased(client: Client, asset: dict[str, Any]) -> Verdict:
    return verify(await client.receipt(asset), asset["id"], asset["salt"])


async def test_readable_before_and_unreadable_a_second_after(client: Client) -> None:
    view = await client.done()
    due = asset_of(view, "input")["due"]
    await go_on_to(client.system, due - AHEAD_S)
    await client.system.advance_to(due - BEFORE_S)
    statuses = [await client.status_of(asset["id"]) for asset in view["assets"]]
    assert await now(client.system) < due, "this machine was too slow to look in time"
    assert set(statuses) == {HTTPStatus.OK}
    for asset in view["assets"]:  # the clock goes on by itself: nobody moves it over the deadline
        assert set(await until_unreadable(client, asset)) <= {HTTPStatus.OK, HTTPStatus.GONE}
        receipt = (await erased(client, asset)).receipt
        assert due <= receipt.t_hidden_ms / 1000 <= receipt.t_unreadable_ms / 1000 <= due + AFTER_S
        assert receipt.t_unreadable_ms / 1000 < asset["ceiling"]


async def test_the_owner_is_killed_a_second_before(client: Client) -> None:
    system = client.system
    view = await client.done()
    asset = asset_of(view, "input")
    victim = await owner_of(system, client.mint.partition_of(asset["id"]))
    await go_on_to(system, asset["due"] - AHEAD_S)
    await system.advance_to(asset["due"] - BEFORE_S)
    assert await client.status_of(asset["id"]) == HTTPStatus.OK
    while (moment := await now(system)) < asset["due"] - KILLED_S:
        await asyncio.sleep(POLL_S)
    assert moment < asset["due"], "this machine was too slow to kill in time"
    os.kill(victim, signal.SIGKILL)
    seen = await until_unreadable(client, asset)
    # Nobody serves it until its successor has let it die: after the kill it is never read again.
    assert set(seen) <= {HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.GONE}
    assert await now(system) < asset["ceiling"]
    receipt = (await erased(client, asset)).receipt
    assert asset["due"] <= receipt.t_unreadable_ms / 1000 < asset["ceiling"]
    assert receipt.cause == "deadline"
