"""An operator's orders on the running system: through a worker to the scheduler, and what becomes of jobs meanwhile."""

from __future__ import annotations

import asyncio
import json
from typing import Any, TypeVar

import pytest

from ray_cluster.orders import Drain, Draining, Order, Pause, Reasons, Resume, Seats, SeatStatus, Why
from ray_cluster.pools import PoolStatus
from services import pool_call
from services.gateway.errors import OwnerRefused
from services.local.system import SYSTEM_FILE, System
from tests.integration.client import APP, Client, eventually

pytestmark = pytest.mark.stack

T = TypeVar("T")


async def order(system: System, what: Order, reply: type[T]) -> T:
    ports = list(json.loads((system.folder / SYSTEM_FILE).read_text())["workers"].values())
    return await pool_call.ask(system.settings, ports, what, reply)


async def test_a_paused_pool_holds_jobs_and_a_drained_one_serves_them_with_others(system: System) -> None:
    async with Client(system, *await system.tenant(APP)) as client:
        first = await client.begin()

        async def served() -> bool:
            return bool((await client.job(first["id"]))["state"] == "succeeded")

        await eventually(served, within_s=60.0)  # an actor of its own starts
        told = await order(system, Pause("noop"), PoolStatus)
        assert (told.paused, told.by_hand) == (True, True)
        try:
            job = await client.begin()

            async def held() -> bool:
                (reasons,) = await order(system, Why("noop", 1000), list[Reasons])
                waits: dict[str, Any] = {one.job: one.waits_for for one in reasons.waiting}
                return reasons.held and waits.get(job["id"]) == "resume"

            await eventually(held)
            assert (await client.job(job["id"]))["state"] == "queued"
            before = {seat.actor for seat in await order(system, Seats("noop"), list[SeatStatus])}
            gone = await order(system, Drain("noop"), Draining)
            assert set(gone.actors) == before
        finally:
            await order(system, Resume("noop"), PoolStatus)
        assert (await client.ended(job["id"]))["state"] == "succeeded"

        async def replaced() -> bool:
            return not before & {seat.actor for seat in await order(system, Seats("noop"), list[SeatStatus])}

        await eventually(replaced)


async def test_an_order_that_cannot_be_is_refused_by_name(system: System) -> None:
    with pytest.raises(OwnerRefused) as refused:
        await order(system, Pause("no such pool"), PoolStatus)
    assert refused.value.problem.kind == "unknown-pool"
    with pytest.raises(OwnerRefused) as refused:
        await order(system, Drain(actor="engine-noop-0"), Draining)
    assert refused.value.problem.kind == "unknown-actor"
    await asyncio.gather(*(order(system, Why(), list[Reasons]) for _ in range(3)))
