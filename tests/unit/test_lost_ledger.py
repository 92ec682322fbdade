"""A ledger lost in the very turn of the loop in which a commit ended: whoever waited for that commit is told nothing.

With a lost ledger's rows gone, a job that succeeded would otherwise look like one without a result, or like one gone.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
import pytest_asyncio

from stream.agents import api, owner
from stream.agents.book import Job
from stream.events.bus import Outcome, OutputFacts
from stream.events.rows import JobState
from stream.ledger import Change, Commit, LedgerLost
from tests.unit.desk import APP, TENANT, Desk

MADE = Outcome("succeeded", outputs=(OutputFacts("result", 9, "image/png", 3, 3),), wiped=True)


@pytest_asyncio.fixture
async def desk(tmp_path: Path) -> Desk:
    return await Desk(tmp_path).open()


async def succeeded(desk: Desk) -> Job:
    job, _ = await desk.leased(await desk.uploaded())
    await desk.outcome(job, MADE)
    assert desk.job(job.id).head.state is JobState.SUCCEEDED
    return desk.job(job.id)


def commit_and_lose(desk: Desk) -> None:
    """As a rebalance does that comes while the writer's answers are on their way."""
    (_, future), *_ = desk.ledger._queue
    assert desk.ledger._written is not None
    desk.ledger._queue = []
    future.set_result(Commit(desk.clock.now()))
    desk.ledger._written.set_result(Commit(desk.clock.now()))
    desk.ledger._lose(LedgerLost("a rebalance"), tell=False)


async def test_a_success_is_not_told_without_its_result(desk: Desk) -> None:
    job = await succeeded(desk)
    desk.estate.commit(Change())  # somebody else's, so that there is a commit to wait for
    asking = asyncio.create_task(owner.get_job(desk.estate, api.GetJob(tenant=TENANT, app=APP, job=job.id)))
    await asyncio.sleep(0)
    commit_and_lose(desk)
    (view,) = await asyncio.gather(asking)
    assert [asset.role for asset in view.assets] == ["input", "result"]
    assert view.state == "succeeded"


async def test_what_was_begun_is_not_told_as_gone(desk: Desk) -> None:
    asking = asyncio.create_task(
        owner.submit(
            desk.estate,
            api.Submit(
                tenant=TENANT,
                app=APP,
                subject="alice",
                operation="noop",
                params=b"{}",
                choice="save",
                inputs=(api.InputSlot(),),
            ),
        )
    )
    await asyncio.sleep(0)
    commit_and_lose(desk)
    with pytest.raises(LedgerLost):
        await asking


async def test_rows_are_not_read_as_absent(desk: Desk) -> None:
    job = await succeeded(desk)
    desk.ledger._lose(LedgerLost("a rebalance"), tell=False)
    for read in (lambda: desk.book.job(job.id), desk.ledger.items, desk.ledger.keys):
        with pytest.raises(LedgerLost):
            read()


async def test_what_follows_a_commit_is_left_to_the_next_owner(desk: Desk) -> None:
    heard: list[Commit] = []
    desk.estate.commit(Change(then=[heard.append]))
    commit_and_lose(desk)
    await asyncio.sleep(0)
    assert heard == []
