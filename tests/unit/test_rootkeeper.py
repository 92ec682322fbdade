"""The keeper of a root store: spares, destructions that are tried until they are done, and how long it was silent."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
import pytest_asyncio
from prometheus_client import REGISTRY

from stream.vault import rootkeeper
from stream.vault.rootkeeper import RootKeeper
from stream.vault.rootstore import RootGone, RootStoreUnavailable, Why
from tests.contract.rootstore_double import Switch, SwitchedRootStore

PARTITION = 987
WAIT_S = 5.0


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rootkeeper, "LOOK_S", 0.01)
    monkeypatch.setattr(rootkeeper, "AGAIN_S", 0.01)
    monkeypatch.setattr(rootkeeper, "SLOW_S", 0.02)


class Place:
    """A store with a switch, its keeper, and a clock that the test moves."""

    def __init__(self) -> None:
        self.switch, self.moment = Switch(), 100.0
        self.store = SwitchedRootStore(self.switch, PARTITION)
        self.keeper = RootKeeper(PARTITION, self.store, grace_s=60.0, monotonic=lambda: self.moment)

    async def until(self, true: Callable[[], Any]) -> None:
        async with asyncio.timeout(WAIT_S):
            while not true():
                await asyncio.sleep(0.001)

    def living(self) -> list[int]:
        return sorted(self.switch.versions.get(PARTITION, {}))


@pytest_asyncio.fixture
async def place() -> AsyncIterator[Place]:
    place = Place()
    await place.keeper.open(b"")
    keeping = asyncio.create_task(place.keeper.keep())
    yield place
    assert not keeping.done()
    keeping.cancel()
    await asyncio.gather(keeping, return_exceptions=True)
    place.keeper.close()


async def committed(place: Place) -> bytes:
    """A root that an erasing commit took, older ones destroyed."""
    assert await place.keeper.ready(WAIT_S)
    spare = place.keeper.take()
    await place.keeper.destroy_before(spare.wrapped)
    return spare.wrapped


async def test_a_spare_is_made_when_it_is_wanted_and_used_once(place: Place) -> None:
    assert not place.keeper.has_spare
    assert await place.keeper.ready(WAIT_S)
    spare = place.keeper.take()
    assert await place.store.unwrap(spare.wrapped) == spare.key
    assert "key" not in repr(spare)
    assert spare.key.hex() not in repr(spare)
    with pytest.raises(RootStoreUnavailable):
        place.keeper.take()
    assert await place.keeper.ready(WAIT_S)
    assert place.keeper.take().wrapped != spare.wrapped


async def test_older_roots_are_destroyed_and_whoever_waited_is_told_in_order(place: Place) -> None:
    told: list[int] = []
    place.switch.hang()
    await place.until(lambda: place.keeper.why is Why.SILENT)
    wrapped = []
    for n in range(3):
        place.switch.made[PARTITION] = n
        wrapped.append(place.store._wrap(bytes(32)))
        place.keeper.destroy_before(wrapped[-1]).add_done_callback(lambda _, n=n: told.append(n))
    assert not place.keeper.destroyed().done()
    place.switch.answer()
    await place.until(lambda: len(told) == 3)
    assert told == [0, 1, 2]
    assert place.living() == [3]
    assert place.keeper.destroyed().done()


async def test_while_it_does_not_answer_nobody_waits_for_a_spare(
    place: Place, caplog: pytest.LogCaptureFixture
) -> None:
    place.switch.fail(Why.SEALED)
    with caplog.at_level(logging.WARNING):
        assert not await place.keeper.ready(WAIT_S)
        assert place.keeper.why is Why.SEALED
        told = asyncio.Event()
        place.keeper.on_spare = told.set
        place.switch.answer()
        await asyncio.wait_for(told.wait(), WAIT_S)
    await place.until(lambda: place.keeper.why is None)
    assert place.keeper.has_spare
    said = [record.message for record in caplog.records]
    assert any("does not answer (sealed): erasures wait, nothing new is promised" in line for line in said)
    assert any("answers again" in line for line in said)


async def test_a_call_that_takes_long_is_silence_and_no_second_one_is_made(place: Place) -> None:
    before = REGISTRY.get_sample_value("mayfly_root_store_failures_total", {"why": "silent"}) or 0.0
    place.switch.hang()
    await place.until(lambda: place.keeper.why is Why.SILENT)
    calls = len(place.switch.calls)
    await place.until(
        lambda: (REGISTRY.get_sample_value("mayfly_root_store_failures_total", {"why": "silent"}) or 0.0) > before + 2
    )
    assert len(place.switch.calls) == calls
    place.switch.answer()
    await place.until(lambda: place.keeper.why is None)


async def test_reads_go_on_for_the_grace_and_no_longer(place: Place, caplog: pytest.LogCaptureFixture) -> None:
    place.switch.fail()
    await place.until(lambda: place.keeper.why is not None)
    place.moment += 59.0
    assert not place.keeper.expired
    place.moment += 2.0
    assert place.keeper.expired
    await place.until(lambda: any("nothing is read any more" in record.message for record in caplog.records))
    assert place.keeper.silent_s == pytest.approx(61.0, abs=0.1)
    silent = REGISTRY.get_sample_value("mayfly_root_store_silent_seconds", {"partition": str(PARTITION)})
    assert silent == pytest.approx(61.0, abs=0.1)
    place.switch.answer()
    await place.until(lambda: place.keeper.why is None)
    assert not place.keeper.expired


async def test_an_idle_keeper_notices_by_itself(place: Place) -> None:
    await committed(place)
    place.switch.fail(Why.REFUSED)
    await place.until(lambda: place.keeper.why is Why.REFUSED)
    place.switch.answer()
    await place.until(lambda: place.keeper.why is None)


async def test_a_fresh_store_in_its_place_is_a_wrong_one(place: Place) -> None:
    await committed(place)
    place.switch.empty()
    await place.until(lambda: place.keeper.why is Why.WRONG)
    assert not await place.keeper.ready(WAIT_S)
    assert not place.keeper.has_spare


async def test_a_fresh_store_has_destroyed_nothing(place: Place) -> None:
    assert await place.keeper.ready(WAIT_S)
    spare = place.keeper.take()
    place.switch.empty()
    destroyed = place.keeper.destroy_before(spare.wrapped)
    await place.until(lambda: place.keeper.why is Why.WRONG)
    assert not destroyed.done()
    assert "destroy_before" not in place.switch.calls


async def test_a_store_whose_versions_went_back_gives_no_spare(place: Place) -> None:
    for _ in range(3):
        await committed(place)
    place.switch.made[PARTITION] = 0  # a backup of it was brought back, in which the present version lives
    assert not await place.keeper.ready(WAIT_S)
    assert place.keeper.why is Why.WRONG
    assert not place.keeper.has_spare


async def test_a_store_that_opens_something_else_gives_no_spare(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SwitchedRootStore, "_unwrap", lambda _self, _wrapped: b"another key".ljust(32))
    assert not await place.keeper.ready(WAIT_S)
    assert place.keeper.why is Why.WRONG


class TestOpening:
    async def test_it_waits_for_a_store_that_comes_back(self) -> None:
        place = Place()
        old, present = place.store._wrap(b"o" * 32), place.store._wrap(b"k" * 32)
        place.switch.fail()
        opening = asyncio.create_task(place.keeper.open(present))
        await place.until(lambda: len(place.switch.calls) > 2)
        place.switch.answer()
        assert await asyncio.wait_for(opening, WAIT_S) == b"k" * 32
        with pytest.raises(RootGone):
            await place.store.unwrap(old)

    async def test_after_the_grace_it_gives_up(self) -> None:
        place = Place()
        present = place.store._wrap(b"k" * 32)
        place.switch.fail(Why.SEALED)
        opening = asyncio.create_task(place.keeper.open(present))
        await place.until(lambda: len(place.switch.calls) > 2)
        place.moment += 61.0
        with pytest.raises(RootStoreUnavailable) as caught:
            await asyncio.wait_for(opening, WAIT_S)
        assert caught.value.why is Why.SEALED

    async def test_a_root_that_is_gone_is_told_at_once(self) -> None:
        place = Place()
        present = place.store._wrap(b"k" * 32)
        place.switch.empty()
        with pytest.raises(RootGone):
            await place.keeper.open(present)
        assert len(place.switch.calls) == 1


async def test_what_is_no_answer_of_a_store_comes_out(monkeypatch: pytest.MonkeyPatch) -> None:
    place = Place()
    await place.keeper.open(b"")

    def broken(_self: SwitchedRootStore) -> list[int]:
        raise ZeroDivisionError

    monkeypatch.setattr(SwitchedRootStore, "_versions", property(broken))
    keeping = asyncio.create_task(place.keeper.keep())
    await place.keeper.ready(0.05)
    with pytest.raises(ZeroDivisionError):
        await asyncio.wait_for(keeping, WAIT_S)
    place.keeper.close()
