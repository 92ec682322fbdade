"""Labels that cannot grow: a metric's memory, and what it tells of users, must not depend on input."""

from __future__ import annotations

MAX_VALUES = 256
OTHER = "other"


class Bounded:
    """Admits at most `limit` distinct values of one label; any further one becomes `other`.

    Label values come from our own code (error kinds, route names). The bound is for the day when one does not.
    """

    def __init__(self, limit: int = MAX_VALUES) -> None:
        self._limit = limit
        self._seen: set[str] = set()

    def __call__(self, value: str) -> str:
        """`value` itself while there is room for it, else `other`."""
        if value not in self._seen:
            if len(self._seen) >= self._limit:
                return OTHER
            self._seen.add(value)
        return value
