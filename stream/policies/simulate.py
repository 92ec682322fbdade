"""What would become of things under a policy, in virtual time: events in, lives out. Nothing is stored.

A thing is made with a class, a choice and what is known of its face. Clocks start as events come; each only shortens a
life. What has a floor is not ended before it, whoever asks (R2).
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import ClassVar

import msgspec

from stream.errors import BadRequest
from stream.policies import deadlines
from stream.policies.checks import suggest
from stream.policies.deadlines import NoPromise
from stream.policies.model import Policy
from stream.policies.vocabulary import Choice, Clock, DataClass, birth

MADE = "made"
OF_THE_USER = frozenset(
    {Clock.DELETION_REQUESTED, Clock.CONSENT_WITHDRAWN, Clock.ACCOUNT_CANCELLED, Clock.SERVICE_TERMINATED}
)
"""Without a thing, these are of everything that lives."""


class BadEvents(BadRequest):
    """A file of events does not say what it must."""

    kind: ClassVar[str] = "bad-events"
    status: ClassVar[int] = 422


class Event(msgspec.Struct, frozen=True):
    """At `at` (epoch seconds): a thing was made, or a clock started for it, or for all where no thing is named."""

    at: float
    event: str
    thing: str = ""
    data_class: str = ""
    choice: str = ""
    face: bool | None = None


class Life(msgspec.Struct, frozen=True):
    """One thing from its making to its end. `gone_at` is infinite where nothing ends it yet."""

    thing: str
    data_class: str
    made_at: float
    due: float
    gone_at: float
    clause: str
    floor: float = 0.0
    refused: str = ""  # why it was never stored


class _Thing(msgspec.Struct):
    made: Event
    clocks: dict[Clock, float]
    life: Life


def read(text: str) -> list[Event]:
    """Events from CSV with the columns at, event, thing, class, choice, face, or from JSON lines with those keys.

    Raises BadEvents with the line.

    `at`: seconds, or an ISO 8601 time (UTC where it names no offset). `face`: yes, no or empty for "not examined".
    """
    words = [MADE, *Clock]
    found = []
    for number, row in _rows(text):
        where = f"line {number}"
        try:
            event = row["event"]
            at = _moment(row["at"])
        except (KeyError, ValueError):
            raise BadEvents(f"{where}: expected the columns at, event, thing, class, choice, face") from None
        if event not in words:
            raise BadEvents(f"{where}: expected made or a clock, got {event!r}{suggest(event, words)}")
        kind = row.get("class") or ""
        if event == MADE and kind not in tuple(DataClass):
            raise BadEvents(f"{where}: expected a data class, got {kind!r}{suggest(kind, list(DataClass))}")
        choice = row.get("choice") or ""
        if choice not in ("", *Choice):
            raise BadEvents(f"{where}: expected a choice, got {choice!r}{suggest(choice, list(Choice))}")
        face = {"yes": True, "no": False, "": None}.get(row.get("face") or "", ...)
        if face is ...:
            raise BadEvents(f"{where}: expected face to be yes, no or empty")
        found.append(Event(at, event, row.get("thing") or "", kind, choice, face))
    return found


def _rows(text: str) -> Iterator[tuple[int, dict[str, str]]]:
    if not text.lstrip().startswith("{"):
        yield from enumerate(csv.DictReader(io.StringIO(text)), start=2)
        return
    for number, line in enumerate(text.splitlines(), start=1):
        if line.strip():
            try:
                row = msgspec.json.decode(line, type=dict[str, str | float])
            except msgspec.MsgspecError:
                raise BadEvents(f"line {number}: expected an object whose values are words or numbers") from None
            yield number, {key: str(value) for key, value in row.items()}


def run(policy: Policy, events: Iterable[Event], *, lead_s: float = deadlines.LEAD_S) -> list[Life]:
    """The life of each thing, in the order in which they were made."""
    things: dict[str, _Thing] = {}
    for event in sorted(events, key=lambda one: (one.at, one.event != MADE)):
        if event.event == MADE:
            if event.thing not in things:  # R4: nothing is made twice
                things[event.thing] = _born(policy, event, lead_s)
            continue
        clock = Clock(event.event)
        meant = list(things.values()) if not event.thing and clock in OF_THE_USER else [things.get(event.thing)]
        for thing in meant:
            if thing is not None and not thing.life.refused and thing.life.gone_at > event.at:
                thing.clocks.setdefault(clock, event.at)
                thing.life = _reckoned(policy, thing, lead_s)
    return [thing.life for thing in things.values()]


def _born(policy: Policy, event: Event, lead_s: float) -> _Thing:
    clocks = {birth(event.data_class): event.at}
    life = Life(event.thing, event.data_class, event.at, math.inf, math.inf, "")
    thing = _Thing(event, clocks, life)
    thing.life = _reckoned(policy, thing, lead_s)
    return thing


def _reckoned(policy: Policy, thing: _Thing, lead_s: float) -> Life:
    made, before = thing.made, thing.life
    try:
        found = deadlines.ceiling(policy, made.data_class, choice=made.choice, has_face=made.face, clocks=thing.clocks)
    except NoPromise as error:
        return Life(made.thing, made.data_class, made.at, made.at, made.at, "", refused=str(error))
    floor = deadlines.floor(policy, made.data_class, thing.clocks)
    if found.at >= before.gone_at:
        return before
    gone_at = max(found.at, floor)
    due = max(deadlines.deadline(found, lead_s=lead_s).due, floor) if math.isfinite(found.at) else math.inf
    return Life(made.thing, made.data_class, made.at, min(due, gone_at), gone_at, found.clause, floor)


def _moment(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        moment = datetime.fromisoformat(text)
        return (moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)).timestamp()
