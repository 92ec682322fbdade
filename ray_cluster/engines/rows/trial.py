"""What no app offers: tests and benchmarks use it."""

from __future__ import annotations

from ray_cluster.engines.rows.row import Row

ROWS = (
    Row(
        operation="noop",
        engine="ray_cluster.engines.noop:Noop",
        models=(),
        licence="none",
        pool="noop",
        memory_mb=60,
        base_s=0.001,
        params=("steps", "step_s", "out_bytes", "fail", "crash", "fill", "timed"),
        smaller={"fill": False},
        makes="data",
    ),
)
