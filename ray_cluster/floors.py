"""Actors that are kept at certain hours of certain days, whatever comes. Pure: the local time is passed in."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Annotated, Literal, get_args

import msgspec

Day = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
DAYS: tuple[Day, ...] = get_args(Day)
Hour = Annotated[str, msgspec.Meta(pattern=r"^([01][0-9]|2[0-3]):[0-5][0-9]$")]


class Floor(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename={"begin": "from", "end": "to"}):
    """At least `actors` from `begin` until `end`, HH:MM. An end that is not later is the next day's."""

    actors: Annotated[int, msgspec.Meta(ge=0)]
    begin: Hour = "00:00"
    end: Hour = "00:00"
    days: tuple[Day, ...] = DAYS  # on which it begins

    def holds(self, local: datetime) -> bool:
        """Whether it is that time."""
        clock = f"{local:%H:%M}"
        today, yesterday = DAYS[local.weekday()], DAYS[(local - timedelta(days=1)).weekday()]
        if self.begin < self.end:
            return today in self.days and self.begin <= clock < self.end
        return (today in self.days and self.begin <= clock) or (yesterday in self.days and clock < self.end)


def floor_at(floors: Iterable[Floor], local: datetime) -> int:
    """The highest floor that holds then; 0 for none."""
    return max((floor.actors for floor in floors if floor.holds(local)), default=0)
