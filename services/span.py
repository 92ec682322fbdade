"""How long, for people."""

from __future__ import annotations

_DAY_S, _HOUR_S, _MINUTE_S = 86_400, 3_600, 60


def span(seconds: float) -> str:
    """`2 d 23 h 43 min`, to the minute; below one, `4.2 s`."""
    if seconds < _MINUTE_S:
        return f"{seconds:.1f} s"
    days, rest = divmod(round(seconds / _MINUTE_S) * _MINUTE_S, _DAY_S)
    hours, rest = divmod(rest, _HOUR_S)
    parts = ((days, "d"), (hours, "h"), (rest // _MINUTE_S, "min"))
    return " ".join(f"{number} {unit}" for number, unit in parts if number)
