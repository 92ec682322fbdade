"""Work that nobody got anything from. Labels are operations of the registry and a closed set of causes."""

from __future__ import annotations

from prometheus_client import Counter

WASTED_S = Counter(
    "mayfly_wasted_seconds_total",
    "Seconds of an actor in attempts whose outcome was not accepted",
    ("operation", "why"),  # failed | cancelled | lost: its actor, or what the actor knew | superseded: the job went on
)
