"""Whether a job is tried again after an attempt that made nothing, and how: a pure function of what became of it."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from stream.events.bus import Outcome
from stream.events.lease import ACTOR_GONE
from stream.events.rows import JobBody

MAX_CRASHES = 2
"""Actors that a job may take down. The second one had nothing else to do (`Work.alone`), so it was this input."""

CRASHES = "input-crashes-actor"
MAX_RESOURCE_ATTEMPTS = 2
"""Tries after an out-of-memory: one for each smaller profile, or as many in the same, since neighbours may leave."""


class Again(msgspec.Struct, frozen=True):
    """Another attempt, `wait_s` from now. The rest is for the job's body."""

    wait_s: float
    attempts: int
    crashes: int
    profile: str


class Over(msgspec.Struct, frozen=True):
    """The job fails. `reason`: a stable kind."""

    reason: str
    attempts: int


def after(body: JobBody, outcome: Outcome, *, pauses_s: Sequence[float], profiles: Sequence[str]) -> Again | Over:
    """What follows `outcome`. `pauses_s`: before each try of a transient failure; `profiles`: ever smaller ones."""
    attempts = body.attempts + 1
    crashes = body.crashes + (outcome.reason == ACTOR_GONE)
    if crashes >= MAX_CRASHES:
        return Over(CRASHES, attempts)
    limits = {"transient": len(pauses_s), "resource": min(len(pauses_s), MAX_RESOURCE_ATTEMPTS)}
    limit = limits.get(outcome.kind, 0)
    profile = body.profile
    if outcome.kind == "resource" and (smaller := _smaller(profiles, profile)):
        profile, limit = smaller, max(limit, attempts)
    if attempts > limit:
        return Over(outcome.reason or outcome.kind, attempts)
    wait_s = pauses_s[min(attempts, len(pauses_s)) - 1] if pauses_s else 0.0
    return Again(wait_s, attempts, crashes, profile)


def _smaller(profiles: Sequence[str], profile: str) -> str:
    """The next one after `profile` ('' is the full one, before all others); '' if there is none."""
    following = profiles.index(profile) + 1 if profile in profiles else 0
    return profiles[following] if following < len(profiles) else ""
