"""Spans of time as policies write them: `72 h`, `15 working days`, `6 months`, `6 months + 1 d`."""

from __future__ import annotations

import re

import msgspec

from stream.policies.calendar import add_months

MINUTE_S = 60
HOUR_S = 60 * MINUTE_S
DAY_S = 24 * HOUR_S  # R5: elapsed time, whatever the local calendar does
YEAR_S = 365 * DAY_S  # R5: as a ceiling
MONTH_S, SHORT_MONTH_S = 31 * DAY_S, 28 * DAY_S
"""The longest month and the shortest, where only a bound is wanted."""

UNIT_S = {
    "s": 1,
    "min": MINUTE_S,
    "h": HOUR_S,
    "d": DAY_S,
    "working days": DAY_S,  # R6: finished within as many calendar days, which is never later
    "year": YEAR_S,
}
_SPAN = re.compile(r"([1-9]\d{0,5}) (" + "|".join(UNIT_S) + ")")
_MONTHS = re.compile(r"([1-9]\d?) months?(?: \+ (.+))?")
_WORKING = re.compile(r"([1-9]\d{0,5}) working days")


class Months(msgspec.Struct, frozen=True):
    """A span that only a calendar can measure, and seconds after it."""

    months: int
    plus_s: int = 0

    @property
    def longest_s(self) -> int:
        """No such span is longer."""
        return self.months * MONTH_S + self.plus_s

    @property
    def shortest_s(self) -> int:
        """No such span is shorter."""
        return self.months * SHORT_MONTH_S + self.plus_s


Span = int | Months
"""Seconds, or months of the calendar."""


def span(text: str) -> Span:
    """`72 h` → 259200, `6 months + 1 d` → Months(6, 86400). Raises ValueError for what is no span."""
    match = _MONTHS.fullmatch(text)
    if match is None:
        return seconds(text)
    return Months(int(match[1]), seconds(match[2]) if match[2] else 0)


def seconds(text: str) -> int:
    """`72 h` → 259200. Raises ValueError for anything but a whole number above 0, one blank and a unit."""
    match = _SPAN.fullmatch(text)
    if match is None:
        raise ValueError(f"expected a number and one of {', '.join((*UNIT_S, 'months'))}, such as '72 h', got {text!r}")
    return int(match[1]) * UNIT_S[match[2]]


def working_days(text: str) -> int:
    """`15 working days` → 15, and 0 for a span that counts otherwise."""
    match = _WORKING.fullmatch(text)
    return int(match[1]) if match else 0


def after(start: float, length: Span) -> float:
    """The moment so long after `start`."""
    return start + length if isinstance(length, int) else add_months(start, length.months) + length.plus_s


def at_most_s(length: Span) -> int:
    """Seconds that no such span exceeds."""
    return length if isinstance(length, int) else length.longest_s


def at_least_s(length: Span) -> int:
    """Seconds that every such span has."""
    return length if isinstance(length, int) else length.shortest_s


def slack_s(floor: Span, ceiling: Span) -> int:
    """How much longer the ceiling is than the floor, whatever the month; negative where it may be shorter."""
    if isinstance(floor, Months) and isinstance(ceiling, Months) and floor.months == ceiling.months:
        return ceiling.plus_s - floor.plus_s
    return at_least_s(ceiling) - at_most_s(floor)


def words(length: Span) -> str:
    """259200 → `72 h`, 864000 → `10 d`, Months(6) → `6 months`: in the largest unit that divides it, days from 4 on."""
    if isinstance(length, Months):
        plus = f" + {words(length.plus_s)}" if length.plus_s else ""
        return f"{length.months} months{plus}"
    units = ("d", "h", "min", "s") if length > 3 * DAY_S else ("h", "min", "s")
    unit = next(unit for unit in units if length % UNIT_S[unit] == 0)
    return f"{length // UNIT_S[unit]} {unit}"
