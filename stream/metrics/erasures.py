"""How much time was left at each erasure. `app` and `data_class` are closed sets: those of the policies."""

from __future__ import annotations

from prometheus_client import Histogram

SLACK_BUCKETS = (0.0, 1.0, 5.0, 15.0, 30.0, 60.0, 120.0, 600.0, 3600.0, 86_400.0)
"""What falls in the first was unreadable at its ceiling, or later: a broken promise."""

SLACK_S = Histogram(
    "mayfly_erasure_slack_seconds",
    "From an asset being unreadable to its ceiling",
    ("app", "data_class"),
    buckets=SLACK_BUCKETS,
)
