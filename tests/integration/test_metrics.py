"""Anonymised statistics on the real system: two workers count, one publishes, dies, and nothing is published twice."""

from __future__ import annotations

import asyncio
import csv
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

import pytest

from services.local.system import SETTINGS_FILE, System
from stream import topics
from stream.agents.publishing import BUDGET_KEY, PARTITION
from stream.events.rows import Budget, rows
from stream.metrics import cells
from stream.metrics.anonymity import THRESHOLD
from stream.metrics.cells import HOUR_S, HOURS_A_DAY, hour_of
from tests.integration.client import APP, Client, eventually, go_on_to, records, worker_metrics
from tests.integration.test_deadlines import now, owner_of

pytestmark = pytest.mark.stack

ROOT = Path(__file__).parent.parent.parent
USERS = THRESHOLD + 60  # the noise takes that many away once in 10^7 runs
FEW = 20  # and makes these enough once in 10^9
AT_ONCE = 16
HALF_AN_HOUR_S = 1800


async def command(system: System, *words: str) -> str:
    env = os.environ | {"MAYFLY_SETTINGS": str(system.folder / SETTINGS_FILE)}
    process = await asyncio.create_subprocess_exec(*words, cwd=ROOT, env=env, stdout=asyncio.subprocess.PIPE)
    out, _ = await process.communicate()
    assert process.returncode == 0
    return out.decode()


async def account(system: System) -> Budget:
    written = await records(system.settings.kafka, topics.LEDGER, PARTITION + 1)
    header, _ = rows.decode([record.value for record in written if record.key == BUDGET_KEY][-1])
    assert isinstance(header, Budget)
    return header


async def published(system: System) -> list[Any]:
    return await records(system.settings.kafka, topics.STATISTICS, 1)


async def test_an_hour_of_many_users(system: System) -> None:
    async with Client(system, *await system.tenant(APP)) as client:
        # A day of its own: an account is opened for the day after the first look.
        midnight = (hour_of(await now(system)) // HOURS_A_DAY + 1) * HOURS_A_DAY
        await go_on_to(system, midnight * HOUR_S + 5)
        before = await published(system)
        gate = asyncio.Semaphore(AT_ONCE)

        async def one(n: int) -> None:
            async with gate:
                if n < FEW:
                    job = (await client.submit(f"few-{n}")).json()["id"]
                    assert (await client.delete(f"/v1/{APP}/jobs/{job}")).status_code == 202
                    await client.ended(job)
                else:
                    await client.done(f"many-{n}")

        await asyncio.gather(*(one(n) for n in range(FEW + USERS)))
        assert hour_of(await now(system)) == midnight, "expected the jobs to end within the hour"
        await client.done("many-0")  # once more in the same cell: not another user
        assert await published(system) == before

        await go_on_to(system, (midnight + 1) * HOUR_S + 1)
        fresh = await eventually(lambda: _after(system, len(before)), within_s=90)
        (record,) = fresh
        cell = cells.decode(record.value)
        assert record.key == f"{APP}/noop/succeeded/{cells.moment(midnight)}".encode()
        assert (cell.app, cell.operation, cell.outcome) == (APP, "noop", "succeeded")
        assert (cell.hour, cell.partitions, cell.of) == (cells.moment(midnight), 4, 4)
        assert abs(cell.count - USERS) < 60
        assert json.loads(record.value).keys() == cells.schema()["$defs"]["Cell"]["properties"].keys()

        counted = await worker_metrics(system)
        assert counted["mayfly_statistics_published_total", APP] >= 1
        assert counted["mayfly_statistics_suppressed_total", APP] >= 3
        assert counted["mayfly_statistics_suppressed_total", "genzo"] > 0
        assert ("mayfly_statistics_budget_left", APP) in counted

        await go_on_to(system, (midnight + 1) * HOUR_S + HALF_AN_HOUR_S)
        os.kill(await owner_of(system, PARTITION), signal.SIGKILL)
        await system.advance_to((midnight + 2) * HOUR_S + 1)
        await eventually(lambda: _released(system, midnight + 2), within_s=120)
        assert [(r.key, r.value) for r in await published(system)] == [(r.key, r.value) for r in [*before, *fresh]]

        shown = await command(
            system, str(Path(sys.executable).with_name("mayfly")), "metrics", "tail", "--json", "--app", APP
        )
        assert shown.splitlines()[-1].encode() == record.value
        table = list(
            csv.DictReader(
                (
                    await command(system, sys.executable, "examples/usage_by_day.py", "--kafka", system.settings.kafka)
                ).splitlines()
            )
        )
        (line,) = [row for row in table if row["app"] == APP and row["day"] == cell.hour[:10]]
        assert (int(line["users_by_hour"]), line["operation"], line["hours_partly_heard"]) == (cell.count, "noop", "0")
        assert int(line["margin"]) == 12


async def _after(system: System, count: int) -> list[Any]:
    return (await published(system))[count:]


async def _released(system: System, hour: int) -> bool:
    return (await account(system)).next_hour >= hour
