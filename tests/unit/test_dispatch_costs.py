"""A dispatcher predicts by the pixels that intake found, and learns from what attempts took, and from nothing else."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
import pytest_asyncio
from prometheus_client import REGISTRY

from ray_cluster.costs import ENOUGH
from services.costs import LearntCosts
from stream.agents import sizes
from stream.agents.dispatch import WANTED_S, Dispatcher
from stream.events.bus import Outcome
from stream.events.lease import UNKNOWN_SIZE, Progress, Size, Work
from stream.events.rows import JobState
from tests.unit.desk import FACTS, Desk

MEGAPIXELS = FACTS.width * FACTS.height / 1e6
PREDICTED = "mayfly_cost_predicted_over_actual_count"


@pytest_asyncio.fixture
async def desk(tmp_path: Path) -> Desk:
    return await Desk(tmp_path).open()


class Cluster:
    """One actor, whose attempts end as told."""

    def __init__(self, *outcomes: Outcome) -> None:
        self.outcomes = list(outcomes)
        self.submitted: list[Work] = []

    async def progress(self, _actor: str, job: str, fence: int, **_: object) -> Progress:
        return Progress(job, fence, 1, outcome=self.outcomes.pop(0))

    async def ack(self, *_: object) -> None:
        pass


def dispatcher(desk: Desk, costs: LearntCosts, *outcomes: Outcome) -> Dispatcher:
    return Dispatcher(
        Cluster(*outcomes),  # type: ignore[arg-type]
        "worker",
        owner=lambda _: desk.estate,
        pool=lambda _: "noop",
        cost_s=costs.cost_s,
        learn=costs.learn,
    )


async def attempted(desk: Desk, costs: LearntCosts, outcome: Outcome) -> None:
    job, _ = await desk.leased(await desk.uploaded())
    assert job.head.state is JobState.LEASED
    following = asyncio.create_task(
        dispatcher(desk, costs, outcome)._follow(desk.estate, job.id, job.head.fence, job.head.actor)
    )
    while not following.done():
        await asyncio.sleep(0)
        await desk.commit()
    await following
    desk.events.clear()  # what the agents make of it is told elsewhere


async def test_size_is_what_intake_found_and_the_request_asks(desk: Desk) -> None:
    job = await desk.submit(params=b'{"steps":12}')
    assert sizes.each(desk.estate, job) == {
        0: Size(UNKNOWN_SIZE.megapixels, 1, 1)
    }  # no input is there, nothing is asked yet
    job = await desk.uploaded(params=b'{"steps":12}')
    assert sizes.each(desk.estate, job) == {0: Size(MEGAPIXELS, 1, 12)}


@pytest.mark.parametrize("params", [b"", b"{}", b"nonsense", b'{"steps":"8"}', b'{"steps":0}', b'{"steps":1e9}', b"[]"])
def test_without_a_number_of_steps_there_is_one(params: bytes) -> None:
    assert sizes.steps(params) == 1


async def test_work_is_predicted_by_its_size_and_wanted_after_its_own_time(desk: Desk) -> None:
    asked: list[tuple[str, Size]] = []

    class Slow(LearntCosts):
        def cost_s(self, operation: str, size: Size) -> float:
            asked.append((operation, size))
            return 500.0

    job = await desk.uploaded()
    waiting = dispatcher(desk, Slow())
    waiting.ready(job.id)
    (work,) = waiting._queue.values()
    assert asked == [("noop", Size(MEGAPIXELS, 1, 1))]
    assert (work.cost_s, work.deadline) == (500.0, desk.clock.now() + WANTED_S[job.head.lane] + 500.0)


async def test_what_succeeded_is_learnt_by_the_engines_seconds(desk: Desk) -> None:
    costs, size = LearntCosts(), Size(MEGAPIXELS, 1, 1)
    before = REGISTRY.get_sample_value(PREDICTED, {"operation": "noop"}) or 0
    for _ in range(ENOUGH):
        await attempted(desk, costs, Outcome("succeeded", seconds=9.0, engine_s=3.0, wiped=True))
    assert costs.cost_s("noop", size) == pytest.approx(3.0)
    assert REGISTRY.get_sample_value(PREDICTED, {"operation": "noop"}) == before + ENOUGH
    for share in ("0.5", "0.9"):
        told = REGISTRY.get_sample_value("mayfly_cost_seconds", {"operation": "noop", "share": share})
        assert told == pytest.approx(3.0)
    for _ in range(2 * ENOUGH):  # an actor of before that figure was told
        await attempted(desk, costs, Outcome("succeeded", seconds=9.0, wiped=True))
    assert costs.cost_s("noop", size) > 3.0


async def test_what_failed_teaches_nothing(desk: Desk) -> None:
    costs, size = LearntCosts(), Size(MEGAPIXELS, 1, 1)
    seeded = costs.cost_s("noop", size)
    for _ in range(ENOUGH):
        await attempted(desk, costs, Outcome("failed", kind="permanent", reason="x", seconds=90.0, wiped=True))
    assert costs.cost_s("noop", size) == seeded


def test_seconds_that_no_attempt_takes_are_counted() -> None:
    costs = LearntCosts()
    name, label = "mayfly_cost_unusable_total", {"operation": "detect"}
    before = REGISTRY.get_sample_value(name, label) or 0
    costs.learn("detect", UNKNOWN_SIZE, 0.0)
    assert REGISTRY.get_sample_value(name, label) == before + 1
