"""Gauges that are measured when somebody asks, answers that are counted, and the slack of each erasure."""

from __future__ import annotations

import asyncio
import math
from pathlib import Path
from typing import Any

import msgspec
import pytest
import pytest_asyncio
from aiohttp import web
from aiohttp.test_utils import make_mocked_request
from prometheus_client import REGISTRY

from ray_cluster.pools import PoolStatus
from services import scraping
from stream.agents.certify import Certifier
from stream.errors import StoreUnavailable
from stream.events.rows import Parked, rows
from stream.ledger import Change, Commit
from stream.metrics import jobs
from tests.unit.desk import APP, Desk


@pytest_asyncio.fixture
async def desk(tmp_path: Path) -> Desk:
    return await Desk(tmp_path).open()


def told(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(name, labels) or 0.0


async def pools() -> list[PoolStatus]:
    return [
        PoolStatus(
            "draw",
            queued=7,
            actors=5,
            starting=1,
            leased=2,
            draining=1,
            desired=6,
            reason="",
            failed_starts=3,
            paused=True,
        ),
        PoolStatus("noop", queued=0, actors=0, starting=0, leased=0, draining=0, desired=0, reason=""),
    ]


class TestPartitions:
    async def test_what_is_due_and_not_done_is_told(self, desk: Desk) -> None:
        await scraping.refresh([desk.estate], pools)
        assert told("mayfly_promise_lag_seconds") == 0.0
        assert told("mayfly_partitions_owned") == 1
        job = await desk.submit()
        due = desk.book.next_due()
        assert due is not None
        desk.clock.moment = due + 4
        await scraping.refresh([desk.estate], pools)
        assert told("mayfly_promise_lag_seconds") == 4.0
        assert job.id in desk.book.active

    async def test_parked_events_and_old_leases(self, desk: Desk) -> None:
        row = Parked(topic="upload", offset=1, reason="undecodable", at=0.0, due=9e9)
        done = msgspec.structs.replace(row, offset=2, handled="replayed")
        for one in (row, done):
            key = f"parked/upload/{one.offset}".encode()
            desk.estate.commit(Change(rows={key: rows.encode(one)}))
            desk.book.index_due(one.due, key)
        await desk.commit()
        await desk.leased(await desk.uploaded())
        jobs.LEASE_AGE_S.labels("left").set(9.0)
        await scraping.refresh([desk.estate], pools)
        assert told("mayfly_parked_events", topic="upload") == 1
        assert told("mayfly_parked_events", topic="expire") == 0
        assert told("mayfly_lease_age_seconds", pool="left") == 0.0  # nothing of it is leased any more
        await scraping.refresh([], pools)
        assert told("mayfly_parked_events", topic="upload") == 0


class TestPools:
    async def test_actors_by_what_they_do(self) -> None:
        await scraping.refresh([], pools)
        found = {state: told("mayfly_pool_actors", pool="draw", state=state) for state in scraping.scraped.STATES}
        assert found == {"leased": 2, "idle": 1, "starting": 1, "draining": 1}
        assert told("mayfly_pool_utilisation", pool="draw") == 0.4
        assert told("mayfly_pool_utilisation", pool="noop") == 0.0
        assert told("mayfly_pool_queued", pool="draw") == 7
        assert told("mayfly_pool_failed_starts", pool="draw") == 3
        assert (told("mayfly_pool_paused", pool="draw"), told("mayfly_pool_paused", pool="noop")) == (1, 0)

    async def test_a_scheduler_that_is_away_holds_up_no_scrape(self, monkeypatch: pytest.MonkeyPatch) -> None:
        async def away() -> list[PoolStatus]:
            raise StoreUnavailable("expected a scheduler")

        async def silent() -> list[PoolStatus]:
            await asyncio.Event().wait()
            return []

        monkeypatch.setattr(scraping, "POOLS_S", 0.01)
        for lost in (away, silent):
            await scraping.refresh([], lost)
            assert told("mayfly_scheduler_silent") == 1
            await scraping.refresh([], pools)
            assert told("mayfly_scheduler_silent") == 0


class TestAnswers:
    @pytest.mark.parametrize(("verb", "label"), [("submit", "submit"), ("nonsense", "other"), (None, "other")])
    async def test_an_answer_counts_by_its_verb(self, verb: str | None, label: str) -> None:
        def before() -> dict[str, float]:
            return {
                status: told("mayfly_owner_answers_total", verb=label, status=status)
                for status in ("200", "401", "500")
            }

        request: Any = make_mocked_request("POST", "/", match_info={"verb": verb} if verb else {})
        start = before()

        async def fine(_: web.Request) -> web.StreamResponse:
            return web.Response()

        async def unknown(_: web.Request) -> web.StreamResponse:
            raise web.HTTPUnauthorized

        async def broken(_: web.Request) -> web.StreamResponse:
            raise ZeroDivisionError

        await scraping.counted(request, fine)
        with pytest.raises(web.HTTPUnauthorized):
            await scraping.counted(request, unknown)
        with pytest.raises(ZeroDivisionError):
            await scraping.counted(request, broken)
        assert {status: count - start[status] for status, count in before().items()} == dict.fromkeys(start, 1)


class TestSlack:
    async def slack(self, desk: Desk, late_s: float, **head: Any) -> tuple[float, float, float]:
        """(how many, their sum, how many were late) that one erasure adds."""
        job = await desk.submit()
        asset = desk.asset(job.body.inputs[0])  # type: ignore[union-attr]
        changed = msgspec.structs.replace(asset.head, hidden_at=1.0, cause="deadline", **head)
        labels = {"app": APP, "data_class": asset.head.data_class}
        name = "mayfly_erasure_slack_seconds"

        def now() -> tuple[float, float, float]:
            return (
                told(f"{name}_count", **labels),
                told(f"{name}_sum", **labels),
                told(f"{name}_bucket", **labels, le="0.0"),
            )

        before = now()
        gone = type(asset)(asset.id, changed, None)
        Certifier(desk.estate).certify(Change(), [gone], Commit(0.0), asset.head.ceiling + late_s)
        one, two, three = (after - at for at, after in zip(before, now(), strict=True))
        return one, two, three

    async def test_time_left_is_told_and_none_left_is_late(self, desk: Desk) -> None:
        assert await self.slack(desk, -60.0) == (1, 60.0, 0)
        assert await self.slack(desk, 0.0) == (1, 0.0, 1)
        assert await self.slack(desk, 2.5) == (1, -2.5, 1)

    async def test_what_a_hold_kept_and_what_has_no_ceiling_is_not_measured(self, desk: Desk) -> None:
        assert await self.slack(desk, 1e6, hold=b"case") == (0, 0, 0)
        assert await self.slack(desk, 1e6, released=True) == (0, 0, 0)
        assert await self.slack(desk, 1e6, ceiling=math.inf) == (0, 0, 0)
