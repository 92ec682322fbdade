"""What a publisher of anonymised statistics counts: only what it has published, or could. `app` is a closed set."""

from __future__ import annotations

from prometheus_client import Counter, Gauge

PUBLISHED = Counter("mayfly_statistics_published_total", "Cells published in metrics.v1", ("app",))
SUPPRESSED = Counter("mayfly_statistics_suppressed_total", "Cells whose noisy count was below the threshold", ("app",))
REFUSED = Counter("mayfly_statistics_refused_total", "Shares of owners that a day's budget could not pay for")
UNKNOWN = Counter("mayfly_statistics_budget_unknown_total", "Openings that found no account: closed until next day")
LEFT = Gauge("mayfly_statistics_budget_left", "Epsilon left of the day last released from", ("app",))
