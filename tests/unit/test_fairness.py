"""One tenant's flood, and what another notices of it: the scheduler's own lanes and roster, in virtual time."""

from __future__ import annotations

import math
import random

from ray_cluster.costs import Costs
from ray_cluster.simulator.mayfly import Mayfly, one_pool, with_floor
from ray_cluster.simulator.report import quantile
from ray_cluster.simulator.trace import Asked
from ray_cluster.simulator.world import Setup
from services.costs import seed

ACTORS = 8
FLOOD = 10_000
FLOOD_AT_S, UNTIL_S = 300.0, 2100.0
COST_S, SPREAD = 3.0, 0.35
HALF = 0.5  # of the pool is what the other tenant's interactive jobs need


def took(rng: random.Random) -> float:
    return COST_S * math.exp(rng.gauss(0, SPREAD))


def interactive(rng: random.Random) -> list[Asked]:
    jobs, at_s = list[Asked](), 0.0
    while at_s < UNTIL_S:
        at_s += rng.expovariate(HALF * ACTORS / COST_S)
        jobs.append(Asked(at_s, "one", "interactive", "stylization", took(rng), 30.0))
    return jobs


def played(jobs: list[Asked]) -> Mayfly:
    setup = Setup(max_actors=ACTORS)
    world = Mayfly(sorted(jobs, key=lambda job: job.arrival_s), setup, Costs(seed), with_floor(one_pool(setup), ACTORS))
    world.play(UNTIL_S)
    return world


def p95_s(world: Mayfly) -> float:
    """Of what came while there was a flood, or would have been."""
    took = [
        job.ended_at - job.asked.arrival_s
        for job in world.jobs
        if job.asked.tenant == "one" and FLOOD_AT_S < job.asked.arrival_s < UNTIL_S - 60.0
    ]
    assert all(seconds < math.inf for seconds in took)
    return quantile(took, 0.95)


def test_a_flood_of_batch_jobs_moves_anothers_interactive_p95_by_less_than_a_tenth() -> None:
    rng = random.Random(11)
    alone = interactive(rng)
    flood = [Asked(FLOOD_AT_S, "flood", "batch", "stylization", took(rng), 86_400.0) for _ in range(FLOOD)]
    calm, flooded = played(alone), played([*alone, *flood])
    assert p95_s(flooded) < 1.1 * p95_s(calm)
    moved = sum(job.ended_at <= UNTIL_S for job in flooded.jobs if job.asked.tenant == "flood")
    assert moved * COST_S > 0.2 * ACTORS * (UNTIL_S - FLOOD_AT_S)  # and batch moves all the while


def test_without_room_kept_free_the_same_flood_is_felt(monkeypatch: object) -> None:
    """The rule is what does it: as the flood runs on whatever is idle, interactive jobs wait for one of its to end."""
    from ray_cluster import roster

    rng = random.Random(11)
    alone = interactive(rng)
    flood = [Asked(FLOOD_AT_S, "flood", "batch", "stylization", took(rng), 86_400.0) for _ in range(FLOOD)]
    calm = played(alone)
    monkeypatch.setattr(roster, "HEADROOM_MOST", 0.0)  # type: ignore[attr-defined]
    assert p95_s(played([*alone, *flood])) > 1.1 * p95_s(calm)


def test_two_tenants_of_a_lane_wait_alike_whoever_asks_for_more() -> None:
    rng = random.Random(5)
    few = [Asked(600.0 + i, "few", "standard", "stylization", took(rng), 3600.0) for i in range(50)]
    many = [Asked(float(i % 60), "many", "standard", "stylization", took(rng), 3600.0) for i in range(5000)]
    world = played([*few, *many])
    waits = [job.ended_at - job.asked.arrival_s for job in world.jobs if job.asked.tenant == "few"]
    assert max(waits) < 30.0
