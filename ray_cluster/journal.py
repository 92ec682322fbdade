"""What was decided about pools, with all that it rested on: a JSON line each time something changes.

A line holds numbers and names of pools, and nothing of any job. Whoever has it can take the decision again (`again`).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping

import msgspec

from ray_cluster.autoscaler import Decision, Demand, Limits, decide

KEPT = 1000
"""Lines in memory; the log has the others."""

_HELD_BACK = frozenset(("limit", "ceiling", "blocked", "gives-way"))


class Line(msgspec.Struct, frozen=True, tag="autoscaler"):
    """One decision about all pools. `at`: promise clock."""

    at: float
    limits: Limits
    demands: tuple[Demand, ...]
    decisions: dict[str, Decision]


class Journal:
    """The last lines that said something new: another number of actors, or that a pool is held back or no longer."""

    def __init__(self, kept: int = KEPT) -> None:
        self._lines: deque[Line] = deque(maxlen=kept)
        self._last: dict[str, tuple[int, int, str]] = {}

    @property
    def lines(self) -> tuple[Line, ...]:
        """The oldest first."""
        return tuple(self._lines)

    def note(
        self, at: float, limits: Limits, demands: tuple[Demand, ...], decisions: Mapping[str, Decision]
    ) -> Line | None:
        """Keep what was decided, if it is news; the line to log then."""
        gist: dict[str, tuple[int, int, str]] = {
            pool: (d.desired, d.feed, d.cause if d.cause in _HELD_BACK else "") for pool, d in sorted(decisions.items())
        }
        if gist == self._last:
            return None
        self._last = gist
        line = Line(at, limits, demands, dict(decisions))
        self._lines.append(line)
        return line


def again(line: Line) -> dict[str, Decision]:
    """The decisions that the same input gives now."""
    return decide(line.demands, **msgspec.structs.asdict(line.limits))


def written(line: Line) -> str:
    """As it stands in a log."""
    return msgspec.json.encode(line).decode()


def read(text: str) -> Line | None:
    """A line of a log, whatever stands before it; None if it tells of no decision."""
    begin = text.find("{")
    try:
        return msgspec.json.decode(text[begin:].strip(), type=Line) if begin >= 0 else None
    except msgspec.MsgspecError:
        return None
