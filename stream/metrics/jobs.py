"""How long jobs wait and leases last. `lane` and `end` are closed sets; `pool` is what the engines' registry names."""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram

# From a warm actor to a batch job that waits for the night.
WAIT_BUCKETS = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1000.0, 3600.0, 14_400.0, 86_400.0)

WAIT_S = Histogram(
    "mayfly_lane_wait_seconds", "From a job's queueing to its lease", ("pool", "lane"), buckets=WAIT_BUCKETS
)
LEASE_S = Counter(
    "mayfly_lease_seconds_total",
    "Seconds that leases lasted, by how they ended: all but `useful` is waste",
    ("pool", "end"),
)
LEASES = Counter("mayfly_leases_ended_total", "Leases, by how they ended", ("pool", "end"))
LEASE_AGE_S = Gauge("mayfly_lease_age_seconds", "Of the oldest lease of this worker's partitions", ("pool",))
