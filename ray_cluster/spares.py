"""Engine processes that have started and loaded nothing yet: of what an actor's start takes, most is its process.

A spare has its pool's name, environment and booking from the start, and none of its engines: no weights, no runtime.
The pool's next actor is the spare, once it has loaded them. Nothing with a GPU is kept spare: it would hold the device.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import ray
from ray.exceptions import RayError

from ray_cluster.actors import MAX_CALLS, EngineActor
from ray_cluster.pools import Pool, environment

LOOK_S = 10.0
START_S = 60.0


class Process(NamedTuple):
    """A Ray actor of ours, by its name."""

    name: str
    handle: Any


def create(pool: Pool, name: str, namespace: str) -> Any:
    """Begin an engine process; its handle. Blocks: the first of a class for 0.2 s. Raises RayError or ValueError."""
    options = {
        "name": name,
        "namespace": namespace,
        "lifetime": "detached",
        "max_restarts": 0,
        "max_concurrency": MAX_CALLS,
        "num_cpus": pool.cpus,
        "num_gpus": pool.gpus,
        "enable_task_events": False,
        "runtime_env": {"env_vars": environment(pool)},
    }
    return ray.remote(EngineActor).options(**options).remote(pool.name, pool.operations)


class Spares:
    """The stock. `name`: a fresh one for an actor of this pool."""

    def __init__(self, per_pool: int, namespace: str, name: Callable[[str], str]) -> None:
        self._per_pool, self._namespace, self._name = per_pool, namespace, name
        self._held: dict[str, list[Process]] = {}

    def take(self, pool: str) -> Process | None:
        """One for `pool`, if there is one: the caller's from now on."""
        held = self._held.get(pool)
        return held.pop() if held else None

    def count(self, pool: str) -> int:
        """How many `pool` has."""
        return len(self._held.get(pool, ()))

    async def stock(self, pools: Iterable[Pool]) -> None:
        """Drop those that died; then begin one process, of the first of `pools` that lacks any, and wait until it runs.

        One that does not within `START_S` is given up: it would wait for a machine, and no machine is made for a spare.
        """
        for name, held in self._held.items():
            alive = await asyncio.gather(*(_lives(process) for process in held))
            dead = [process for process, lives in zip(held, alive, strict=True) if not lives]
            self._held[name] = [process for process in self._held[name] if process not in dead]
        for pool in pools:
            if pool.gpus or len(self._held.setdefault(pool.name, [])) >= self._per_pool:
                continue
            name = self._name(pool.name)
            try:
                process = Process(name, await asyncio.to_thread(create, pool, name, self._namespace))
            except (RayError, ValueError):
                return
            try:
                async with asyncio.timeout(START_S):
                    await process.handle.facts.remote()
                self._held[pool.name].append(process)
            except (TimeoutError, RayError):
                await asyncio.to_thread(ray.kill, process.handle)
            return


async def _lives(process: Process) -> bool:
    try:
        async with asyncio.timeout(LOOK_S):
            await process.handle.facts.remote()
    except TimeoutError:
        return True  # slow is not dead
    except RayError:
        return False
    return True
