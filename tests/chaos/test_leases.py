"""A worker that is paused while its jobs run, and wakes when another has finished them: its words count no more."""

from __future__ import annotations

import asyncio
import os
import signal
from collections import Counter

import pytest

from services.local.system import System
from stream.events.rows import AssetHead, AssetState, JobHead, JobState, rows
from tests.chaos.test_kill9 import history
from tests.integration.client import APP, Client, asset_of, eventually

pytestmark = pytest.mark.stack

JOBS = 12
PATIENCE_S = 60.0


async def test_a_worker_that_wakes_late(system: System) -> None:
    async with Client(system, *await system.tenant(APP)) as client:
        places = [client.place(n % system.settings.partitions) for n in range(JOBS)]
        params = {"steps": 30, "step_s": 0.05}
        begun = [await client.begin(place, params=params) for place in places]

        async def some_run() -> bool:
            views = await asyncio.gather(*(client.job(job["id"]) for job in begun))
            return sum(view["state"] == "leased" for view in views) >= 2

        await eventually(some_run)
        paused, restarts = system.child("worker-1"), system.restarts
        assert paused is not None
        os.kill(paused.pid, signal.SIGSTOP)
        try:
            ended = []
            async with asyncio.timeout(PATIENCE_S):
                for job in begun:
                    while not (answer := await client.get(f"/v1/{APP}/jobs/{job['id']}")).is_success or (
                        answer.json()["state"] in {"awaiting", "queued", "leased", "ending"}
                    ):
                        await asyncio.sleep(0.1)
                    ended.append(answer.json())
        finally:
            os.kill(paused.pid, signal.SIGCONT)

        async def fenced_and_back() -> bool:
            return system.restarts > restarts and len(await system.estates()) == system.settings.partitions

        await eventually(fenced_and_back, within_s=PATIENCE_S)
        assert Counter(view["state"] for view in ended) == {"succeeded": JOBS}
        for view in ended:
            assert (await client.asset(asset_of(view, "result")["id"])).status_code == 200
        states, results = await _states(system)
        for view in ended:
            mine = states[view["id"]]
            assert set(mine[mine.index(JobState.SUCCEEDED) :]) == {JobState.SUCCEEDED}, mine
            assert results[view["id"]] == 1


async def _states(system: System) -> tuple[dict[str, list[JobState]], Counter[str]]:
    """Each job's states in order, and how many results were ever stored for it."""
    states: dict[str, list[JobState]] = {}
    results: Counter[str] = Counter()
    for key, values in (await history(system)).items():
        heads = [rows.decode(value)[0] for value in values if value is not None and key.startswith((b"job", b"ast"))]
        if heads and isinstance(heads[-1], JobHead):
            states[key.decode()] = [head.state for head in heads if isinstance(head, JobHead)]
        elif heads and isinstance(last := heads[-1], AssetHead) and last.role == "result":
            results[last.job] += any(isinstance(h, AssetHead) and h.state is AssetState.STORED for h in heads)
    return states, results
