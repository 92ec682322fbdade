"""As a driver of its own: each engine actor and its pid, as JSON; with `--kill-scheduler`, the scheduler dies first.

python -m tests.chaos.engines SETTINGS.json [--kill-scheduler]
"""

from __future__ import annotations

import asyncio
import json
import sys

import ray

from ray_cluster import scheduler
from ray_cluster.client import Cluster
from ray_cluster.pools import ClusterConfig, default_pools
from services.settings import load


async def main(path: str, *, kill: bool) -> None:
    settings = load(path)
    config = ClusterConfig(
        pools=default_pools(max_actors=settings.max_actors, env={"MAYFLY_WEIGHTS": settings.weights_dir}),
        namespace=settings.ray_namespace,
        max_actors=settings.max_actors,
        idle_s=settings.actor_idle_s,
    )
    cluster = await Cluster.connect(settings.ray_address, config, token_path=settings.ray_token_path)
    if kill:
        ray.kill(ray.get_actor(scheduler.NAME, namespace=settings.ray_namespace), no_restart=False)
    named = await asyncio.to_thread(ray.util.list_named_actors, all_namespaces=True)
    ours = [entry["name"] for entry in named if entry["namespace"] == settings.ray_namespace]
    engines = [name for name in ours if name.startswith(scheduler.ENGINE_PREFIX)]
    sys.stdout.write(json.dumps({name: (await cluster.facts(name))["pid"] for name in engines}) + "\n")
    await cluster.close()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], kill="--kill-scheduler" in sys.argv))
