"""A job waits in the lane that it was submitted to, and that lane says when its result is wanted."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from ray_cluster.lanes import LANE_WEIGHTS
from services.gateway import bodies
from services.gateway.errors import BadBody
from stream.agents.dispatch import WANTED_S, Dispatcher
from stream.events.lease import Work
from stream.events.rows import JobHead, JobState, Lane, rows
from tests.unit.desk import Desk


class Cluster:
    """Takes what is submitted."""

    def __init__(self) -> None:
        self.works: list[Work] = []

    async def epoch(self) -> str:
        return "one"

    async def submit(self, works: list[Work]) -> None:
        self.works += works

    async def proposals(self, _worker: str, _wait_s: float) -> list[object]:
        await asyncio.Event().wait()
        return []


def test_every_lane_is_one_of_the_schedulers_and_has_a_time_of_its_own():
    assert list(Lane) == list(LANE_WEIGHTS)
    assert list(WANTED_S) == list(Lane)
    assert sorted(WANTED_S.values()) == list(WANTED_S.values())


@pytest.mark.parametrize("lane", Lane)
async def test_a_job_waits_in_its_lane(tmp_path: Path, lane: Lane) -> None:
    desk = await Desk(tmp_path).open()
    job = await desk.uploaded(lane=lane)
    cluster = Cluster()
    dispatcher = Dispatcher(
        cluster,  # type: ignore[arg-type]
        "worker",
        owner=lambda _: desk.estate,
        pool=str,
        cost_s=lambda _operation, _size: 1.0,
    )
    dispatcher.ready(job.id)
    running = asyncio.create_task(dispatcher.run())
    while not cluster.works:
        await asyncio.sleep(0)
    running.cancel()
    assert [(work.lane, work.deadline) for work in cluster.works] == [(lane, desk.clock.now() + WANTED_S[lane] + 1.0)]


def test_a_row_from_before_there_were_lanes_is_interactive():
    before = JobHead(app="a", state=JobState.QUEUED, created_at=0.0, due=1.0)
    assert b"lane" not in rows.encode(before)
    header, _ = rows.decode(rows.encode(before))
    assert isinstance(header, JobHead)
    assert header.lane is Lane.INTERACTIVE


@pytest.mark.parametrize("lane", ["", "Batch", "batch\n", "express"])
def test_no_other_lane_is_taken(lane: str) -> None:
    with pytest.raises(BadBody):
        bodies.decode(
            b'{"subject": "s", "operation": "noop", "inputs": [{}], "lane": "%s"}' % lane.replace("\n", "\\n").encode(),
            bodies.SubmitBody,
        )
