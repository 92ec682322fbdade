"""The topics of a system, as its settings and policies want them."""

from __future__ import annotations

from collections.abc import Iterable

from services.settings import Settings
from stream import topics
from stream.policies import compiler, deadlines, statistics
from stream.policies.model import Policy

CLEANING_S = 360.0
"""How long Kafka may keep a closed segment past its retention: five minutes between looks, one until it is gone."""
SEGMENTS = 4
"""A topic's retention is so many segments long, and the last of them must close first."""


def topics_of(settings: Settings) -> tuple[topics.Topic, ...]:
    """All of them. Raises what a policy that does not compile raises."""
    policies = compiler.load_all(settings.policies_extra).values()
    return topics.plan(
        retained_s(settings.event_retention_s, policies),
        retained_s(settings.parked_retention_s, policies),
        statistics.shortest_s(policies),
    )


def retained_s(setting_s: float, policies: Iterable[Policy]) -> float:
    """How long events may be retained: the setting, or what the shortest promise of a job's record leaves room for."""
    lives = [life for policy in policies if (life := deadlines.event_lifetime_s(policy)) is not None]
    room_s = (min(lives) - CLEANING_S) * SEGMENTS / (SEGMENTS + 1) if lives else setting_s
    return min(setting_s, max(room_s, CLEANING_S))
