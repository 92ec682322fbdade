"""A worker asks which scheduler it talks to now and then, and at once where it has doubts."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from ray_cluster.client import SchedulerLost
from stream.agents.dispatch import Dispatcher
from stream.events.lease import Work
from tests.unit.desk import Desk


class Cluster:
    """Takes what is submitted, and is another scheduler once it was `lost`."""

    def __init__(self) -> None:
        self.submitted: list[str] = []
        self.asked = 0
        self.lost = asyncio.Event()

    async def epoch(self) -> str:
        self.asked += 1
        return f"epoch {self.lost.is_set()}"

    async def submit(self, works: list[Work]) -> None:
        self.submitted += [work.job for work in works]

    async def proposals(self, _worker: str, _wait_s: float) -> list[object]:
        await self.lost.wait()
        if self.asked == 1:
            raise SchedulerLost("expected the scheduler as it was")
        await asyncio.Event().wait()
        return []


async def until(cluster: Cluster, jobs: list[str]) -> None:
    async with asyncio.timeout(10):
        while cluster.submitted != jobs:
            await asyncio.sleep(0)


async def test_batches_go_without_asking_until_the_scheduler_is_doubted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stream.agents.dispatch.PLACES_EVERY_S", 3600.0)
    desk = await Desk(tmp_path).open()
    one, two = (await desk.uploaded()).id, (await desk.uploaded(subject="bob")).id
    cluster = Cluster()
    dispatcher = Dispatcher(
        cluster,  # type: ignore[arg-type]
        "worker",
        owner=lambda _: desk.estate,
        pool=str,
        cost_s=lambda _operation, _size: 1.0,
    )
    dispatcher.ready(one)
    running = asyncio.create_task(dispatcher.run())
    await until(cluster, [one])
    dispatcher.ready(two)
    await until(cluster, [one, two])
    assert cluster.asked == 1
    cluster.lost.set()  # by then it has forgotten what was queued
    await until(cluster, [one, two, one, two])
    assert cluster.asked == 2
    running.cancel()
