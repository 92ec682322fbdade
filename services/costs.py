"""The cost model of a worker: seeded by the engine registry, its error a metric."""

from __future__ import annotations

from ray_cluster.costs import Costs
from ray_cluster.engines import registry
from stream.events.lease import Size
from stream.metrics import costs as metrics

SHARES = (0.5, 0.9)
"""Quantiles that are told."""


class LearntCosts:
    """What a dispatcher predicts by and reports to."""

    def __init__(self) -> None:
        self._costs = Costs(seed)

    def cost_s(self, operation: str, size: Size) -> float:
        """Expected seconds."""
        return self._costs.predict(operation, size)

    def learn(self, operation: str, size: Size, seconds: float) -> None:
        """An attempt that succeeded took so long. Seconds that none can have taken are counted, and not learnt."""
        if error := self._costs.learn(operation, size, seconds):
            metrics.ERROR.labels(operation).observe(error)
            for share in SHARES:
                seconds_of_share = self._costs.quantile(operation, size, share=share)
                metrics.SECONDS.labels(operation, str(share)).set(seconds_of_share)
        else:
            metrics.UNUSABLE.labels(operation).inc()


def seed(operation: str, size: Size) -> float | None:
    """The registry's seconds, None for an operation that it has not."""
    row = registry.OPERATIONS.get(operation)
    return row.cost_s(size.megapixels) if row is not None else None
