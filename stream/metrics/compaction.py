"""How far Kafka's cleaner is behind, as a reader sees it: where a cleaned log has a key once, another repeats it.

Brokers tell this through JMX alone, and a broker that has given a partition up tells it well. What is found is real:
a superseded value that can still be read, as old as is said or older.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import NamedTuple

from prometheus_client import Counter, Gauge

LAG_S = Gauge("mayfly_compaction_lag_seconds", "Age of the oldest superseded value that was found", ("topic",))
UNREAD = Counter("mayfly_compaction_unread_total", "Looks at a compacted topic that Kafka did not answer")

AGES_S = (86_400.0, 14_400.0, 3600.0, 900.0, 300.0)
"""Where is looked, oldest first: younger than the last, values may lie in a segment that is still written."""

RECORDS = 200
"""Looked at in each place: an owner writes its heartbeat or its offsets with nearly every commit."""


class Seen(NamedTuple):
    """A record: its key, and when it was appended (epoch seconds)."""

    key: bytes
    at: float


Sample = Callable[[float], Awaitable[Sequence[Seen]]]
"""The first records that were appended at or after a moment."""


async def lag_s(sample: Sample, now: float) -> float:
    """The age of the oldest superseded value that was found."""
    for age_s in AGES_S:
        found = await sample(now - age_s)
        later: set[bytes] = set()
        oldest = None
        for record in reversed(found):
            if record.key in later:
                oldest = record
            later.add(record.key)
        if oldest is not None:
            return max(0.0, now - oldest.at)
    return 0.0
