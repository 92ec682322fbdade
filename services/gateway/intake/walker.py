"""What a walker is, and what it finds."""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import NamedTuple

from services.gateway.intake.facts import Limits
from services.gateway.intake.tape import Need, Tape


class Frame(NamedTuple):
    """The coded size in pixels; how long it lasts, if it moves."""

    width: int
    height: int
    duration_s: float | None = None


Walker = Callable[[Tape, Limits], Generator[Need, None, Frame]]
