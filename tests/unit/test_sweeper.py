"""The sweeper: what is ready is swept, what is not holds up nobody, and a store that keeps something is asked again."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import msgspec
import pytest
import pytest_asyncio

from stream.agents import sweeper as module
from stream.agents.book import Asset
from stream.agents.certify import Certifier
from stream.agents.estate import Estate
from stream.agents.sweeper import Sweeper
from stream.events.bus import ExpireCompleted
from stream.events.rows import AssetState
from stream.ledger import Change
from tests.unit.desk import Desk
from tests.unit.test_drops import done, finished, told


class Shelf:
    """A custody that remembers what it was asked to delete, and may keep some of it."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.keeps: set[str] = set()

    async def delete(self, names: Iterable[str]) -> None:
        self.asked += names

    async def remaining(self, names: Iterable[str]) -> list[str]:
        return [name for name in names if name in self.keeps]


@pytest_asyncio.fixture
async def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Desk:
    monkeypatch.setattr(module, "BATCH", 2)
    monkeypatch.setattr(module, "LOOKED_AT", 4)
    desk = await Desk(tmp_path).open()
    desk.estate.certifier = Certifier(desk.estate)
    desk.estate.sweeper = Sweeper(desk.estate)
    desk.estate.custody = Shelf()  # type: ignore[assignment]
    return desk


async def dead(desk: Desk, jobs: int) -> list[Asset]:
    """Assets whose bucket was dropped."""
    found = [asset for _ in range(jobs) for asset in (await finished(desk))[1]]
    desk.clock.moment = max(asset.head.due for asset in found)
    await told(desk)
    return [desk.asset(asset.id) for asset in found]


async def test_a_mass_is_swept_in_batches_and_its_receipt_completed_once(desk: Desk) -> None:
    found = await dead(desk, 3)
    desk.events.clear()
    rounds = 0
    while await done(desk, desk.estate.sweeper._sweep()):
        rounds += 1
    assert rounds == 3
    assert sorted(desk.estate.custody.asked) == sorted(asset.head.object for asset in found)  # type: ignore[attr-defined]
    assert [desk.book.asset(asset.id) for asset in found] == [None] * 6
    assert desk.book.dead == {}
    completed = [event for event in desk.events if isinstance(event, ExpireCompleted)]
    assert {event.receipt for event in completed} == {asset.head.receipt for asset in found}


async def test_those_to_whose_objects_somebody_may_still_write_hold_up_nobody(desk: Desk) -> None:
    found = await dead(desk, 4)
    until = desk.clock.moment + 900
    for asset in found[:5]:  # more than one look takes in
        held = Asset(asset.id, msgspec.structs.replace(asset.head, urls_until=until), None)
        await desk.do(_put, held)
    rounds = 0
    while await done(desk, desk.estate.sweeper._sweep()):
        rounds += 1
    assert rounds < 8  # once around, and then it waits
    assert set(desk.book.dead) == {asset.id for asset in found[:5]}
    desk.clock.moment = until
    while await done(desk, desk.estate.sweeper._sweep()):
        pass
    assert desk.book.dead == {}


async def test_what_the_store_keeps_is_not_called_gone(desk: Desk) -> None:
    found = await dead(desk, 1)
    desk.estate.custody.keeps = {found[0].head.object}  # type: ignore[attr-defined]
    desk.events.clear()
    assert await done(desk, desk.estate.sweeper._sweep())
    assert not await done(desk, desk.estate.sweeper._sweep())  # nothing went: it waits before it asks again
    assert desk.asset(found[0].id).head.state is AssetState.DEAD
    assert desk.events == [] or found[0].head.receipt not in {event.receipt for event in desk.events}  # type: ignore[union-attr]
    desk.estate.custody.keeps = set()  # type: ignore[attr-defined]
    assert await done(desk, desk.estate.sweeper._sweep())
    assert found[0].head.receipt in {event.receipt for event in desk.events}  # type: ignore[union-attr]


def _put(estate: Estate, change: Change, asset: Asset) -> None:
    estate.book.put_asset(change, asset)
