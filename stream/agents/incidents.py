"""Incidents are records of class incident_record, all in one partition, of the first app concerned that keeps any.

Where no policy concerned keeps records of incidents, none is made: nothing is stored that no text promises the end of.
"""

from __future__ import annotations

import asyncio
import logging
from typing import ClassVar

from stream.agents import api_incidents as api
from stream.agents import records
from stream.agents.book import Asset
from stream.agents.estate import Estate
from stream.errors import BadRequest
from stream.events.records import Incident, Told
from stream.ledger import Change
from stream.metrics import worker as metrics
from stream.policies import incidents as rules
from stream.policies.vocabulary import Clock, DataClass

log = logging.getLogger(__name__)

PARTITION = 0
OPERATOR = "operator"
"""Whose the records are: no tenant's."""

ROUND_S = 5.0
ALARM_S = 6 * 3600.0


class NoIncidentRecord(BadRequest):
    """No policy concerned keeps records of incidents."""

    kind: ClassVar[str] = "no-incident-record"
    status: ClassVar[int] = 422


class UnknownIncident(BadRequest):
    """No incident of this id is kept here."""

    kind: ClassVar[str] = "unknown-incident"
    status: ClassVar[int] = 404


async def open_incident(estate: Estate, ask: api.OpenIncident) -> api.IncidentView:
    """Write a suspicion down."""
    await estate.book.complete()
    policies, now = estate.tools.policies, estate.now()
    said = rules.note(rules.begin(policies, now, ask.grade, ask.apps, ask.classes), now, fact=ask.fact)
    home = next((app for app in said.apps if policies[app].promises_of(DataClass.INCIDENT_RECORD)), "")
    if not home:
        raise NoIncidentRecord("expected an app whose policy keeps records of incidents: keep this one in your files")
    change = Change()
    made = records.create(
        estate,
        change,
        app=home,
        data_class=DataClass.INCIDENT_RECORD,
        tenant=OPERATOR,
        subject="",
        value=said,
        clocks={Clock.LOG_EVENT_RECORDED: now},
    )
    await estate.commit(change)
    return _view(estate, made, said)


async def change_incident(estate: Estate, ask: api.ChangeIncident) -> api.IncidentView:
    """All that is new of it, or nothing."""
    await estate.book.complete()
    policies, calendar, now = estate.tools.policies, estate.tools.calendar, estate.now()
    asset, said = _find(estate, ask.incident)
    said = rules.widen(policies, said, ask.apps, ask.classes)
    if ask.grade:
        said = rules.regrade(said, ask.grade)
    said = rules.note(said, now, fact=ask.fact, measure=ask.measure)
    if ask.confirm:
        said = rules.confirm(said, now)
    if ask.told_to:
        said = rules.tell(policies, said, calendar, Told(ask.told_app, ask.told_to, ask.told_via, now))
    if ask.close:
        said = rules.close(policies, said, calendar, now)
    change = Change()
    records.rewrite(estate, change, asset, said)
    await estate.commit(change)
    return _view(estate, asset, said)


async def ls(estate: Estate, _ask: api.ListIncidents) -> api.IncidentsView:
    """All that live."""
    await estate.book.complete()
    found = [_view(estate, asset, said) for asset, said in records.saying(estate, Incident)]
    await estate.ledger.barrier()
    return api.IncidentsView(tuple(sorted(found, key=lambda one: one.incident.opened_at)))


async def run(estate: Estate) -> None:
    """Until cancelled: how long is left to tell somebody, and an alarm before it is too late."""
    await estate.book.complete()
    shown: set[tuple[str, str]] = set()
    told: set[tuple[str, str, str]] = set()
    while True:
        shown = look(estate, shown, told)
        await asyncio.sleep(ROUND_S)


def look(estate: Estate, shown: set[tuple[str, str]], told: set[tuple[str, str, str]]) -> set[tuple[str, str]]:
    """One round: what the gauges show now. `told` gains the notices of which an alarm was given."""
    left: dict[tuple[str, str], float] = {}
    for asset, said in records.saying(estate, Incident):
        for due in rules.pending(estate.tools.policies, said, estate.tools.calendar):
            key = due.app, due.to.value
            seconds = due.by - estate.now()
            left[key] = min(seconds, left.get(key, seconds))
            if seconds < ALARM_S and (asset.id, *key) not in told:
                told.add((asset.id, *key))
                metrics.NOTICE_ALARMS.labels(*key).inc()
                log.error("of an incident at %s its %s are to be told within %.0f s", *key, seconds)
    for key in shown - set(left):
        metrics.NOTICE_LEFT_S.remove(*key)
    for key, seconds in left.items():
        metrics.NOTICE_LEFT_S.labels(*key).set(seconds)
    return set(left)


def _view(estate: Estate, asset: Asset, said: Incident) -> api.IncidentView:
    due = rules.pending(estate.tools.policies, said, estate.tools.calendar)
    now = estate.now()
    pending = tuple(
        api.NoticeView(one.app, one.to.value, tuple(via.value for via in one.via), one.by, one.by - now, one.clause)
        for one in due
    )
    return api.IncidentView(asset.id, asset.head.due, said, pending)


def _find(estate: Estate, incident: str) -> tuple[Asset, Incident]:
    found = next((one for one in records.saying(estate, Incident) if one[0].id == incident), None)
    if found is None:
        raise UnknownIncident("expected the id of an incident that is kept: see `mayfly incident ls`")
    return found
