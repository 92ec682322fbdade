"""What came of a trace, in numbers."""

from __future__ import annotations

import math

import msgspec

from ray_cluster.lanes import LANE_WEIGHTS
from ray_cluster.simulator.world import Job, Point, World


class LaneReport(msgspec.Struct, frozen=True):
    """Of one lane's jobs. Times from arrival to result; of jobs that failed there is none, and they missed."""

    jobs: int
    met: float  # share whose result was there by the deadline
    p50_s: float
    p95_s: float


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """Of one policy."""

    policy: str
    jobs: int
    met: float  # SLO attainment: share of jobs whose result was there by the deadline
    failed: int
    lanes: dict[str, LaneReport]
    useful_ratio: float  # GPU-seconds of attempts that made a result ÷ GPU-seconds paid
    paid_s: float
    wasted_s: float  # of attempts that made none
    cost: float
    most_actors: int
    last_s: float  # when the last job ended
    predicted: tuple[float, float, float] | None  # ÷ actual: quantiles 0.1, 0.5, 0.9; None for who predicts nothing
    points: tuple[Point, ...]


def report(policy: str, world: World) -> Report:
    """After `World.play`."""
    by_lane = {lane: [job for job in world.jobs if job.asked.lane == lane] for lane in LANE_WEIGHTS}
    return Report(
        policy=policy,
        jobs=len(world.jobs),
        met=_met(world.jobs),
        failed=sum(job.ended_at == math.inf for job in world.jobs),
        lanes={lane: _lane(jobs) for lane, jobs in by_lane.items() if jobs},
        useful_ratio=world.useful_s / world.paid_s if world.paid_s else 0.0,
        paid_s=world.paid_s,
        wasted_s=world.wasted_s,
        cost=world.paid_s / 3600 * world.setup.price_per_hour,
        most_actors=max(point.actors for point in world.points),
        last_s=world.now - world.jobs[0].asked.arrival_s,
        predicted=_predicted(world.errors),
        points=tuple(world.points),
    )


def quantile(values: list[float], share: float) -> float:
    """The smallest value that `share` of all do not exceed; 0 for none."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)] if ordered else 0.0


def _predicted(errors: list[float]) -> tuple[float, float, float] | None:
    return (quantile(errors, 0.1), quantile(errors, 0.5), quantile(errors, 0.9)) if errors else None


def _met(jobs: list[Job]) -> float:
    return sum(job.ended_at <= job.deadline for job in jobs) / len(jobs)


def _lane(jobs: list[Job]) -> LaneReport:
    took = [job.ended_at - job.asked.arrival_s for job in jobs if job.ended_at < math.inf]
    return LaneReport(len(jobs), _met(jobs), quantile(took, 0.5), quantile(took, 0.95))
