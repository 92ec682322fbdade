"""Seconds of an actor that came to nothing: every attempt but the one that a job ends with."""

from __future__ import annotations

from typing import Literal

from stream.events.bus import Outcome
from stream.metrics.attempts import WASTED_S

Why = Literal["", "failed", "cancelled", "lost", "superseded"]


def why(outcome: Outcome | None, *, accepted: bool) -> Why:
    """Why an attempt's seconds are lost; '' where they are not. None: the job had gone on when the attempt ended."""
    if outcome is None or (outcome.status == "succeeded" and not accepted):
        return "superseded"
    if outcome.status == "succeeded":
        return ""
    if outcome.status == "cancelled":
        return "cancelled"
    return "failed" if outcome.seconds else "lost"  # what a dead actor took along has no seconds of its own


def count(operation: str, outcome: Outcome | None, *, accepted: bool, followed_s: float) -> None:
    """One attempt is over. `followed_s`: for how long its owner has; of one taken over, from then on."""
    if cause := why(outcome, accepted=accepted):
        seconds = outcome.seconds if outcome is not None and outcome.seconds else followed_s
        WASTED_S.labels(operation, cause).inc(seconds)
