"""Counting in memory, at the owner of a partition: how often each kind of cell got a user, and nothing of who it was.

Bounding needs to know whether a user has counted already. For that a day's key, made at random, turns each user into
16 bytes that mean nothing without it; key and bytes are destroyed when the day is over. They are never written, sent or
logged: what leaves is a `Share`, plain counts of closed hours, and those leave only for the memory of the publisher.
A new owner starts with a key and a memory of its own: it is another *tenure*, and costs the day another epsilon.
"""

from __future__ import annotations

import hmac
import secrets
from collections import Counter

import msgspec

from stream.ids import digest
from stream.metrics.anonymity import CELLS_A_DAY
from stream.metrics.cells import HOURS_A_DAY, Kind, hour_of
from stream.vault.secret import Key

WHO_BYTES = 16
_STILL = 1 << 62  # the last hour of a span that goes on


class Counted(msgspec.Struct, frozen=True):
    """How many users a cell got."""

    app: str
    operation: str
    outcome: str
    hour: int
    users: int


class Share(msgspec.Struct, frozen=True):
    """What one tenure counted in hours that are over. `hours`: those in which it was the owner, however shortly."""

    partition: int
    tenure: str  # random: tells owners apart, and says nothing else
    hours: tuple[int, ...]
    until: int  # hours below it, and below what was asked for, are over by its clock
    counts: tuple[Counted, ...] = ()
    open: bool = True  # it is still the owner


class Ask(msgspec.Struct, frozen=True):
    """The publisher wants all hours below `until`, and has done with those below `since`."""

    since: int
    until: int


class Tally:
    """One partition's counts while this process owns it, and when it comes back to it on the same day."""

    def __init__(self, partition: int, now: float, *, limit: int = CELLS_A_DAY) -> None:
        self.partition, self.tenure = partition, secrets.token_hex(8)
        self.open = True
        self._limit = limit
        self._spans = [[hour_of(now), _STILL]]  # of hours, in which it was the owner: first and last
        self._day = hour_of(now) // HOURS_A_DAY
        self._key = Key.new()
        self._seen: dict[bytes, set[tuple[int, Kind]]] = {}
        self._counts: Counter[tuple[int, Kind]] = Counter()

    def __repr__(self) -> str:
        return f"Tally(partition={self.partition})"

    def count(self, kind: Kind, who: tuple[str, ...], now: float) -> None:
        """A job of theirs has ended, and it is committed. Counts once in a cell, and in so many cells a day."""
        self._turn(now)
        seen = self._seen.setdefault(self._name(kind.app, who), set())
        cell = hour_of(now), kind
        if cell not in seen and len(seen) < self._limit:
            seen.add(cell)
            self._counts[cell] += 1

    def share(self, ask: Ask, now: float) -> Share:
        """Closed hours, as often as they are asked for; what the publisher has done with is forgotten."""
        self._turn(now)
        for cell in [cell for cell in self._counts if cell[0] < ask.since]:
            del self._counts[cell]
        self._spans = [span for span in self._spans[:-1] if span[1] >= ask.since] + self._spans[-1:]
        until = min(ask.until, hour_of(now))
        owned = {hour for first, last in self._spans for hour in range(max(first, ask.since), min(last + 1, until))}
        counts = tuple(Counted(*kind, hour, users) for (hour, kind), users in self._counts.items() if hour in owned)
        return Share(self.partition, self.tenure, tuple(sorted(owned)), until, counts, self.open)

    def close(self, now: float) -> None:
        """Not the owner any more: what it counted waits to be asked for, and for its coming back."""
        self.open, self._spans[-1][1] = False, hour_of(now)

    def reopen(self, now: float) -> None:
        """The owner again, with the memory of the day."""
        if not self.open and self._spans[-1][1] == hour_of(now):
            self._spans[-1][1] = _STILL
        elif not self.open:
            self._spans.append([hour_of(now), _STILL])
        self.open = True

    def over(self, now: float) -> bool:
        """Nobody needs it any more."""
        return not self.open and not self._counts and self._spans[-1][1] // HOURS_A_DAY < hour_of(now) // HOURS_A_DAY

    def forget(self) -> None:
        """Destroy the key, and all that it named."""
        self._key.wipe()
        self._seen = {}

    def _turn(self, now: float) -> None:
        day = hour_of(now) // HOURS_A_DAY
        if day != self._day:
            self.forget()
            self._day, self._key = day, Key.new()

    def _name(self, app: str, who: tuple[str, ...]) -> bytes:
        return hmac.digest(self._key.view, digest(app, *who), "sha256")[:WHO_BYTES]


class Tallies:
    """The tallies of one worker."""

    def __init__(self) -> None:
        self._of: dict[int, Tally] = {}

    def open(self, partition: int, now: float) -> Tally:
        """This process owns the partition from now on."""
        known = self._of.get(partition)
        if known is not None and known.over(now):
            known.forget()
            known = None
        if known is None:
            known = self._of[partition] = Tally(partition, now)
        known.reopen(now)
        return known

    def shares(self, ask: Ask, now: float) -> list[Share]:
        """Of all partitions that it owns, or owned."""
        found = [tally.share(ask, now) for tally in self._of.values()]
        for partition in [partition for partition, tally in self._of.items() if tally.over(now)]:
            self._of.pop(partition).forget()
        return found
