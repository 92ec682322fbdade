"""The clock that promises are kept by, as a port: real time, never behind the brokers, advanced only by a demo.

`now()` is the largest of this machine's time and every broker append time seen, so that a worker whose clock is
slow cannot keep a byte too long. TLS, presigned URLs and group sessions stay on real time.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import ClassVar, Protocol

from stream.errors import BadRequest

SKEW_ALARM_S = 1.0


class Clock(Protocol):
    """Seconds since the epoch, UTC."""

    def now(self) -> float:
        """The present moment; it never goes back."""
        ...

    def observe(self, append_time: float) -> None:
        """A broker stamped a record with this time (LogAppendTime, real seconds)."""
        ...


class ClockRefused(BadRequest):
    """Somebody asked a real clock to jump, or any clock to go back."""

    kind: ClassVar[str] = "clock-refused"
    status: ClassVar[int] = 409


class RealClock:
    """max(own, broker append time). `skew_s` is how far this machine was last seen behind a broker."""

    def __init__(self, own: Callable[[], float] = time.time) -> None:
        self._own = own
        self._floor = 0.0
        self.skew_s = 0.0

    def now(self) -> float:
        """Never behind what was returned or observed before."""
        self._floor = max(self._floor, self._own())
        return self._floor

    def observe(self, append_time: float) -> None:
        """Take note of a broker's stamp."""
        self.skew_s = append_time - self._own()
        self._floor = max(self._floor, append_time)


class DemoClock:
    """A real clock with an offset that only grows: the local demo's way to see three days pass."""

    def __init__(self, real: Clock | None = None) -> None:
        self._real = real or RealClock()
        self.offset_s = 0.0

    def now(self) -> float:
        """Real time plus the offset."""
        return self._real.now() + self.offset_s

    def observe(self, append_time: float) -> None:
        """Broker stamps are real time: they go below the offset."""
        self._real.observe(append_time)

    def shift_to(self, offset_s: float) -> None:
        """Follow the `clock` topic. Raises ClockRefused for an offset smaller than the present one."""
        if offset_s < self.offset_s:
            raise ClockRefused(
                f"expected an offset of at least {self.offset_s} s, got {offset_s} s: time never goes back"
            )
        self.offset_s = offset_s
