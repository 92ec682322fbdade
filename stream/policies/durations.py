"""Spans of time as policies write them."""

from __future__ import annotations

import re

MINUTE_S = 60
HOUR_S = 60 * MINUTE_S
DAY_S = 24 * HOUR_S  # R5: elapsed time, whatever the local calendar does
YEAR_S = 365 * DAY_S  # R5: as a ceiling

UNIT_S = {
    "s": 1,
    "min": MINUTE_S,
    "h": HOUR_S,
    "d": DAY_S,
    "working days": DAY_S,  # R6: finished within as many calendar days, which is never later
    "year": YEAR_S,
}
_SPAN = re.compile(r"([1-9]\d{0,5}) (" + "|".join(UNIT_S) + ")")


def seconds(text: str) -> int:
    """`72 h` → 259200. Raises ValueError for anything but a whole number above 0, one blank and a unit."""
    match = _SPAN.fullmatch(text)
    if match is None:
        raise ValueError(f"expected a number and one of {', '.join(UNIT_S)}, such as '72 h', got {text!r}")
    return int(match[1]) * UNIT_S[match[2]]


def words(span_s: int) -> str:
    """259200 → `72 h`: the largest of h, min, s that divides it."""
    unit = next(unit for unit in ("h", "min", "s") if span_s % UNIT_S[unit] == 0)
    return f"{span_s // UNIT_S[unit]} {unit}"
