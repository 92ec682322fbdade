"""An incident's life, and who of its apps' users and regulators is still to be told. Pure.

    suspected ─► confirmed ─► closed        a suspicion may be closed; what is confirmed only once all were told

What counts is the confirmation: an app that is found to be concerned later is told of by the same time.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import msgspec

from stream.errors import BadRequest
from stream.events.records import Incident, IncidentState, Line, Told
from stream.policies import compiler, notices
from stream.policies.calendar import Holidays
from stream.policies.checks import suggest
from stream.policies.model import Policy
from stream.policies.notices import Due
from stream.policies.vocabulary import DataClass

GRADES = range(1, 5)
"""1: plaintext, keys or account data reached somebody. 4: a weakness without effect. See docs/operators."""


class BadIncident(BadRequest):
    """A grade, an app or a class that nobody knows, or nothing to say."""

    kind: ClassVar[str] = "bad-incident"
    status: ClassVar[int] = 422


class IncidentClosed(BadRequest):
    """It is over: another needs another incident."""

    kind: ClassVar[str] = "incident-closed"
    status: ClassVar[int] = 409


class NotConfirmed(BadRequest):
    """Nobody is told of a suspicion."""

    kind: ClassVar[str] = "incident-not-confirmed"
    status: ClassVar[int] = 409


class NoticesPending(BadRequest):
    """Somebody whom a policy promises to tell was not told."""

    kind: ClassVar[str] = "notices-pending"
    status: ClassVar[int] = 409


class NotDue(BadRequest):
    """No policy concerned promises to tell this audience, or not in this way; or it was told."""

    kind: ClassVar[str] = "notice-not-due"
    status: ClassVar[int] = 422


def begin(
    policies: Mapping[str, Policy], now: float, grade: int, apps: tuple[str, ...], classes: tuple[str, ...]
) -> Incident:
    """A suspicion. Raises BadIncident, UnknownApp."""
    if not apps:
        raise BadIncident("expected the apps that it may concern: at least one")
    made = Incident(grade=grade, state=IncidentState.SUSPECTED, apps=(), classes=(), opened_at=now)
    return widen(policies, regrade(made, grade), apps, classes)


def widen(
    policies: Mapping[str, Policy], incident: Incident, apps: tuple[str, ...], classes: tuple[str, ...]
) -> Incident:
    """It concerns these, too. Raises BadIncident, UnknownApp, IncidentClosed."""
    _open(incident)
    for app in apps:
        compiler.find(policies, app)
    known = [one.value for one in DataClass]
    for name in classes:
        if name not in known:
            raise BadIncident(f"expected a data class{suggest(name, known)}")
    return msgspec.structs.replace(
        incident,
        apps=tuple(dict.fromkeys((*incident.apps, *apps))),
        classes=tuple(dict.fromkeys((*incident.classes, *classes))),
    )


def regrade(incident: Incident, grade: int) -> Incident:
    """Raises BadIncident, IncidentClosed."""
    _open(incident)
    if grade not in GRADES:
        raise BadIncident(f"expected a grade from {GRADES[0]}, the worst, to {GRADES[-1]}")
    return msgspec.structs.replace(incident, grade=grade)


def note(incident: Incident, now: float, *, fact: str = "", measure: str = "") -> Incident:
    """What was found, or done. Raises IncidentClosed."""
    _open(incident)
    facts = (*incident.facts, Line(now, fact)) if fact else incident.facts
    measures = (*incident.measures, Line(now, measure)) if measure else incident.measures
    return msgspec.structs.replace(incident, facts=facts, measures=measures)


def confirm(incident: Incident, now: float) -> Incident:
    """It is one: notices count from now, and from no later confirmation. Raises IncidentClosed."""
    _open(incident)
    if incident.state is IncidentState.CONFIRMED:
        return incident
    return msgspec.structs.replace(incident, state=IncidentState.CONFIRMED, confirmed_at=now)


def pending(policies: Mapping[str, Policy], incident: Incident, calendar: Holidays) -> tuple[Due, ...]:
    """Who is still to be told, the most urgent first; nobody of a suspicion."""
    if not incident.confirmed_at:
        return ()
    given = {(one.app, one.to) for one in incident.told}
    concerned = [policies[app] for app in incident.apps if app in policies]
    due = notices.of_incident(concerned, incident.confirmed_at, calendar)
    return tuple(one for one in due if (one.app, one.to) not in given)


def tell(policies: Mapping[str, Policy], incident: Incident, calendar: Holidays, said: Told) -> Incident:
    """An audience was told. Raises NotConfirmed, NotDue, IncidentClosed."""
    _open(incident)
    if not incident.confirmed_at:
        raise NotConfirmed("expected a confirmed incident: confirm it first")
    due = [one for one in pending(policies, incident, calendar) if (one.app, one.to) == (said.app, said.to)]
    ways = sorted({channel for one in due for channel in one.via})
    if said.via not in ways:
        raise NotDue(f"expected an audience still to be told, by one of: {', '.join(ways) or 'nothing, it was told'}")
    return msgspec.structs.replace(incident, told=(*incident.told, said))


def close(policies: Mapping[str, Policy], incident: Incident, calendar: Holidays, now: float) -> Incident:
    """It is over. Raises NoticesPending, IncidentClosed."""
    _open(incident)
    if left := pending(policies, incident, calendar):
        raise NoticesPending(f"expected all to be told first: {', '.join(one.name for one in left)}")
    return msgspec.structs.replace(incident, state=IncidentState.CLOSED, closed_at=now)


def _open(incident: Incident) -> None:
    if incident.state is IncidentState.CLOSED:
        raise IncidentClosed("expected an incident that is not closed: open another")
