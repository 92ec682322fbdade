"""Rows that are kept opened: those of unfinished jobs, each only as long as its key lives."""

from __future__ import annotations

from pathlib import Path

import pytest
import pytest_asyncio

from stream.agents import assets
from stream.agents.book import Job
from stream.agents.opened import Opened
from stream.events.bus import Outcome, OutputFacts
from stream.ids import Kind, Mint, entry_of
from stream.ledger import Change
from stream.vault import record
from stream.vault.pages import KeyPages
from stream.vault.rootstore_file import FileRootStore
from stream.vault.secret import Key
from tests.unit.desk import TENANT, Desk

MADE = Outcome("succeeded", outputs=(OutputFacts("result", 9, "image/png", 3, 3),), wiped=True)


@pytest_asyncio.fixture
async def desk(tmp_path: Path) -> Desk:
    return await Desk(tmp_path).open()


def living(desk: Desk) -> set[str]:
    """The rows whose bodies stay open in memory."""
    return set(desk.book._opened._rows)


async def test_a_row_of_a_job_under_way_is_opened_once(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    job, _ = await desk.leased(await desk.uploaded())
    assert job.body is not None
    ids = [asset.id for asset in desk.book.assets_of(job)]
    opened: list[bytes] = []

    def opening(key: Key, sealed: bytes, place: bytes) -> bytes:
        opened.append(place)
        return record.open_body(key, sealed, place)

    monkeypatch.setattr("stream.agents.book.open_body", opening)
    assert [desk.book.job(job.id) for _ in range(3)] == [job] * 3
    assert [desk.book.asset(asset_id) is desk.book.asset(asset_id) for asset_id in ids] == [True] * len(ids)
    assert not opened


async def test_nothing_of_an_ended_job_stays_open(desk: Desk) -> None:
    job, (made,) = await desk.leased(await desk.uploaded())
    assert job.body is not None
    ids = (job.id, job.body.inputs[0], made.id)
    assert desk.asset(ids[1]).body
    assert desk.asset(ids[2]).body
    del job, made
    assert living(desk) == set(ids)
    await desk.outcome(desk.job(ids[0]), MADE)
    await desk.heard()
    assert desk.job(ids[0]).head.state.ended
    assert living(desk) == set()


async def test_an_erasure_lets_go_at_once_of_a_job_under_way(desk: Desk) -> None:
    job = await desk.uploaded()
    assert job.body is not None
    (asset_id,) = job.body.inputs
    assert desk.asset(asset_id).body
    assert asset_id in living(desk)
    assets.forget(desk.estate, Change(), [desk.asset(asset_id)], "request")
    assert asset_id not in living(desk)
    assert desk.asset(asset_id).body is None


async def test_what_a_failed_decision_wrote_is_not_told(desk: Desk) -> None:
    job = await desk.uploaded()
    desk.book.put_job(Change(), Job(job.id, job.head, None))
    desk.book.discard()
    assert desk.job(job.id) == job


async def test_a_closed_estate_lets_go_of_all(desk: Desk) -> None:
    job = (await desk.uploaded()).id
    assert desk.job(job).body is not None
    assert job in living(desk)
    desk.book.close()
    assert living(desk) == set()


async def test_a_row_whose_key_is_dead_is_not_told(tmp_path: Path) -> None:
    pages = KeyPages(0, FileRootStore(tmp_path / "roots"))
    await pages.open({})
    row_id = Mint(bytes(32), 1).mint(Kind.JOB, TENANT, 0)
    page, _ = pages.new_key(b"group", b"\x00" * 8, entry_of(row_id))
    opened, value = Opened[str](pages), b"sealed"
    opened.keep(row_id, value, page, "open")
    assert opened.get(row_id, value) == "open"
    assert opened.get(row_id, bytes(bytearray(value))) is None  # written anew
    pages.erase(page, entry_of(row_id))
    assert opened.get(row_id, value) is None
    assert repr(opened) == "Opened(0)"


async def test_the_oldest_makes_room(tmp_path: Path) -> None:
    pages = KeyPages(0, FileRootStore(tmp_path / "roots"))
    await pages.open({})
    opened, mint, value = Opened[int](pages, limit=2), Mint(bytes(32), 1), b"sealed"
    ids = [mint.mint(Kind.JOB, TENANT, 0) for _ in range(3)]
    for number, row_id in enumerate(ids):
        page, _ = pages.new_key(b"group", b"\x00" * 8, entry_of(row_id))
        opened.keep(row_id, value, page, number)
    assert [opened.get(row_id, value) for row_id in ids] == [None, 1, 2]
