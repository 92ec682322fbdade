"""Parked events in an operator's hands: listed, shown by their clear header, put back once, forgotten."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
import pytest_asyncio
from faust.types import TP

from stream.agents import api_operator as api
from stream.agents import parked, retention
from stream.agents.flow import Flow
from stream.audit.operated import Action
from stream.events.bus import GenerateRequested, bus
from stream.events.rows import Parked, rows
from tests.unit.desk import Desk

EVENT = bus.encode(GenerateRequested(job="job_x", at=7.0), b"sealed, and nobody's business")


class Broken:
    """One event that its agent cannot handle, parked by the real flow; `originals`: what the topic holds."""

    def __init__(self, desk: Desk) -> None:
        self.desk, self.estate = desk, desk.estate
        self.originals: dict[str, api.Original] = {}
        self.offset = 40
        self.read = asyncio.Event()
        self.read.set()
        desk.estate.tools = replace(desk.estate.tools, original=self.original)
        estates: Any = type(
            "Estates", (), {"generation": 1, "on_revoked": [], "__getitem__": lambda _, __: desk.estate}
        )()
        self.flow = Flow(estates, on_parked=lambda *_: None)

    async def original(self, _partition: int, name: str) -> api.Original | None:
        await self.read.wait()
        return self.originals.get(name)

    async def park(self, value: bytes = EVENT, topic: str = "generate") -> str:
        self.offset += 1
        message = SimpleNamespace(
            tp=TP(topic, 0), topic=topic, partition=0, offset=self.offset, key=b"k", value=value, generation_id=1
        )

        def cannot(*_: object) -> None:
            raise ZeroDivisionError

        await self.flow.add(SimpleNamespace(message=message, ack=lambda: None), {GenerateRequested: cannot})  # type: ignore[arg-type, dict-item]
        (sent,) = self.desk.ledger._queue[-1][0].events
        name = dict(sent.headers)["origin"].decode()
        self.originals[name] = api.Original(sent.key, sent.value)
        await self.desk.commit()
        return name


@pytest_asyncio.fixture
async def broken(tmp_path: Path) -> Broken:
    return Broken(await Desk(tmp_path).open())


async def test_what_is_parked_is_listed_with_its_reason_and_its_end(broken: Broken) -> None:
    first = await broken.park()
    broken.desk.clock.moment += 30
    second = await broken.park(b"no event")
    one, two = (await broken.desk.ask(api.ListParked())).parked
    assert (one.name, one.topic, one.reason, one.age_s) == (first, "generate", "ZeroDivisionError", 30.0)
    assert (two.name, two.reason, two.due) == (
        second,
        "undecodable",
        broken.desk.clock.now() + broken.estate.rules.parked_retention_s,
    )
    assert parked.waiting(broken.estate) == {("generate", "ZeroDivisionError"): 1, ("generate", "undecodable"): 1}


async def test_only_the_clear_header_of_an_event_is_shown(broken: Broken) -> None:
    shown = await broken.desk.ask(api.ShowParked(await broken.park()))
    assert (shown.event, shown.header) == ("generate.requested", '{"type":"generate.requested","job":"job_x","at":7.0}')
    assert shown.sealed_bytes == len(b"sealed, and nobody's business")
    assert b"nobody" not in msgspec.json.encode(shown)
    assert "nobody" not in repr(broken.originals)


async def test_of_what_is_no_event_nothing_is_shown_but_its_size(broken: Broken) -> None:
    shown = await broken.desk.ask(api.ShowParked(await broken.park(b"a user's name, in clear")))
    assert (shown.event, shown.header, shown.size_bytes) == ("", "", 23)
    assert b"user" not in msgspec.json.encode(shown)
    again = await broken.desk.ask(api.ShowParked(await broken.park(b"a user's name, in clear")))
    assert shown.digest == again.digest


async def test_a_replay_puts_the_original_back_once(broken: Broken) -> None:
    name = await broken.park()
    line = await broken.desk.ask(api.ReplayParked(name))
    assert (line.handled, line.again) == (parked.REPLAYED, False)
    assert broken.desk.events == [GenerateRequested(job="job_x", at=7.0)]
    broken.desk.clock.moment += 5
    line = await broken.desk.ask(api.ReplayParked(name))
    assert (line.again, line.handled_at) == (True, broken.desk.clock.now() - 5)
    assert len(broken.desk.events) == 1
    assert parked.waiting(broken.estate) == {}


async def test_two_replays_at_the_same_time_are_one(broken: Broken) -> None:
    name = await broken.park()
    broken.read.clear()
    asking = [asyncio.create_task(broken.desk.ask(api.ReplayParked(name))) for _ in range(2)]
    for _ in range(10):
        await asyncio.sleep(0)
    broken.read.set()
    assert sorted(line.again for line in await asyncio.gather(*asking)) == [False, True]
    assert len(broken.desk.events) == 1


async def test_what_is_dropped_is_replayed_by_nobody(broken: Broken) -> None:
    name = await broken.park()
    await broken.desk.ask(api.DropParked(name))
    for ask in (api.ShowParked(name), api.ReplayParked(name), api.DropParked(name)):
        with pytest.raises(parked.UnknownParked):
            await broken.desk.ask(ask)
    assert broken.desk.events == []
    assert broken.desk.book.next_due() is None


async def test_what_has_left_the_topic_is_not_replayed(broken: Broken) -> None:
    name = await broken.park()
    broken.originals.clear()
    assert (await broken.desk.ask(api.ShowParked(name))).digest == ""
    with pytest.raises(parked.OriginalGone):
        await broken.desk.ask(api.ReplayParked(name))
    assert parked.waiting(broken.estate) == {("generate", "ZeroDivisionError"): 1}


async def test_a_replayed_row_expires_like_any(broken: Broken) -> None:
    await broken.desk.ask(api.ReplayParked(await broken.park()))
    broken.desk.clock.moment += broken.estate.rules.parked_retention_s
    broken.estate.commit(retention.announce(broken.estate, broken.desk.book.take_due(broken.desk.clock.now(), 100)))
    await broken.desk.commit()
    assert (await broken.desk.ask(api.ListParked())).parked == ()


async def test_both_are_in_the_log(broken: Broken) -> None:
    entries = len(broken.estate.audit)
    await broken.desk.ask(api.ReplayParked(await broken.park()))
    await broken.desk.ask(api.DropParked(await broken.park()))
    raw = broken.estate.audit._entries.read(0, len(broken.estate.audit))
    assert len(broken.estate.audit) == entries + 2
    assert raw.count(b'"action":"%s"' % Action.REPLAY.encode()) == raw.count(b'"action":"drop"') == 1


def test_a_row_from_before_has_not_been_replayed():
    old = rows.encode(Parked(topic="t", offset=1, reason="r", at=1.0, due=2.0))
    assert b"handled" not in old
    header, _ = rows.decode(old)
    assert isinstance(header, Parked)
    assert header.handled == ""
