"""The topics of a system, as its settings and policies want them."""

from __future__ import annotations

from services.settings import Settings
from stream import topics
from stream.policies import compiler, statistics


def topics_of(settings: Settings) -> tuple[topics.Topic, ...]:
    """All of them. Raises what a policy that does not compile raises."""
    policies = compiler.load_all(settings.policies_extra)
    return topics.plan(
        settings.event_retention_s, settings.parked_retention_s, statistics.shortest_s(policies.values())
    )
