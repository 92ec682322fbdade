"""What is measured when somebody asks: gauges of a worker's partitions, and of the pools as the scheduler tells.

`topic`, `pool` and `state` are closed sets. Every worker tells the same of the pools: take the maximum.
"""

from __future__ import annotations

from prometheus_client import Gauge

PARTITIONS = Gauge("mayfly_partitions_owned", "Partitions that this worker serves")
PROMISE_LAG_S = Gauge("mayfly_promise_lag_seconds", "Since the oldest promise that is due and not kept yet; 0: none")
SWEEPING = Gauge("mayfly_awaiting_sweep", "Erased assets whose objects are not verified absent yet")
PARKED = Gauge("mayfly_parked_events", "Parked events that nobody has replayed", ("topic",))

SCHEDULER_SILENT = Gauge("mayfly_scheduler_silent", "1 while the scheduler does not answer this worker")
ACTORS = Gauge("mayfly_pool_actors", "Engine actors", ("pool", "state"))
DESIRED = Gauge("mayfly_pool_desired", "Actors that the autoscaler wants", ("pool",))
QUEUED = Gauge("mayfly_pool_queued", "Jobs that wait for an actor", ("pool",))
UTILISATION = Gauge("mayfly_pool_utilisation", "Share of the actors that are leased", ("pool",))
PAUSED = Gauge("mayfly_pool_paused", "1 while an operator has paused the pool", ("pool",))
FAILED_STARTS = Gauge("mayfly_pool_failed_starts", "Starts of actors that failed since the scheduler began", ("pool",))

STATES = ("leased", "idle", "starting", "draining")
