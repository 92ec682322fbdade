"""What changes from one policy to the next is said, all of it, and takes effect no sooner than promised."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from stream.policies import change, compiler, notices
from stream.policies.calendar import DAY_S, Holidays
from stream.policies.change import Telling
from stream.policies.difference import Changed, Effect
from stream.policies.durations import Months
from stream.policies.obligations import Channel, Document, Field, Occasion, Transfer, Use, Window
from stream.policies.vocabulary import DataClass

POLICIES = compiler.load_all("")
CHINA = Holidays()
T0 = 1_795_780_000.0

windows = st.one_of(
    st.builds(Window, st.integers(60, 90 * DAY_S)),
    st.builds(lambda days: Window(days * DAY_S, days), st.integers(1, 30)),
    st.builds(lambda months: Window(Months(months)), st.integers(1, 12)),
)


def change_of(app: str, table: str, **fields: Any) -> list[Changed]:
    old = POLICIES[app]
    return change.diff(old, replace(old, **{table: replace(getattr(old, table), **fields)}))


@pytest.mark.parametrize("app", POLICIES)
def test_the_same_again_is_no_change(app: str) -> None:
    assert change.diff(POLICIES[app], replace(POLICIES[app], hash="other", dated="2030-01-01")) == []


@pytest.mark.parametrize(
    ("app", "table", "fields", "what", "effect"),
    [
        ("talentedi", "sharing", {"recipients": ("acme",)}, "sharing", Effect.ASK_AGAIN),
        ("talentedi", "sharing", {"never": ()}, "sharing", Effect.ASK_AGAIN),
        ("talentedi", "sharing", {"transfer": Transfer.OPT_OUT}, "sharing", Effect.ASK_AGAIN),
        ("talentedi", "sharing", {"use": Use.NEVER}, "sharing", Effect.TELL),
        ("talentedi", "disclosure", {"of": tuple(DataClass)}, "disclosure", Effect.LONGER),
        ("talentedi", "disclosure", {"documents": (Document.SUBPOENA,)}, "disclosure", Effect.LONGER),
        ("talentedi", "disclosure", {"tell_subject": False}, "disclosure", Effect.LONGER),
        ("talentedi", "age", {"guardian_below": 12}, "age", Effect.TELL),
        ("talentedi", "residency", {"region": "EU"}, "residency", Effect.TELL),
        ("genzo", "account", {"fields": tuple(Field)}, "accounts", Effect.TELL),
    ],
)
def test_each_table_is_compared(app: str, table: str, fields: dict[str, Any], what: str, effect: Effect) -> None:
    (found,) = change_of(app, table, **fields)
    assert (found.what, found.effect) == (what, effect)
    assert found.before != found.after
    assert found.clause_before == found.clause_after == getattr(POLICIES[app], table).clause


def test_a_consent_that_nobody_is_asked_for_any_more() -> None:
    old = POLICIES["genzo"]
    swap = replace(old.operations[-1], consents=())
    new = replace(old, consents=old.consents[1:], operations=(*old.operations[:-1], swap))
    found = {one.what: (one.before, one.after) for one in change.diff(old, new)}
    assert found[f"consent {old.consents[0].purpose}"][1] == "not asked for"
    assert all("consents: none" in words for words in found[f"operation {swap.name}"][1:])


def test_a_new_floor_is_for_what_comes() -> None:
    old = POLICIES["talentedi"]
    rows = [replace(one, at_least=None) for one in old.promises]
    without = replace(old, promises=tuple(rows))
    lost = {one.what: one for one in change.diff(old, without)}["network_security_log, at least"]
    assert (lost.before, lost.after, lost.effect) == ("6 months", "no time", Effect.SHORTER)
    won = {one.what: one for one in change.diff(without, old)}["network_security_log, at least"]
    assert won.effect is Effect.LONGER


def test_rights_and_notices() -> None:
    old = POLICIES["genzo"]
    rights = (replace(old.rights[0], identity=not old.rights[0].identity), *old.rights[1:])
    (found,) = change.diff(old, replace(old, rights=rights))
    assert found.what == f"right {old.rights[0].name}"
    said = tuple(replace(one, before=Window(DAY_S)) if one.before else one for one in old.notices)
    changed = change.diff(old, replace(old, notices=said))
    assert {one.what for one in changed} == {f"notice of {one.of}" for one in old.notices if one.before}


@given(st.floats(T0, T0 + 3 * 365 * DAY_S), windows)
@settings(deadline=None)  # a year's holidays are reckoned once
def test_it_takes_effect_at_midnight_once_all_were_told_in_time(published: float, before: Window) -> None:
    said = [Telling(Occasion.POLICY_CHANGE, (Channel.EMAIL,), before, "x §1")]
    day = change.effective(published, said, CHINA)
    assert day % DAY_S == 0
    assert notices.before(day, before, CHINA) >= published
    assert day < published + DAY_S or notices.before(day - DAY_S, before, CHINA) < published


def test_where_nothing_is_said_before_it_takes_effect_on_the_next_day() -> None:
    assert change.effective(T0, [], CHINA) == (T0 // DAY_S + 1) * DAY_S
