"""Codes that prove an address: in the owner's memory only, for minutes, for a few tries. A new owner knows none.

So nothing about somebody who has not proven who they are is ever written. Who waited for an owner that died asks again.
"""

from __future__ import annotations

import hmac
import secrets
from collections import deque
from dataclasses import dataclass, field
from typing import ClassVar

from stream.errors import BadRequest

DIGITS = 6
TRIES = 5
SENDS, SENDS_S = 5, 3600.0
MAX_WAITING = 10_000


class WrongCode(BadRequest):
    """Not the code that was sent, or it has expired, or was tried too often: which of these is not said."""

    kind: ClassVar[str] = "wrong-code"
    status: ClassVar[int] = 403


class TooManyTries(BadRequest):
    """Too often in too short a time."""

    kind: ClassVar[str] = "too-many-tries"
    status: ClassVar[int] = 429


@dataclass(slots=True, repr=False)
class Pending:
    """What waits for its code."""

    code: str
    until: float
    fields: dict[str, str]
    password_hash: str
    tries: int = 0


@dataclass(slots=True, repr=False)
class Codes:
    """All that wait, by whom they are for."""

    _waiting: dict[tuple[str, str, str], Pending] = field(default_factory=dict)
    _sent: dict[tuple[str, str, str], deque[float]] = field(default_factory=dict)
    _failed: dict[tuple[str, str, str], deque[float]] = field(default_factory=dict)

    def send(self, who: tuple[str, str, str], now: float) -> None:
        """One more code may go out to them. Raises TooManyTries."""
        _count(self._sent, who, now)

    def failed(self, who: tuple[str, str, str], now: float) -> None:
        """One more wrong password. Raises TooManyTries once it is too many, right passwords too."""
        _count(self._failed, who, now)

    def check(self, who: tuple[str, str, str], now: float) -> None:
        """Raises TooManyTries where too many passwords were wrong."""
        if len(_recent(self._failed, who, now)) >= SENDS:
            raise TooManyTries("expected fewer tries: wait an hour, or ask for another code")

    def wait(self, who: tuple[str, str, str], pending: Pending, now: float) -> None:
        """The latest code is the one that counts. The oldest make room."""
        for key in [key for key, one in self._waiting.items() if one.until <= now]:
            del self._waiting[key]
        while len(self._waiting) >= MAX_WAITING:
            del self._waiting[next(iter(self._waiting))]
        self._waiting[who] = pending

    def take(self, who: tuple[str, str, str], code: str, now: float) -> Pending:
        """What waited for this code, which is used up by that. Raises WrongCode."""
        pending = self.look(who, code, now)
        del self._waiting[who]
        return pending

    def look(self, who: tuple[str, str, str], code: str, now: float) -> Pending:
        """What waits for this code, which stays good. A wrong one counts as a try. Raises WrongCode."""
        pending = self._waiting.get(who)
        good = pending is not None and pending.until > now and pending.tries < TRIES
        expected = pending.code if pending is not None else new()
        if not hmac.compare_digest(expected.encode(), code.encode()) or not good or pending is None:
            if pending is not None:
                pending.tries += 1
            raise WrongCode("expected the code that was sent last: ask for another")
        return pending


def new() -> str:
    """A fresh code."""
    return f"{secrets.randbelow(10**DIGITS):0{DIGITS}d}"


def _recent(counted: dict[tuple[str, str, str], deque[float]], who: tuple[str, str, str], now: float) -> deque[float]:
    found = counted.get(who, deque())
    while found and found[0] <= now - SENDS_S:
        found.popleft()
    if not found:
        counted.pop(who, None)
    return found


def _count(counted: dict[tuple[str, str, str], deque[float]], who: tuple[str, str, str], now: float) -> None:
    found = _recent(counted, who, now)
    if len(found) >= SENDS:
        raise TooManyTries(f"expected at most {SENDS} in an hour: wait")
    counted.setdefault(who, found).append(now)
