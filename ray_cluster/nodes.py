"""Machines: whether one has room for an actor, and asking Ray's autoscaler for more while none has.

An actor that fits nowhere waits in Ray, and its own demand counts there already. The request adds what the pools want
in all, so that machines come at once and not one by one. It is withdrawn as soon as every actor has its place: one that
stands keeps machines for nothing.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Mapping

from ray import _private as ray_private
from ray.autoscaler import sdk
from ray.exceptions import RayError

from ray_cluster.pools import Pool

log = logging.getLogger(__name__)

Bundle = dict[str, float]

_SETTLED = frozenset((None, "ALIVE", "DEAD"))


def bundle(pool: Pool) -> Bundle:
    """What Ray books for one actor."""
    booked = {"CPU": pool.cpus, "GPU": pool.gpus}
    return {resource: amount for resource, amount in booked.items() if amount}


def wanted(desired: Mapping[str, int], pools: Iterable[Pool]) -> list[Bundle]:
    """One bundle for each actor that the pools should have."""
    return [bundle(pool) for pool in pools for _ in range(desired.get(pool.name, 0)) if bundle(pool)]


def fits(asked: Bundle, machines: Iterable[Mapping[str, float]]) -> bool:
    """Whether one of `machines` has as much left."""
    return any(all(left.get(name, 0.0) >= amount for name, amount in asked.items()) for left in machines)


def has_no_room(actor_id: str, asked: Bundle) -> bool:
    """Whether this actor waits because no machine has what it books. Two calls to Ray's control store: blocks."""
    found = ray_private.state.actors(actor_id)
    if found.get("State") in _SETTLED:
        return False
    return not fits(asked, ray_private.state.available_resources_per_node().values())


class Machines:
    """The request that stands."""

    def __init__(self) -> None:
        self._asked: list[Bundle] | None = None  # None: of a former scheduler, unknown

    async def ask(self, bundles: list[Bundle]) -> None:
        """Ask for room for all of these together, or for nothing. Again is free; a failure is tried again next time."""
        if bundles == self._asked:
            return
        try:
            await asyncio.to_thread(sdk.request_resources, bundles=bundles)
        except (RayError, RuntimeError, TimeoutError) as error:
            log.warning("Ray did not take a request for machines: %s", type(error).__name__)
            return
        log.info("machines asked for: %d bundles", len(bundles))
        self._asked = bundles
