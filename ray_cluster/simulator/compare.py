"""One trace, played by each policy with the same actors at the same price."""

from __future__ import annotations

from collections.abc import Callable

from ray_cluster.costs import Costs
from ray_cluster.simulator.mayfly import Mayfly
from ray_cluster.simulator.queues import Fixed, Lag, Queue, Rule, Serve
from ray_cluster.simulator.report import Report, report
from ray_cluster.simulator.trace import Asked
from ray_cluster.simulator.world import Setup, World
from stream.events.lease import Size

POLICIES = ("mayfly", "fifo", "lag", "serve")
LAG_TARGET = 1.0
"""Jobs an actor. KEDA's own default is 10, made for messages; with one, lag scaling meets most deadlines."""

Seed = Callable[[str, Size], float | None]


def world(policy: str, trace: list[Asked], setup: Setup, *, seed: Seed, lag_target: float = LAG_TARGET) -> World:
    """Ready to be played. `seed`: see `Costs`; only our own policy predicts."""
    if policy == "mayfly":
        return Mayfly(trace, setup, Costs(seed))
    rules: dict[str, Callable[[], Rule]] = {
        "fifo": lambda: Fixed(setup.max_actors),
        "lag": lambda: Lag(lag_target),
        "serve": Serve,
    }
    return Queue(trace, setup, rules[policy]())


def played(policy: str, trace: list[Asked], setup: Setup, *, seed: Seed, lag_target: float = LAG_TARGET) -> Report:
    """What came of it."""
    made = world(policy, trace, setup, seed=seed, lag_target=lag_target)
    made.play()
    return report(policy, made)
