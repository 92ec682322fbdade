"""Who must be told by when: of incidents, changes, transfers and a service's end."""

from __future__ import annotations

from datetime import UTC, datetime

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream.policies import compiler, notices
from stream.policies.calendar import DAY_S, Holidays, add_months
from stream.policies.durations import Months
from stream.policies.notices import NoNotice, TooSoon
from stream.policies.obligations import Audience, Channel, Notice, Occasion, Window

POLICIES = compiler.load_all("")
CHINA = Holidays()
MOMENTS = st.floats(min_value=1.6e9, max_value=2.5e9)
AT = datetime(2026, 11, 30, tzinfo=UTC).timestamp()


def saying(*rules: Notice) -> object:
    return msgspec.structs.replace(POLICIES["talentedi"], notices=rules)


@given(confirmed=MOMENTS)
def test_an_incident_at_talentedi_is_told_to_users_and_regulator_within_a_day(confirmed: float) -> None:
    found = notices.of_incident(POLICIES.values(), confirmed, CHINA)
    assert {(one.app, one.to) for one in found} == {
        ("talentedi", Audience.USERS),
        ("talentedi", Audience.REGULATOR),
    }
    for one in found:
        assert one.by == confirmed + DAY_S
        assert one.via == (Channel.SITE, Channel.PUSH, Channel.POP_UP, Channel.SMS, Channel.PHONE)
        assert one.clause == "001 §5(7)"


@given(now=MOMENTS, ahead=st.integers(0, 90 * DAY_S))
def test_a_change_is_told_before_or_is_refused(now: float, ahead: int) -> None:
    if ahead < 30 * DAY_S:
        with pytest.raises(TooSoon):
            notices.plan(POLICIES["genzo"], Occasion.POLICY_CHANGE, now, now + ahead, CHINA)
        return
    for one in notices.plan(POLICIES["genzo"], Occasion.POLICY_CHANGE, now, now + ahead, CHINA):
        assert now <= one.by == now + ahead - 30 * DAY_S


def test_who_promised_nothing_owes_no_notice() -> None:
    for app, occasion in (("batchpix", Occasion.TRANSFER), ("genzo", Occasion.INCIDENT)):
        assert notices.due(POLICIES[app], occasion, AT, CHINA) == ()
    with pytest.raises(NoNotice):
        notices.plan(POLICIES["batchpix"], Occasion.TRANSFER, AT, AT + 1e9, CHINA)


@settings(deadline=None)  # the first look at a year computes its holidays
@given(effective=MOMENTS, days=st.integers(1, 30))
def test_working_days_before_are_never_fewer_than_days(effective: float, days: int) -> None:
    window = Window(days * DAY_S, days)
    told = notices.before(effective, window, CHINA)
    assert told <= effective - days * DAY_S
    assert told <= CHINA.before(effective, days)
    assert notices.after(effective, window) == effective + days * DAY_S


def test_working_days_and_months_are_counted_back() -> None:
    monday = datetime(2026, 11, 30, 15, tzinfo=UTC).timestamp()
    told = CHINA.before(monday, 3)  # Friday, Thursday, Wednesday
    assert datetime.fromtimestamp(told, UTC) == datetime(2026, 11, 24, 16, tzinfo=UTC)  # midnight in Shanghai
    rule = Notice(
        of=Occasion.POLICY_CHANGE, to=(Audience.USERS,), via=(Channel.SITE,), clause="x", before=Window(Months(2, 60))
    )
    (one,) = notices.due(saying(rule), Occasion.POLICY_CHANGE, monday, CHINA)
    assert one.by == add_months(monday, -2) - 60
    at_once = Notice(of=Occasion.INCIDENT, to=(Audience.PUBLIC,), via=(Channel.SITE,), clause="x")
    assert notices.due(saying(at_once), Occasion.INCIDENT, monday, CHINA)[0].by == monday


class TestEnding:
    def test_first_told_then_stopped_then_gone(self) -> None:
        found = notices.ending(POLICIES["talentedi"], AT, CHINA)
        assert found.told_by == AT - 30 * DAY_S
        assert found.stops_at == AT
        assert found.clause == "001 §5 termination, §6(5)"
        assert set(found.gone_by.values()) == {AT + 10 * DAY_S}
        assert {"account_profile", "result_image", "consent_record"} <= set(found.gone_by)
        assert "network_security_log" not in found.gone_by  # its floor outlives the service

    @pytest.mark.parametrize("app", ["genzo", "batchpix", "perfect-me", "background-removal-ai"])
    def test_where_the_text_is_silent_nothing_is_made_up(self, app: str) -> None:
        with pytest.raises(NoNotice):
            notices.ending(POLICIES[app], AT, CHINA)
