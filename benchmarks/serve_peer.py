"""Ray Serve at what benchmarks.scheduler asks of ours: run by it, in an environment that has `ray[serve]`.

Tuned: looks and reports each 0.1 s, no delay before growing, 2 s before shrinking, one request at a time per replica.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import time
from typing import Any

os.environ |= {
    "RAY_SERVE_CONTROL_LOOP_INTERVAL_S": "0.05",
    "RAY_SERVE_HANDLE_AUTOSCALING_METRIC_PUSH_INTERVAL_S": "0.1",
    "RAY_SERVE_REPLICA_AUTOSCALING_METRIC_PUSH_INTERVAL_S": "0.1",
    "RAY_SERVE_QUEUE_LENGTH_RESPONSE_DEADLINE_S": "0.05",
}

import ray
from ray import serve

JOBS, JOB_S, SLOTS, SINGLES, IDLE_S = 80, 0.2, 8, 60, 2.0
WAIT_S = 60.0


class Noop:
    """Sleeps."""

    async def __call__(self, seconds: float) -> tuple[float, float, int]:
        """When it began and ended, and where."""
        began = time.monotonic()
        await asyncio.sleep(seconds)
        return began, time.monotonic(), os.getpid()


def deploy(name: str, low: int, high: int) -> Any:
    """Its handle."""
    scaling = {
        "min_replicas": low,
        "max_replicas": high,
        "initial_replicas": low,
        "target_ongoing_requests": 1,
        "upscale_delay_s": 0.0,
        "downscale_delay_s": IDLE_S,
        "metrics_interval_s": 0.1,
        "look_back_period_s": 0.2,
    }
    made = serve.deployment(
        name=name,
        max_ongoing_requests=1,
        ray_actor_options={"num_cpus": 0.25},
        autoscaling_config=scaling,
        graceful_shutdown_wait_loop_s=0.1,
        graceful_shutdown_timeout_s=0.5,
    )(Noop)
    return serve.run(made.bind(), name=name, route_prefix=None)


def replicas(name: str) -> int:
    """That run."""
    deployments = serve.status().applications[name].deployments
    return int(deployments[name].replica_states.get("RUNNING", 0))


async def until(name: str, count: int, *, more: bool = False) -> None:
    """So many replicas, or at least so many."""
    async with asyncio.timeout(WAIT_S):
        while (now := replicas(name)) != count and not (more and now > count):
            await asyncio.sleep(0.02)


def quantile_ms(seconds: list[float], share: float) -> float:
    """The quantile, in ms."""
    ordered = sorted(seconds)
    return round(1000 * ordered[min(len(ordered) - 1, int(share * len(ordered)))], 1)


async def saturated() -> dict[str, float]:
    """80 jobs at once on 8 warm replicas; then one at a time."""
    handle = deploy("fixed", SLOTS, SLOTS)
    await asyncio.gather(*(handle.remote(0.0) for _ in range(2 * SLOTS)))
    began = time.monotonic()
    found = await asyncio.gather(*(handle.remote(JOB_S) for _ in range(JOBS)))
    makespan_s = time.monotonic() - began
    by_replica: dict[int, list[tuple[float, float]]] = {}
    for start, end, pid in sorted(found):
        by_replica.setdefault(pid, []).append((start, end))
    gaps = [b[0] - a[1] for runs in by_replica.values() for a, b in itertools.pairwise(runs)]
    starts = []
    for _ in range(SINGLES):
        asked = time.monotonic()
        start, _, _ = await handle.remote(0.0)
        starts.append(start - asked)
    serve.delete("fixed")
    return {
        "makespan_vs_ideal": round(makespan_s / (JOBS * JOB_S / SLOTS), 3),
        "grant_to_start_p50_ms": quantile_ms(gaps, 0.5),
        "grant_to_start_p99_ms": quantile_ms(gaps, 0.99),
        "submit_to_start_p50_ms": quantile_ms(starts[SINGLES // 6 :], 0.5),
    }


async def growth() -> dict[str, float]:
    """From one to three; from none; to none."""
    handle = deploy("one", 1, 3)
    await handle.remote(0.0)
    began = time.monotonic()
    burst = [handle.remote(2.0) for _ in range(12)]
    await until("one", 3)
    three_s = time.monotonic() - began
    await asyncio.gather(*burst)
    serve.delete("one")
    handle = deploy("none", 0, 3)
    await until("none", 0)
    began = time.monotonic()
    await handle.remote(0.0)
    first_s = time.monotonic() - began
    ended = time.monotonic()
    await until("none", 0)
    return {
        "one_to_three_s": round(three_s, 2),
        "zero_to_first_s": round(first_s, 2),
        "idle_removal_s": round(time.monotonic() - ended, 2),
    }


async def main() -> None:
    """Both, on a Ray of its own."""
    ray.init(address="local", num_cpus=SLOTS, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    serve.start(proxy_location="Disabled")
    try:
        result = await saturated() | await growth()
    finally:
        serve.shutdown()
        ray.shutdown()
    print(json.dumps(result))


if __name__ == "__main__":
    asyncio.run(main())
