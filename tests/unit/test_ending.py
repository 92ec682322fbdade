"""A service's end: told first, then nothing is taken in, then everything is erased but what has a floor or is held."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import msgspec
import pytest
import pytest_asyncio

from stream.agents import api, ending, owner, records
from stream.agents.book import Asset
from stream.agents.certify import Certifier
from stream.agents.ending import ServiceEnded
from stream.audit.log import Entry
from stream.events.records import Note
from stream.events.rows import AssetState
from stream.policies import announcements
from stream.policies.announcements import Announcement, NotPending
from stream.policies.calendar import DAY_S
from stream.policies.notices import TooSoon
from stream.policies.obligations import Occasion
from stream.policies.vocabulary import Clock, DataClass
from tests.unit.desk import TENANT, Desk

APP = "talentedi"
AHEAD_S = 40 * DAY_S


@pytest_asyncio.fixture
async def desk(tmp_path: Path) -> Desk:
    desk = await Desk(tmp_path).open()
    desk.estate.certifier = Certifier(desk.estate)
    desk.ledger._acked_at = float("inf")  # a broker is there, and acknowledges
    return desk


def announced(desk: Desk, *, told: bool = True) -> Announcement:
    policy, calendar, now = desk.estate.policy(APP), desk.estate.tools.calendar, desk.clock.now()
    made = announcements.announce(policy, Occasion.TERMINATION, now, now + AHEAD_S, calendar)
    if told:
        made = announcements.told(policy, made, calendar, "users", now)
    desk.estate.tools = dataclasses.replace(desk.estate.tools, announced=lambda: (made,))
    return made


async def subject(desk: Desk, name: str, app: str = APP) -> str:
    consent = desk.estate.policy(app).consents[0]
    await desk.ask(api.PutConsent(TENANT, app, name, consent.purpose, consent.version, granted=True))
    return desk.book.subjects[TENANT, app, name]


async def noted(desk: Desk, who: str, data_class: DataClass, clock: Clock) -> Asset:
    return await desk.do(
        records.create,
        app=APP,
        data_class=data_class,
        tenant=TENANT,
        subject=who,
        value=Note("seen"),
        clocks={clock: desk.estate.now()},
    )


def grant(desk: Desk, app: str = APP) -> api.PutConsent:
    consent = desk.estate.policy(app).consents[0]
    return api.PutConsent(TENANT, app, "new", consent.purpose, consent.version, granted=True)


def admitted(desk: Desk, verb: str, ask: msgspec.Struct) -> None:
    desk.estate.rules = dataclasses.replace(desk.estate.rules, region="CN")
    owner.admit(desk.estate, verb, ask)


async def test_until_its_day_nothing_changes(desk: Desk) -> None:
    made = announced(desk)
    await subject(desk, "alice")
    desk.clock.moment = made.effective - 1
    admitted(desk, "put_consent", grant(desk))
    assert ending.erase(desk.estate) is None


async def test_from_its_day_on_nothing_is_taken_in_and_letting_go_still_works(desk: Desk) -> None:
    made = announced(desk)
    desk.clock.moment = made.effective
    submit = api.Submit(TENANT, APP, "new", "portrait_effect", b"{}", "", ())
    for verb, ask in (("put_consent", grant(desk)), ("submit", submit), ("put_age", api.PutAge(TENANT, APP, "n", "x"))):
        with pytest.raises(ServiceEnded):
            admitted(desk, verb, ask)
    admitted(desk, "put_consent", grant(desk, "genzo"))
    admitted(desk, "put_consent", msgspec.structs.replace(grant(desk), granted=False))
    admitted(desk, "delete_subject", api.DeleteSubject(TENANT, APP, "alice"))


async def test_all_are_erased_in_batches_but_for_floors_and_other_apps(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    leaves: list[dict[str, Any]] = []
    append = desk.estate.audit._append

    def remember(leaf: Any, entry: Entry) -> Entry:
        leaves.append(msgspec.json.decode(entry.leaf))
        return append(leaf, entry)

    monkeypatch.setattr(desk.estate.audit, "_append", remember)
    monkeypatch.setattr(ending, "BATCH", 2)
    made = announced(desk)
    desk.clock.moment = made.effective - 60
    people = [await subject(desk, name) for name in ("alice", "bea", "cleo")]
    other = await subject(desk, "alice", "genzo")
    crash = await noted(desk, people[0], DataClass.CRASH_PERFORMANCE_LOG, Clock.COLLECTED)
    security = await noted(desk, people[1], DataClass.NETWORK_SECURITY_LOG, Clock.LOG_EVENT_RECORDED)
    desk.clock.moment = made.effective
    batches = 0
    while change := ending.erase(desk.estate):
        desk.estate.commit(change)
        await desk.commit()
        batches += 1
    await desk.heard()
    await desk.commit()
    assert batches == 2
    assert [one for one in people if desk.book.subject(one)] == []
    assert list(desk.book.subjects.values()) == [other]
    assert desk.asset(crash.id).head.state is AssetState.DEAD
    assert desk.asset(security.id).head.state is AssetState.STORED  # six months, whoever ends
    (receipt,) = [leaf for leaf in leaves if leaf["kind"] == "erased"]
    assert (receipt["app"], receipt["cause"], receipt["count"]) == (APP, "termination", 1)


async def test_who_was_not_told_keeps_their_service(desk: Desk) -> None:
    made = announced(desk, told=False)
    await subject(desk, "alice")
    desk.clock.moment = made.effective + DAY_S
    admitted(desk, "put_consent", grant(desk))
    assert ending.erase(desk.estate) is None
    policy, calendar = desk.estate.policy(APP), desk.estate.tools.calendar
    with pytest.raises(TooSoon):
        announcements.told(policy, made, calendar, "users", desk.clock.now())
    with pytest.raises(NotPending):
        announcements.told(policy, made, calendar, "regulator", made.at)


async def test_nothing_is_erased_while_the_root_store_is_away(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    made = announced(desk)
    await subject(desk, "alice")
    desk.clock.moment = made.effective
    monkeypatch.setattr(type(desk.pages), "away", property(lambda _: True))
    assert ending.erase(desk.estate) is None
    monkeypatch.undo()
    assert ending.erase(desk.estate) is not None
