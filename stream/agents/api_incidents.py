"""Incidents: what an operator asks the owner of the partition that keeps them, and what it hears."""

from __future__ import annotations

import msgspec

from stream.events.records import Incident


class OpenIncident(msgspec.Struct, frozen=True):
    """A suspicion. → IncidentView."""

    grade: int
    apps: tuple[str, ...]
    classes: tuple[str, ...]
    fact: str


class ChangeIncident(msgspec.Struct, frozen=True, omit_defaults=True):
    """What is new; all of it in one commit, in this order. → IncidentView."""

    incident: str
    grade: int = 0
    apps: tuple[str, ...] = ()
    classes: tuple[str, ...] = ()
    fact: str = ""
    measure: str = ""
    confirm: bool = False
    told_app: str = ""
    told_to: str = ""
    told_via: str = ""
    close: bool = False


class ListIncidents(msgspec.Struct, frozen=True):
    """→ IncidentsView."""


class NoticeView(msgspec.Struct, frozen=True):
    """Somebody who is to be told."""

    app: str
    to: str
    via: tuple[str, ...]
    by: float
    left_s: float
    clause: str


class IncidentView(msgspec.Struct, frozen=True):
    """An incident as it is now."""

    id: str
    kept_until: float
    incident: Incident
    pending: tuple[NoticeView, ...]


class IncidentsView(msgspec.Struct, frozen=True):
    """Oldest first."""

    incidents: tuple[IncidentView, ...]


VERBS: dict[str, tuple[type[msgspec.Struct], type[msgspec.Struct]]] = {
    "open_incident": (OpenIncident, IncidentView),
    "change_incident": (ChangeIncident, IncidentView),
    "list_incidents": (ListIncidents, IncidentsView),
}
