"""How good predictions are. Labels are the registry's operations."""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram

ERROR = Histogram(
    "mayfly_cost_predicted_over_actual",
    "Predicted ÷ actual seconds of attempts that succeeded",
    ("operation",),
    buckets=(0.25, 0.5, 0.67, 0.8, 0.9, 1.0, 1.1, 1.25, 1.5, 2, 4),
)
UNUSABLE = Counter("mayfly_cost_unusable_total", "Attempts whose seconds nothing can be learnt from", ("operation",))
SECONDS = Gauge(
    "mayfly_cost_seconds",
    "Seconds of an actor that a share of an operation's jobs do not exceed, at the size that was seen last",
    ("operation", "share"),
)
