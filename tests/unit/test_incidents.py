"""Incidents: kept with a floor, told in time, and never closed before."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import REGISTRY

from stream.agents import incidents, records
from stream.agents.api_incidents import ChangeIncident, IncidentView, ListIncidents, OpenIncident
from stream.agents.incidents import NoIncidentRecord, UnknownIncident
from stream.events.records import IncidentState, Told
from stream.policies import compiler
from stream.policies import incidents as rules
from stream.policies.calendar import DAY_S, Holidays, add_months
from stream.policies.compiler import UnknownApp
from stream.policies.incidents import BadIncident, IncidentClosed, NotConfirmed, NotDue, NoticesPending
from tests.unit.desk import Desk

POLICIES = compiler.load_all("")
CHINA = Holidays()
BOTH = ("genzo", "talentedi")
USERS = {"told_app": "talentedi", "told_to": "users", "told_via": "push"}
REGULATOR = {"told_app": "talentedi", "told_to": "regulator", "told_via": "site"}


@pytest_asyncio.fixture
async def desk(tmp_path: Path) -> Desk:
    return await Desk(tmp_path).open()


async def opened(desk: Desk, **changes: Any) -> IncidentView:
    fields: dict[str, Any] = {
        "grade": 2,
        "apps": BOTH,
        "classes": ("account_profile",),
        "fact": "a host was taken over",
    }
    view: IncidentView = await desk.ask(OpenIncident(**fields | changes))
    return view


def alarms(to: str) -> float:
    return REGISTRY.get_sample_value("mayfly_notice_alarms_total", {"app": "talentedi", "to": to}) or 0.0


class TestAnIncident:
    async def test_from_suspicion_to_its_end(self, desk: Desk) -> None:
        view = await opened(desk)
        assert (view.incident.state, view.pending) == (IncidentState.SUSPECTED, ())
        desk.clock.moment += 60
        view = await desk.ask(ChangeIncident(view.id, grade=1, fact="keys were read", confirm=True))
        confirmed = desk.clock.now()
        assert [(one.app, one.to, one.by) for one in view.pending] == [
            ("talentedi", "regulator", confirmed + DAY_S),
            ("talentedi", "users", confirmed + DAY_S),
        ]
        with pytest.raises(NoticesPending):
            await desk.ask(ChangeIncident(view.id, close=True))
        desk.clock.moment += 60
        await desk.ask(ChangeIncident(view.id, **USERS))
        view = await desk.ask(ChangeIncident(view.id, measure="keys were replaced", **REGULATOR))
        assert view.pending == ()
        view = await desk.ask(ChangeIncident(view.id, close=True))
        said = view.incident
        assert (said.state, said.grade, said.confirmed_at) == (IncidentState.CLOSED, 1, confirmed)
        assert [line.text for line in said.facts] == ["a host was taken over", "keys were read"]
        assert [(one.to, one.at) for one in said.told] == [("users", confirmed + 60), ("regulator", confirmed + 60)]
        with pytest.raises(IncidentClosed):
            await desk.ask(ChangeIncident(view.id, fact="more"))
        assert (await desk.ask(ListIncidents())).incidents == (view,)

    async def test_it_is_kept_half_a_year_at_least_and_as_long_as_decided(self, desk: Desk) -> None:
        view = await opened(desk)
        asset = desk.asset(view.id)
        assert (asset.head.data_class, asset.head.app) == ("incident_record", "talentedi")
        assert records.erasable(desk.estate, [asset]) == []
        assert add_months(desk.clock.now(), 6) < view.kept_until < asset.head.ceiling == desk.clock.now() + 365 * DAY_S
        desk.clock.moment = asset.head.due
        assert (await desk.ask(ListIncidents())).incidents == ()

    async def test_none_is_kept_where_no_policy_promises_its_end(self, desk: Desk) -> None:
        with pytest.raises(NoIncidentRecord):
            await opened(desk, apps=("genzo", "batchpix"))
        assert not dict(desk.ledger.items())

    @pytest.mark.parametrize(
        ("changes", "error"),
        [
            ({"grade": 0}, BadIncident),
            ({"grade": 5}, BadIncident),
            ({"apps": ()}, BadIncident),
            ({"apps": ("nobody",)}, UnknownApp),
            ({"classes": ("account_profil",)}, BadIncident),
        ],
    )
    async def test_what_nobody_knows(self, desk: Desk, changes: dict[str, Any], error: type[Exception]) -> None:
        with pytest.raises(error):
            await opened(desk, **changes)

    async def test_telling_has_rules(self, desk: Desk) -> None:
        view = await opened(desk)
        with pytest.raises(NotConfirmed):
            await desk.ask(ChangeIncident(view.id, **USERS))
        await desk.ask(ChangeIncident(view.id, confirm=True))
        for wrong in ({"told_via": "email"}, {"told_to": "public"}, {"told_app": "genzo"}):
            with pytest.raises(NotDue):
                await desk.ask(ChangeIncident(view.id, **USERS | wrong))
        await desk.ask(ChangeIncident(view.id, **USERS))
        with pytest.raises(NotDue):  # once
            await desk.ask(ChangeIncident(view.id, **USERS))
        with pytest.raises(UnknownIncident):
            await desk.ask(ChangeIncident("ast_x", fact="?"))

    async def test_gauges_and_one_alarm_before_it_is_too_late(self, desk: Desk) -> None:
        view = await opened(desk)
        told: set[tuple[str, str, str]] = set()
        assert incidents.look(desk.estate, set(), told) == set()
        await desk.ask(ChangeIncident(view.id, confirm=True))
        desk.clock.moment += 3600
        before = alarms("users")
        shown = incidents.look(desk.estate, set(), told)
        left = {"app": "talentedi", "to": "users"}
        assert REGISTRY.get_sample_value("mayfly_notice_left_seconds", left) == DAY_S - 3600
        assert alarms("users") == before
        desk.clock.moment += 18 * 3600
        shown = incidents.look(desk.estate, shown, told)
        incidents.look(desk.estate, shown, told)
        assert alarms("users") == before + 1
        for said in (USERS, REGULATOR):
            await desk.ask(ChangeIncident(view.id, **said))
        assert incidents.look(desk.estate, shown, told) == set()
        assert REGISTRY.get_sample_value("mayfly_notice_left_seconds", left) is None


@given(
    confirmed=st.floats(1.6e9, 2.5e9),
    apps=st.lists(st.sampled_from(list(POLICIES)), min_size=1, unique=True),
    later=st.sampled_from(list(POLICIES)),
)
def test_an_app_that_is_found_later_is_told_of_by_the_same_time(confirmed: float, apps: list[str], later: str) -> None:
    said = rules.confirm(rules.begin(POLICIES, confirmed, 1, tuple(apps), ()), confirmed)
    said = rules.confirm(rules.widen(POLICIES, said, (later,), ()), confirmed + 1e6)
    due = rules.pending(POLICIES, said, CHINA)
    assert {(one.to.value, one.by) for one in due} == (
        {("users", confirmed + DAY_S), ("regulator", confirmed + DAY_S)} if "talentedi" in said.apps else set()
    )
    for one in due:
        said = rules.tell(POLICIES, said, CHINA, Told(one.app, one.to.value, one.via[0].value, confirmed))
    assert rules.close(POLICIES, said, CHINA, confirmed).state is IncidentState.CLOSED
