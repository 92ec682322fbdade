"""What the settings say of pools, as the scheduler is told it."""

from __future__ import annotations

import msgspec

from ray_cluster.actors import RAM_ONLY
from ray_cluster.engines.diffusion import models as big_models
from ray_cluster.pools import ClusterConfig, Pool, default_pools
from services.settings import BadSettings, PoolSettings, Settings


def cluster_config(settings: Settings) -> ClusterConfig:
    """Raises BadSettings for a pool that there is not."""
    env = {
        "MAYFLY_WEIGHTS": settings.weights_dir,
        "MAYFLY_LABELS": settings.labels_dir,
        big_models.VARIABLE: settings.diffusion_models,
        RAM_ONLY: settings.ram_only_apps.value,
    }
    pools = {pool.name: pool for pool in default_pools(max_actors=settings.max_actors, env=env)}
    if unknown := sorted(settings.pools.keys() - pools.keys()):
        raise BadSettings(f"expected pools of {', '.join(pools)}, got {', '.join(unknown)}: correct `pools`")
    return ClusterConfig(
        pools=tuple(_with(pool, settings.pools.get(name)) for name, pool in pools.items()),
        namespace=settings.ray_namespace,
        max_actors=settings.max_actors,
        idle_s=settings.actor_idle_s,
        cooldown_s=settings.actor_cooldown_s,
        ceiling_per_hour=settings.cost_ceiling_per_hour,
        spares=settings.actor_spares,
        recycle_jobs=settings.actor_jobs,
        recycle_growth_bytes=settings.actor_growth_bytes,
        time_zone=settings.time_zone,
    )


def _with(pool: Pool, said: PoolSettings | None) -> Pool:
    if said is None:
        return pool
    return msgspec.structs.replace(
        pool,
        max_actors=said.max_actors or pool.max_actors,
        min_actors=said.min_actors,
        floors=said.floors,
        price_per_hour=said.price_per_hour,
        gpus=said.gpus or pool.gpus,
    )
