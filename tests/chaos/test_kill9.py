"""Workers and the scheduler are killed while jobs flow: none is lost, none is committed twice, none comes back."""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import sys
import time
from collections import Counter, defaultdict
from typing import Any

import httpx
import pytest

from services.local.system import SETTINGS_FILE, System
from stream import topics
from stream.events.rows import AssetHead, AssetState, JobHead, JobState, rows
from tests.chaos.load import Load
from tests.integration.client import APP, Client, asset_of, eventually, records

pytestmark = pytest.mark.stack

JOBS = 500
KILLS = 5
WAVE = JOBS // KILLS
TAKEOVER_S = 15.0
END_S = 300.0  # for those that have not ended; no bound on anything


async def history(system: System) -> dict[bytes, list[bytes | None]]:
    """Every value that each key of the ledger was given, in order."""
    found: defaultdict[bytes, list[bytes | None]] = defaultdict(list)
    for record in await records(system.settings.kafka, topics.LEDGER, system.settings.partitions):
        found[record.key].append(record.value)
    return found


def judge(rows_of: dict[bytes, list[bytes | None]], load: Load) -> None:
    """Each job once in its final state, with one result; nothing that was erased came back.

    Of what was erased, compaction may have left no more than a tombstone, or nothing.
    """
    results: Counter[str] = Counter()
    for key, values in rows_of.items():
        assert None not in values or set(values[values.index(None) :]) == {None}, f"{key!r} came back"
        heads = [rows.decode(value)[0] for value in values if value is not None and key.startswith((b"job", b"ast"))]
        if heads and isinstance(last := heads[-1], AssetHead) and last.role == "result":
            results[last.job] += any(isinstance(h, AssetHead) and h.state is AssetState.STORED for h in heads)
        if key.decode() in load.ended:
            states = [head.state for head in heads if isinstance(head, JobHead)]
            first = states.index(JobState.SUCCEEDED)
            assert set(states[first:]) == {JobState.SUCCEEDED}, states
    assert len(load.ended) == load.jobs
    assert Counter(view["state"] for view in load.ended.values()) == {"succeeded": load.jobs}
    assert load.without == []
    assert max(results.values()) == 1
    assert all(results[job] == 1 for job, view in load.ended.items() if not asset_of(view, "result").get("on_return"))


async def serving(system: System, probes: list[dict[str, Any]], client: Client) -> bool:
    """Whether each partition answers."""
    answers = await asyncio.gather(
        *(client.get(f"/v1/{APP}/jobs/{probe['id']}") for probe in probes), return_exceptions=True
    )
    return all(isinstance(answer, httpx.Response) and answer.status_code == 200 for answer in answers)


async def test_a_worker_killed_five_times(system: System) -> None:
    chance = random.Random(20_26)
    async with Client(system, *await system.tenant(APP)) as client:
        probes = [(await client.submit(client.place(n))).json() for n in range(system.settings.partitions)]
        load = Load(client, JOBS)
        load.allowed = WAVE
        running = asyncio.create_task(load.run())
        takeovers: list[float] = []
        for kill in range(KILLS):
            await load.until(kill * WAVE // 2 + chance.randrange(WAVE // 2))
            victim = system.child(chance.choice(["worker-1", "worker-2"]))
            assert victim is not None
            restarts = system.restarts
            assert not running.done()
            os.kill(victim.pid, signal.SIGKILL)
            killed_at = time.monotonic()
            load.allowed += WAVE

            async def noticed(restarts: int = restarts) -> bool:
                return system.restarts > restarts

            await eventually(noticed)
            await eventually(lambda: serving(system, probes, client))
            takeovers.append(time.monotonic() - killed_at)

            async def whole() -> bool:
                return len(await system.estates()) == system.settings.partitions

            await eventually(whole)
        await asyncio.wait_for(running, END_S)
        assert max(takeovers) < TAKEOVER_S, takeovers
        judge(await history(system), load)


async def engines(system: System, *options: str) -> dict[str, int]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.chaos.engines", str(system.folder / SETTINGS_FILE), *options),
        stdout=asyncio.subprocess.PIPE,
    )
    output, _ = await process.communicate()
    assert process.returncode == 0
    found: dict[str, int] = json.loads(output.splitlines()[-1])
    return found


async def test_the_scheduler_killed_under_load(system: System) -> None:
    async with Client(system, *await system.tenant(APP)) as client:
        load = Load(client, JOBS)
        running = asyncio.create_task(load.run())
        await load.until(10)
        before = await engines(system, "--kill-scheduler")
        assert not running.done()
        await asyncio.wait_for(running, END_S)
        after = await engines(system)
        assert before
        assert before.items() <= after.items()  # they lived on, and were taken up again
        judge(await history(system), load)
