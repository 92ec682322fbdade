"""How long jobs waited and what became of their leases, as the rows of a real owner go by."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest
import pytest_asyncio
from prometheus_client import REGISTRY

from stream.agents import api, api_operator, jobs
from stream.agents.passage import ENDS, Passage
from stream.events.bus import Outcome, OutputFacts
from stream.events.rows import JobState, Lane
from stream.metrics import jobs as metrics
from tests.unit.desk import APP, TENANT, Desk

MADE = Outcome("succeeded", outputs=(OutputFacts("result", 9, "image/png", 3, 3),), wiped=True)


class Time:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest_asyncio.fixture
async def clock(desk: Desk) -> Time:
    clock = Time()
    desk.estate.passage = Passage(lambda operation: operation, monotonic=clock)
    return clock


@pytest_asyncio.fixture
async def desk(tmp_path: Path) -> Desk:
    return await Desk(tmp_path).open()


def leased_s() -> dict[str, float]:
    return {end: metrics.LEASE_S.labels("noop", end)._value.get() for end in ENDS}


def since(before: dict[str, float]) -> dict[str, float]:
    return {end: seconds - before[end] for end, seconds in leased_s().items() if seconds != before[end]}


def waited(lane: Lane) -> Any:
    labels = {"pool": "noop", "lane": lane.value}
    return tuple(
        REGISTRY.get_sample_value(f"mayfly_lane_wait_seconds_{part}", labels) or 0 for part in ("count", "sum")
    )


async def test_a_wait_is_told_by_lane_and_a_lease_that_was_of_use(desk: Desk, clock: Time) -> None:
    before, (count, total) = leased_s(), waited(Lane.BATCH)
    job = await desk.uploaded(lane=Lane.BATCH)
    clock.now += 7
    leased, _ = await desk.leased(job)
    assert waited(Lane.BATCH) == (count + 1, total + 7)
    clock.now += 3
    assert desk.estate.passage.oldest_leases() == {"noop": 3.0}
    await desk.outcome(leased, MADE)
    assert since(before) == {"useful": 3.0}
    assert desk.estate.passage.oldest_leases() == {}


@pytest.mark.parametrize(("kind", "end"), [("transient", "retried"), ("permanent", "failed")])
async def test_an_attempt_that_made_nothing_is_waste(desk: Desk, clock: Time, kind: str, end: str) -> None:
    before = leased_s()
    leased, _ = await desk.leased(await desk.uploaded())
    clock.now += 5
    await desk.outcome(leased, Outcome("failed", kind=kind, reason="engine-fault", wiped=True))
    assert since(before) == {end: 5.0}


async def test_a_pause_before_the_next_try_is_no_wait(desk: Desk, clock: Time) -> None:
    count, total = waited(Lane.INTERACTIVE)
    leased, _ = await desk.leased(await desk.uploaded())
    assert waited(Lane.INTERACTIVE) == (count + 1, total)
    await desk.outcome(leased, Outcome("failed", kind="transient", reason="engine-fault", wiped=True))
    clock.now += desk.estate.rules.retry_after_s[0] + 2
    await desk.leased(desk.job(leased.id))
    assert waited(Lane.INTERACTIVE) == (count + 2, total + 2)


async def test_a_lease_before_its_pause_was_over_lasts_no_less_than_nothing(desk: Desk, clock: Time) -> None:
    before, (count, total) = leased_s(), waited(Lane.INTERACTIVE)
    leased, _ = await desk.leased(await desk.uploaded())
    for _ in range(2):  # an operator has it tried at once, and clocks differ
        await desk.outcome(leased, Outcome("failed", kind="transient", reason="engine-fault", wiped=True))
        leased, _ = await desk.leased(desk.job(leased.id))
        clock.now += 1
    assert since(before) == {"retried": 1.0}
    assert waited(Lane.INTERACTIVE) == (count + 3, total)


async def test_a_lease_that_nobody_took_up_is_told_apart(desk: Desk, clock: Time) -> None:
    before = leased_s()
    leased, _ = await desk.leased(await desk.uploaded())
    clock.now += 1
    await desk.do(jobs.unstarted, leased)
    assert since(before) == {"unstarted": 1.0}


async def test_a_cancelled_lease_is_waste(desk: Desk, clock: Time) -> None:
    before = leased_s()
    for ask in (lambda job: api.DeleteJob(TENANT, APP, job), api_operator.CancelJob):
        leased, _ = await desk.leased(await desk.uploaded())
        clock.now += 2
        await desk.ask(ask(leased.id))
    assert since(before) == {"cancelled": 4.0}


async def test_a_new_owner_counts_from_its_takeover(desk: Desk, clock: Time) -> None:
    leased, _ = await desk.leased(await desk.uploaded())
    clock.now = 100.0
    fresh = desk.estate.passage = Passage(lambda operation: operation, monotonic=clock)
    desk.estate.count_jobs()
    clock.now += 4
    assert fresh.oldest_leases() == {"noop": 4.0}
    before = leased_s()
    expired = msgspec.structs.replace(leased.head, state=JobState.ENDING, ending=JobState.EXPIRED)
    fresh.put(type(leased)(leased.id, expired, leased.body))
    assert since(before) == {"expired": 4.0}
