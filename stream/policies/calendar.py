"""The calendar, where a promise counts in it: months, and an operator's working days. Times are epoch
seconds, UTC.

Hours and days are elapsed time (R5) and need no calendar. Months do: "six months" is the same day and time of day six
months on, or that month's last day. Working days are shown from the operator's calendar of legal holidays, while what
must be erased is erased within as many calendar days, which is never later (R6).
"""

from __future__ import annotations

import calendar
from datetime import UTC, date, datetime, timedelta, tzinfo
from functools import cache
from zoneinfo import ZoneInfo

import holidays
import msgspec

DAY_S = 86_400


class Holidays(msgspec.Struct, frozen=True):
    """An operator's calendar. `country`: ISO 3166-1 code. `zone`: an IANA name, in which a day begins at midnight."""

    country: str = "CN"
    zone: str = "Asia/Shanghai"

    def working(self, day: date) -> bool:
        """Whether the office is open: working weekends that make up for a holiday count, in the years published."""
        return bool(_year(self.country, day.year).is_working_day(day))

    def after(self, start: float, days: int) -> float:
        """The end of the `days`-th working day after the day of `start`: the last moment that answers in time."""
        zone = ZoneInfo(self.zone)
        day = _moment(start, zone).date()
        while days > 0:
            day += timedelta(days=1)
            days -= self.working(day)
        midnight = day + timedelta(days=1)
        return datetime(midnight.year, midnight.month, midnight.day, tzinfo=zone).timestamp()

    def before(self, end: float, days: int) -> float:
        """The start of the `days`-th working day before the day of `end`: what is told by then has them all left."""
        zone = ZoneInfo(self.zone)
        day = _moment(end, zone).date()
        while days > 0:
            day -= timedelta(days=1)
            days -= self.working(day)
        return datetime(day.year, day.month, day.day, tzinfo=zone).timestamp()


@cache
def _year(country: str, year: int) -> holidays.HolidayBase:
    return holidays.country_holidays(country, years=year)


def add_months(start: float, months: int) -> float:
    """The same day and time of day `months` on, or back, UTC; that month's last day where it has no such day."""
    moment = _moment(start, UTC)
    ahead = moment.month - 1 + months
    year, month = moment.year + ahead // 12, ahead % 12 + 1
    day = min(moment.day, calendar.monthrange(year, month)[1])
    whole = moment.replace(year=year, month=month, day=day)
    return whole.timestamp() + start % 1


def _moment(at: float, zone: tzinfo) -> datetime:
    """Its whole second: `fromtimestamp` rounds what is left of one, and may round up into the next day."""
    return datetime.fromtimestamp(at // 1, zone)
