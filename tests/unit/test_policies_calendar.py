"""The calendar: months over leap days, DST, year ends; working days over holidays."""

import math
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream.policies import durations
from stream.policies.calendar import DAY_S, Holidays, add_months
from stream.policies.durations import Months

CHINA = Holidays()
GERMANY = Holidays("DE", "Europe/Berlin")

moments = st.floats(min_value=1e9, max_value=4e9)


def utc(text):
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()


@pytest.mark.parametrize(
    ("start", "months", "end"),
    [
        ("2026-01-15T10:30:00", 6, "2026-07-15T10:30:00"),
        ("2025-08-31T23:59:59", 6, "2026-02-28T23:59:59"),  # no such day: the month's last
        ("2023-08-31T00:00:00", 6, "2024-02-29T00:00:00"),  # a leap day
        ("2024-02-29T12:00:00", 12, "2025-02-28T12:00:00"),
        ("2024-02-29T12:00:00", 48, "2028-02-29T12:00:00"),
        ("2026-07-01T00:00:00", 6, "2027-01-01T00:00:00"),  # over the year's end
        ("2026-12-31T23:59:59", 1, "2027-01-31T23:59:59"),
        ("2026-03-28T02:30:00", 1, "2026-04-28T02:30:00"),  # a local clock moved meanwhile: UTC did not
    ],
)
def test_months(start, months, end):
    assert add_months(utc(start), months) == utc(end)
    assert durations.after(utc(start), Months(months, 60)) == utc(end) + 60


def test_a_moment_just_before_midnight_is_of_that_day():
    """Half a microsecond before April: Python's clock rounds it to the first."""
    start = utc("2033-03-31T23:59:59") + 0.9999995
    assert add_months(start, 1) == utc("2033-04-30T23:59:59") + 0.9999995
    beijing = start - 8 * 3600
    assert Holidays().after(beijing, 5) == Holidays().after(beijing - 60, 5)
    assert Holidays().before(beijing, 5) == Holidays().before(beijing - 60, 5)


@given(moments, st.integers(1, 99))
def test_a_month_is_never_shorter_or_longer_than_any_month(start, months):
    took = add_months(start, months) - start
    assert Months(months).shortest_s <= took + DAY_S * 3 / 2  # the 31st may become the 28th
    assert took <= Months(months).longest_s + 1e-5


@given(moments)
def test_six_months_are_181_to_184_days(start):
    took = add_months(start, 6) - start
    assert 181 * DAY_S - 1e-5 <= took <= 184 * DAY_S + 1e-5  # a float has no more digits


@given(moments, moments)
def test_who_starts_later_never_ends_sooner(one, other):
    first, second = sorted((one, other))
    assert add_months(first, 6) <= add_months(second, 6) + DAY_S * 3  # only a shorter month lets days meet
    if datetime.fromtimestamp(first, UTC).day <= 28 and datetime.fromtimestamp(second, UTC).day <= 28:
        assert add_months(first, 6) <= add_months(second, 6)


def test_working_days_pass_over_weekends_and_holidays():
    friday = datetime(2026, 11, 27, 15, tzinfo=ZoneInfo("Asia/Shanghai")).timestamp()
    assert day_of(CHINA, CHINA.after(friday, 1)) == date(2026, 11, 30)
    before_golden_week = datetime(2026, 9, 30, 9, tzinfo=ZoneInfo("Asia/Shanghai")).timestamp()
    first = day_of(CHINA, CHINA.after(before_golden_week, 1))
    assert first == date(2026, 10, 8)
    christmas = datetime(2026, 12, 24, 9, tzinfo=ZoneInfo("Europe/Berlin")).timestamp()
    assert day_of(GERMANY, GERMANY.after(christmas, 1)) == date(2026, 12, 28)
    assert day_of(GERMANY, GERMANY.after(christmas, 5)) == date(2027, 1, 4)  # New Year lies between


def test_a_working_weekend_that_makes_up_for_a_holiday_counts():
    assert CHINA.working(date(2025, 9, 28))  # a Sunday, worked for the National Day holiday
    assert not CHINA.working(date(2025, 9, 27))


def test_the_day_is_that_of_the_operators_zone():
    sunday_utc = utc("2026-11-29T17:00:00")  # Monday in Shanghai already
    assert day_of(CHINA, CHINA.after(sunday_utc, 1)) == date(2026, 12, 1)


def test_a_day_of_23_hours_ends_with_its_midnight():
    saturday = datetime(2026, 3, 28, 12, tzinfo=ZoneInfo("Europe/Berlin")).timestamp()
    end = GERMANY.after(saturday, 1)
    assert datetime.fromtimestamp(end, ZoneInfo("Europe/Berlin")) == datetime(
        2026, 3, 31, tzinfo=ZoneInfo("Europe/Berlin")
    )


@settings(deadline=None)  # the first look at a year reads its calendar
@given(st.floats(min_value=utc("2020-01-01T00:00:00"), max_value=utc("2026-06-01T00:00:00")), st.integers(1, 30))
def test_as_many_calendar_days_are_never_later(start, days):
    assert start + days * DAY_S <= CHINA.after(start, days)  # R6: what is erased by the one is erased by the other


def day_of(calendar, moment):
    assert math.isfinite(moment)
    return (datetime.fromtimestamp(moment, ZoneInfo(calendar.zone)) - timedelta(seconds=1)).date()
