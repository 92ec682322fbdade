"""Parked events in an operator's hands: each is a row, and its original lies beside it on the topic `parked`.

A replay puts the original back on the topic that it came from, in the transaction that marks its row: so it is there
once, and its agent decides as ever. What still cannot be handled is parked anew, under its new offset.
"""

from __future__ import annotations

from typing import ClassVar

import msgspec

from stream.agents import api_operator as api
from stream.agents import operators
from stream.agents.book import PARKED as PREFIX
from stream.agents.estate import Estate
from stream.audit.operated import Action
from stream.errors import BadRequest, MayflyError, StoreUnavailable
from stream.events.bus import bus
from stream.events.rows import Parked
from stream.events.rows import rows as codec
from stream.ids import digest
from stream.ledger import Change, Outgoing

REPLAYED = "replayed"


class UnknownParked(BadRequest):
    """No such event is parked: it was dropped, has expired, or never was."""

    kind: ClassVar[str] = "unknown-parked"
    status: ClassVar[int] = 404


class OriginalGone(BadRequest):
    """The row is there, and its original has left the topic: it cannot be replayed."""

    kind: ClassVar[str] = "original-gone"
    status: ClassVar[int] = 410


class NoOriginals(StoreUnavailable):
    """This owner cannot read the topic `parked`."""

    kind: ClassVar[str] = "originals-unread"


async def ls(estate: Estate, _ask: api.ListParked) -> api.ParkedLines:
    """Every parked event of this partition, oldest first."""
    found = [_line(estate, name, row) for name, row in _all(estate)]
    return api.ParkedLines(tuple(sorted(found, key=lambda line: (line.at, line.name))))


async def show(estate: Estate, ask: api.ShowParked) -> api.ParkedDetail:
    """Its row, and of its original the clear header: what is sealed stays sealed, what is no event is only measured."""
    line = _line(estate, ask.name, _row(estate, ask.name))
    original = await _original(estate, ask.name)
    if original is None:
        return api.ParkedDetail(line)
    size, fingerprint = len(original.value), digest(original.value.hex()).hex()
    try:
        header, sealed = bus.decode(original.value)
    except MayflyError:
        return api.ParkedDetail(line, size_bytes=size, digest=fingerprint)
    return api.ParkedDetail(
        line,
        size_bytes=size,
        digest=fingerprint,
        event=str(header.__struct_config__.tag),
        header=msgspec.json.encode(header).decode(),
        sealed_bytes=len(sealed),
    )


async def replay(estate: Estate, ask: api.ReplayParked) -> api.ParkedLine:
    """Once; asked again, it answers when that was."""
    _row(estate, ask.name)
    original = await _original(estate, ask.name)
    row = _row(estate, ask.name)  # another replay may have come while we read
    if row.handled:
        await estate.ledger.barrier()  # what it repeats may still be in flight
        return _line(estate, ask.name, row, again=True)
    if original is None:
        raise OriginalGone("expected its original on the topic `parked`: it has expired there; drop this one")
    done = msgspec.structs.replace(row, handled=REPLAYED, handled_at=estate.now())
    change = Change(
        rows={PREFIX + ask.name.encode(): codec.encode(done)},
        events=[Outgoing(row.topic, original.key, original.value)],
    )
    operators.record(estate, change, Action.REPLAY, _target(estate, ask.name), ask.signatures)
    await estate.commit(change)
    return _line(estate, ask.name, done)


async def drop(estate: Estate, ask: api.DropParked) -> api.ParkedLine:
    """Its row is tombstoned, and nothing replays it any more; its original leaves the topic with its segment."""
    row = _row(estate, ask.name)
    change = Change()
    estate.book.bury(change, PREFIX.decode() + ask.name)
    operators.record(estate, change, Action.DROP, _target(estate, ask.name), ask.signatures)
    await estate.commit(change)
    return _line(estate, ask.name, row)


def waiting(estate: Estate) -> dict[tuple[str, str], int]:
    """(topic, reason) → how many parked events nobody has replayed."""
    found: dict[tuple[str, str], int] = {}
    for _, row in _all(estate):
        if not row.handled:
            found[row.topic, row.reason] = found.get((row.topic, row.reason), 0) + 1
    return found


def _all(estate: Estate) -> list[tuple[str, Parked]]:
    found = []
    for key in list(estate.book.parked):
        if (value := estate.ledger.get(key)) is None:
            del estate.book.parked[key]  # dropped, or expired
            continue
        header, _ = codec.decode(value)
        assert isinstance(header, Parked)
        found.append((key.removeprefix(PREFIX).decode(), header))
    return found


def _row(estate: Estate, name: str) -> Parked:
    value = estate.ledger.get(PREFIX + name.encode())
    if value is None:
        raise UnknownParked(
            "expected a parked event as `mayfly parked ls` shows it: it was dropped, expired or never was"
        )
    header, _ = codec.decode(value)
    assert isinstance(header, Parked)
    return header


async def _original(estate: Estate, name: str) -> api.Original | None:
    if estate.tools.original is None:
        raise NoOriginals("expected a reader of the topic `parked`: this owner has none")
    return await estate.tools.original(estate.partition, name)


def _target(estate: Estate, name: str) -> str:
    return f"{estate.partition}/{name}"


def _line(estate: Estate, name: str, row: Parked, *, again: bool = False) -> api.ParkedLine:
    return api.ParkedLine(
        partition=estate.partition,
        name=name,
        topic=row.topic,
        reason=row.reason,
        at=row.at,
        age_s=round(estate.now() - row.at, 3),
        due=row.due,
        handled=row.handled,
        handled_at=row.handled_at,
        again=again,
    )
