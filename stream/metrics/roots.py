"""What tells whether keys can die: the root store's silence, and what waits for it. `partition` is a closed set."""

from __future__ import annotations

from prometheus_client import Counter, Gauge

SILENT_S = Gauge("mayfly_root_store_silent_seconds", "Since the root store last answered", ("partition",))
FAILURES = Counter("mayfly_root_store_failures_total", "Calls that the root store did not answer", ("why",))
WAITING_S = Gauge("mayfly_erasure_waiting_seconds", "Age of the oldest erasure whose keys live", ("partition",))
WAITING = Gauge("mayfly_erasures_waiting", "Committed changes whose keys live", ("partition",))


def forget(partition: int) -> None:
    """This process does not own the partition any more."""
    for gauge in (SILENT_S, WAITING_S, WAITING):
        gauge.remove(partition)
