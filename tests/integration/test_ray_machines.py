"""Machines come when actors have no room and go when nobody needs them; a machine that dies is nobody's fault."""

from __future__ import annotations

import asyncio
import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import msgspec
import pytest
import pytest_asyncio
import ray

from ray_cluster.client import Cluster, NodeLost, SchedulerLost
from ray_cluster.orders import Order, Pause, Reasons, Scale, Why
from ray_cluster.pools import ClusterConfig, Pool, PoolStatus
from services.local.children import Children
from services.local.stack import clear_ram, make_ram
from stream.vault.courier import Courier
from tests.integration.ray_machines import IDLE_S, Machines, Shelf
from tests.integration.ray_owner import Owner, Photo

pytestmark = pytest.mark.stack

CONFIG = ClusterConfig(
    pools=(Pool("noop", ("noop",), max_actors=2, cpus=1.0), Pool("gpu", ("noop",), max_actors=1, cpus=0.5, gpus=1.0)),
    namespace="machines",
    max_actors=3,
    idle_s=2.0,
    start_s=30.0,
)
TYPES = {
    "cpu": {"resources": {"CPU": 1}, "node_config": {}, "min_workers": 0, "max_workers": 2},
    "gpu": {"resources": {"CPU": 1, "GPU": 1}, "node_config": {}, "min_workers": 0, "max_workers": 1},
}
PATIENCE_S = 60.0


@pytest_asyncio.fixture(scope="module")
async def machines(runs: Path) -> AsyncIterator[Machines]:
    run_dir = Path(tempfile.mkdtemp(dir=runs))
    children = Children(run_dir)
    try:
        made = Machines(children, make_ram(run_dir), TYPES)
        await made.start()
        yield made
    finally:
        await children.stop()
        clear_ram(run_dir)
        children.release()
        shutil.rmtree(run_dir)


@pytest_asyncio.fixture(scope="module")
async def cluster(machines: Machines) -> AsyncIterator[Cluster]:
    joined = await Cluster.connect(machines.address, CONFIG, token_path=machines.token_path)
    yield joined
    await joined.close()


@pytest_asyncio.fixture(scope="module")
async def owner(cluster: Cluster) -> AsyncIterator[Owner]:
    async with Shelf() as shelf, Courier() as courier:
        made = Owner(cluster, shelf, courier)  # type: ignore[arg-type]
        listening = asyncio.create_task(made.listen())
        yield made
        listening.cancel()
        await asyncio.gather(listening, return_exceptions=True)


@pytest_asyncio.fixture(scope="module")
async def photo(owner: Owner) -> Photo:
    return await Photo(os.urandom(1000)).put(owner.custody, owner.courier)


async def until(check: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not await check():
            await asyncio.sleep(0.05)


async def pool(cluster: Cluster, name: str) -> PoolStatus:
    return next(status for status in await cluster.pools() if status.pool == name)


async def operate(cluster: Cluster, order: Order, reply: type[msgspec.Struct]) -> msgspec.Struct:
    return msgspec.msgpack.decode(await cluster.operate(msgspec.msgpack.encode(order)), type=reply)


async def test_an_actor_without_a_machine_waits_for_one_and_has_not_failed(
    cluster: Cluster, owner: Owner, photo: Photo, machines: Machines
) -> None:
    assert machines.raylets() == []
    jobs = [asyncio.create_task(owner.do(photo, steps=10, step_s=0.1, cost_s=4.0, within_s=5.0)) for _ in range(2)]

    async def unplaced() -> bool:
        status = await pool(cluster, "noop")
        assert status.error == ""
        return status.unplaced == 2

    await until(unplaced)
    (reasons,) = await operate(cluster, Why("noop"), list[Reasons])  # type: ignore[arg-type, misc]
    assert ({one.waits_for for one in reasons.waiting}, reasons.held) == ({"machine"}, True)
    assert {outcome.status for outcome in await asyncio.gather(*jobs)} == {"succeeded"}
    assert machines.raylets()
    status = await pool(cluster, "noop")
    assert (status.error, status.unplaced) == ("", 0)


async def test_a_machine_that_dies_is_no_crash_of_its_input(
    cluster: Cluster, owner: Owner, photo: Photo, machines: Machines
) -> None:
    proposal = await owner.proposal(await owner.submit(cost_s=30))
    await owner.start(proposal, photo, Photo(b""), steps=600, step_s=0.05)
    await owner.until(proposal, "wait")
    for raylet in machines.raylets():
        raylet.kill()
    with pytest.raises(NodeLost):
        await owner.outcome(proposal)
    assert (await owner.do(photo)).status == "succeeded"


async def test_an_actor_with_a_gpu_sees_that_one_and_others_see_none(
    cluster: Cluster, owner: Owner, photo: Photo
) -> None:
    seen = {}
    for name in ("gpu", "noop"):
        proposal = await owner.proposal(await owner.submit(pool=name))
        await owner.start(proposal, photo, Photo(b""))
        assert (await owner.outcome(proposal)).status == "succeeded"
        seen[name] = (await cluster.facts(proposal.actor))["gpus"]
    assert seen == {"gpu": 1, "noop": 0}


async def test_machines_go_when_nobody_needs_them(cluster: Cluster, machines: Machines) -> None:
    async def none() -> bool:
        return machines.raylets() == []

    await until(none)  # idle actors after idle_s, their machines after Ray's own time: no request is left standing
    assert IDLE_S < PATIENCE_S


async def test_what_was_set_by_hand_outlives_the_scheduler(cluster: Cluster) -> None:
    await operate(cluster, Scale("noop", 0, 1), PoolStatus)
    await operate(cluster, Pause("gpu"), PoolStatus)
    epoch = await cluster.epoch()
    await asyncio.to_thread(ray.kill, ray.get_actor("scheduler", namespace=CONFIG.namespace), no_restart=False)

    async def another() -> bool:
        try:
            return await cluster.epoch() != epoch and (await pool(cluster, "noop")).by_hand
        except SchedulerLost:
            return False

    await until(another)
    assert (await pool(cluster, "noop")).max_actors == 1
    assert (await pool(cluster, "gpu")).paused
