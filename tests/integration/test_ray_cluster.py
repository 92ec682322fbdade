"""The Ray side on a real head: from zero to a result, and what happens when parts of it die."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable

import msgspec
import pytest
import pytest_asyncio
import ray

from ray_cluster.client import ActorKilled, ActorLost, ActorUnknown, Cluster, LeaseRefused
from ray_cluster.journal import again
from ray_cluster.lanes import BadWork
from ray_cluster.leases import Work
from ray_cluster.pools import ClusterConfig, Pool, PoolStatus
from services.local.endpoints import Endpoints
from stream.events.lease import ACTOR_GONE
from stream.ids import Kind
from stream.vault.courier import Courier
from stream.vault.custody import S3Custody
from tests.integration.ray_owner import Owner, Photo, new_id

pytestmark = pytest.mark.stack

PHOTO_BYTES = 200_000
RECYCLE_JOBS = 40
CONFIG = ClusterConfig(
    pools=(
        Pool("noop", ("noop",), max_actors=2, cpus=0.5),
        Pool("other", ("noop",), max_actors=1, cpus=0.5),
        Pool("broken", ("no such operation",), max_actors=1, cpus=0.5),
    ),
    namespace="ray-tests",
    max_actors=2,
    idle_s=3.0,
    proposal_s=3.0,
    recycle_jobs=RECYCLE_JOBS,
)


@pytest_asyncio.fixture(scope="module")
async def cluster(ray_stack: Endpoints) -> AsyncIterator[Cluster]:
    handlers = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    joined = await Cluster.connect(ray_stack.ray_address, CONFIG, token_path=ray_stack.ray_token_path)
    assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == handlers
    yield joined
    for name in await actors():
        await joined.kill(name)
    ray.kill(ray.get_actor("scheduler", namespace=CONFIG.namespace))
    await joined.close()
    assert signal.getsignal(signal.SIGTERM) is handlers[0]


@pytest_asyncio.fixture(scope="module")
async def owner(cluster: Cluster, ray_stack: Endpoints) -> AsyncIterator[Owner]:
    async with (
        S3Custody(ray_stack.s3_url, ray_stack.s3_access_key, ray_stack.s3_secret_key, ray_stack.bucket) as custody,
        Courier() as courier,
    ):
        made = Owner(cluster, custody, courier)
        listening = asyncio.create_task(made.listen())
        yield made
        listening.cancel()
        await asyncio.gather(listening, return_exceptions=True)


@pytest_asyncio.fixture(scope="module")
async def photo(owner: Owner) -> Photo:
    return await Photo(os.urandom(PHOTO_BYTES)).put(owner.custody, owner.courier)


async def actors() -> list[str]:
    named = await asyncio.to_thread(ray.util.list_named_actors, all_namespaces=True)
    return sorted(
        entry["name"]
        for entry in named
        if entry["namespace"] == CONFIG.namespace and entry["name"].startswith("engine-")
    )


async def until(check: Callable[[], Awaitable[bool]], limit_s: float = 20.0) -> None:
    async with asyncio.timeout(limit_s):
        while not await check():
            await asyncio.sleep(0.05)


async def pool(cluster: Cluster, name: str = "noop") -> PoolStatus:
    return next(status for status in await cluster.pools() if status.pool == name)


async def test_places_count_what_is_ahead(cluster: Cluster, owner: Owner) -> None:
    jobs = [new_id(Kind.JOB) for _ in range(3)]
    far = time.time() + 3600
    works = [
        Work(job, "nobody-listens", "broken", "batch", "t", cost_s=2.0, deadline=far + i) for i, job in enumerate(jobs)
    ]
    await cluster.submit(works)
    await cluster.submit(works)
    places = await cluster.places([*jobs, "unknown"])
    assert [places[job].position for job in jobs] == [0, 1, 2]
    assert [places[job].eta_s for job in jobs] == pytest.approx([0, 2, 4])

    async def failed() -> bool:
        await cluster.submit(works)  # work of a worker that no longer asks would sleep
        status = await pool(cluster, "broken")
        return status.error == "unknown-operation" and status.reason == "waits after a failed start"

    await until(failed)
    assert (await pool(cluster, "broken")).actors == 0
    for job in jobs:
        await cluster.withdraw(job)
    assert await cluster.places(jobs) == {}


async def test_bad_work_is_refused_by_name(cluster: Cluster) -> None:
    with pytest.raises(BadWork):
        await cluster.submit([Work("j", "w", "noop", "no-such-lane", "t", cost_s=1, deadline=0)])


async def test_from_zero_to_a_result(cluster: Cluster, owner: Owner, photo: Photo) -> None:
    assert (await pool(cluster)).actors == 0
    result = Photo(photo.plain)
    proposal = await owner.proposal(await owner.submit())
    await owner.start(proposal, photo, result)
    await owner.start(proposal, photo, result)  # a lost answer: the same lease again is accepted
    outcome = await owner.outcome(proposal)
    assert (outcome.status, outcome.wiped) == ("succeeded", True)
    (made,) = outcome.outputs
    assert (made.role, made.size_bytes) == ("result", PHOTO_BYTES)
    assert await owner.fetch(result) == photo.plain

    async def forgotten() -> bool:
        return not (await cluster.progress(proposal.actor, proposal.job, 1)).known

    await until(forgotten)  # acknowledged


async def test_urgent_work_brings_a_second_actor_and_the_limit_holds(owner: Owner, photo: Photo) -> None:
    jobs = [owner.do(photo, cost_s=2.0, within_s=3.0, steps=8, step_s=0.05) for _ in range(6)]
    running = asyncio.gather(*jobs)

    async def two() -> bool:
        return len(await actors()) == 2

    await until(two)
    assert {outcome.status for outcome in await running} == {"succeeded"}
    assert len(await actors()) <= 2


async def test_an_idle_actor_gives_way_to_another_pool(cluster: Cluster, owner: Owner, photo: Photo) -> None:
    """Also: one that was told to drain ends."""
    assert len([name for name in await actors() if name.startswith("engine-noop-")]) == 2
    proposal = await owner.proposal(await owner.submit(pool="other"))
    assert proposal.actor.startswith("engine-other-")
    await owner.start(proposal, photo, Photo(b""))
    assert (await owner.outcome(proposal)).status == "succeeded"
    assert len(await actors()) <= 2
    await cluster.drain(proposal.actor)

    async def gone() -> bool:
        return proposal.actor not in await actors()

    await until(gone)


async def test_what_the_scheduler_decided_can_be_taken_again(cluster: Cluster) -> None:
    lines = await cluster.decisions()
    assert {decision.cause for line in lines for decision in line.decisions.values()} >= {"jobs"}
    assert all(again(line) == line.decisions for line in lines)


async def test_cancel_reaches_a_running_engine(cluster: Cluster, owner: Owner, photo: Photo) -> None:
    proposal = await owner.proposal(await owner.submit(cost_s=30))
    await owner.start(proposal, photo, Photo(b""), steps=600, step_s=0.05)
    await owner.until(proposal, "wait")
    began = time.monotonic()
    await cluster.cancel(proposal.actor, proposal.job, 1)
    outcome = await owner.outcome(proposal)
    assert (outcome.status, outcome.wiped) == ("cancelled", True)
    assert time.monotonic() - began < 1


async def test_failures_are_outcomes_by_kind(owner: Owner, photo: Photo) -> None:
    fault = await owner.do(photo, fail=True)
    assert (fault.status, fault.kind, fault.reason, fault.wiped) == ("failed", "transient", "engine-fault", True)
    params = await owner.do(photo, no_such_param=1)
    assert (params.kind, params.reason) == ("permanent", "bad-params")
    absent = await owner.do(Photo(b"never put"))
    assert (absent.kind, absent.reason) == ("transient", "no-such-object")


async def test_an_older_fence_and_a_used_offer_are_refused(owner: Owner, photo: Photo) -> None:
    first = await owner.proposal(await owner.submit())
    await owner.start(first, photo, Photo(b""), fence=7)
    await owner.outcome(first, fence=7)
    with pytest.raises(LeaseRefused, match="stale-fence"):
        await owner.start(first, photo, Photo(b""), fence=6)
    with pytest.raises(LeaseRefused, match="offer-gone"):
        await owner.start(first, photo, Photo(b""), fence=8)


async def test_an_envelope_for_another_fence_does_not_open(owner: Owner, photo: Photo) -> None:
    proposal = await owner.proposal(await owner.submit())
    task = msgspec.structs.replace(owner.task(proposal, photo, Photo(b""), fence=1), fence=2)
    await owner.cluster.start(proposal.actor, task)
    outcome = await owner.outcome(proposal, fence=2)
    assert (outcome.kind, outcome.reason, outcome.wiped) == ("permanent", "tampered", True)


async def test_an_unanswered_proposal_is_taken_back_and_made_again(owner: Owner, photo: Photo) -> None:
    job = await owner.submit()
    work = owner.waiting[job]
    late = await owner.proposal(job)
    await owner.submit_again(work)  # the same job, so that the next proposal is not declined
    again = await owner.proposal(job)
    assert again.offer != late.offer or again.actor != late.actor
    with pytest.raises(LeaseRefused):
        await owner.start(late, photo, Photo(b""))
    await owner.start(again, photo, Photo(b""))
    assert (await owner.outcome(again)).status == "succeeded"


async def test_a_busy_actor_takes_one_more_lease_when_it_is_nearly_free(owner: Owner, photo: Photo) -> None:
    first = await owner.proposal(await owner.submit(cost_s=0.5))
    await owner.start(first, photo, Photo(b""), steps=40, step_s=0.05)
    await owner.until(first, "wait")
    second = await owner.proposal(await owner.submit(cost_s=0.5))
    await owner.start(second, photo, Photo(b""))
    assert second.actor == first.actor
    assert (await owner.cluster.progress(first.actor, first.job, 1)).outcome is None
    assert (await owner.outcome(second)).status == "succeeded"
    assert (await owner.outcome(first)).status == "succeeded"


async def test_a_killed_actor_is_lost_and_replaced(cluster: Cluster, owner: Owner, photo: Photo) -> None:
    proposal = await owner.proposal(await owner.submit(cost_s=30))
    await owner.start(proposal, photo, Photo(b""), steps=600, step_s=0.05)
    await owner.until(proposal, "wait")
    os.kill(int((await cluster.facts(proposal.actor))["pid"]), signal.SIGKILL)
    with pytest.raises(ActorLost) as lost:
        await owner.outcome(proposal)
    assert lost.value.kind == ACTOR_GONE
    with pytest.raises(ActorLost):
        await cluster.progress(proposal.actor, proposal.job, 1)
    with pytest.raises(ActorUnknown):
        await cluster.progress("engine-noop-999", proposal.job, 1)
    assert (await owner.do(photo)).status == "succeeded"


async def test_an_actor_that_we_end_is_no_crash(cluster: Cluster, owner: Owner, photo: Photo) -> None:
    proposal = await owner.proposal(await owner.submit(cost_s=30))
    await owner.start(proposal, photo, Photo(b""), steps=600, step_s=0.05)
    await owner.until(proposal, "wait")
    await asyncio.to_thread(ray.kill, ray.get_actor(proposal.actor, namespace=CONFIG.namespace))
    with pytest.raises(ActorKilled):
        await owner.outcome(proposal)


async def test_a_smaller_profile_fits_where_the_usual_one_does_not(owner: Owner, photo: Photo) -> None:
    full = await owner.do(photo, fill=True)
    assert (full.status, full.kind, full.reason, full.wiped) == ("failed", "resource", "MemoryError", True)
    assert (await owner.do(photo, profile="small", fill=True)).status == "succeeded"
    unknown = await owner.do(photo, profile="enormous")
    assert (unknown.kind, unknown.reason) == ("permanent", "bad-task")


async def test_actors_are_recycled_under_load_and_no_lease_is_cut(cluster: Cluster, owner: Owner, photo: Photo) -> None:
    before = (await pool(cluster)).recycled
    outcomes = await asyncio.gather(*(owner.do(photo) for _ in range(3 * RECYCLE_JOBS)))
    assert {outcome.status for outcome in outcomes} == {"succeeded"}
    assert (await pool(cluster)).recycled > before
    assert len(await actors()) <= CONFIG.max_actors


async def test_the_scheduler_dies_under_load_and_nothing_is_lost(cluster: Cluster, owner: Owner, photo: Photo) -> None:
    kept = await owner.proposal(await owner.submit())
    await owner.start(kept, photo, Photo(b""))
    assert (await owner.outcome(kept, ack=False)).status == "succeeded"
    pid = (await cluster.facts(kept.actor))["pid"]
    epoch = await cluster.epoch()
    flow = asyncio.gather(*(owner.do(photo, steps=2, step_s=0.02) for _ in range(60)))
    handle = ray.get_actor("scheduler", namespace=CONFIG.namespace)
    await asyncio.to_thread(ray.kill, handle, no_restart=False)
    assert {outcome.status for outcome in await flow} == {"succeeded"}
    assert owner.restarts
    assert await cluster.epoch() != epoch
    assert (await cluster.facts(kept.actor))["pid"] == pid  # adopted, not replaced
    assert (await owner.outcome(kept)).status == "succeeded"  # kept until now

    async def none() -> bool:
        return await actors() == []

    await until(none)  # and no adopted one was forgotten
