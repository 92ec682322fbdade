"""Which pools of engine actors there are, what one actor of each takes, and how the pools stand."""

from __future__ import annotations

from typing import Annotated

import msgspec

from ray_cluster.engines.registry import OPERATIONS
from ray_cluster.floors import Floor
from stream.vault import hygiene

Count = Annotated[int, msgspec.Meta(ge=1)]
Positive = Annotated[float, msgspec.Meta(gt=0)]
Share = Annotated[float, msgspec.Meta(ge=0)]


class Pool(msgspec.Struct, frozen=True):
    """Actors that run the same engines. `cpus` and `gpus` are what Ray books for one; `threads` what it may use."""

    name: str
    operations: tuple[str, ...]
    max_actors: Count = 2
    cpus: Share = 0.5
    gpus: Share = 0.0
    threads: Count = 2
    env: dict[str, str] = {}
    min_actors: Annotated[int, msgspec.Meta(ge=0)] = 0  # kept warm; 0: the pool may go to nothing
    floors: tuple[Floor, ...] = ()  # more than that, at set hours
    price_per_hour: Share = 0.0  # of one actor, in the ceiling's unit


def default_pools(*, max_actors: int = 2, env: dict[str, str] | None = None) -> tuple[Pool, ...]:
    """The pools that the registry names, each with all of its operations: two runtimes never share a process."""
    names = dict.fromkeys(row.pool for row in OPERATIONS.values())
    return tuple(
        Pool(
            name,
            operations=tuple(row.operation for row in OPERATIONS.values() if row.pool == name),
            max_actors=max_actors,
            gpus=float(any(row.device == "gpu" for row in OPERATIONS.values() if row.pool == name)),
            env=env or {},
        )
        for name in names
    )


class ClusterConfig(msgspec.Struct, frozen=True, kw_only=True):
    """What the scheduler is told once, when it is created."""

    pools: tuple[Pool, ...]
    namespace: str = "mayfly"
    max_actors: Count = 2  # of all pools together
    idle_s: Positive = 60.0
    target_utilisation: Positive = 0.8
    cooldown_s: Share = 0.0  # nothing idle is let go so soon after its pool has grown
    ceiling_per_hour: Share | None = None  # what all actors may cost; None: no ceiling
    time_zone: str = "UTC"  # in which floors hold
    proposal_s: Positive = 10.0  # a proposal unanswered for so long is taken back
    start_s: Positive = 120.0  # an actor not ready after so long has failed
    spares: Annotated[int, msgspec.Meta(ge=0)] = 0  # processes of each CPU pool that have started and loaded nothing
    recycle_jobs: Count = 10_000  # an actor that has run so many is drained, and another takes its place
    recycle_growth_bytes: Count = 1 << 30  # likewise, one whose resident memory has grown by this since it loaded


class PoolStatus(msgspec.Struct, frozen=True):
    """How a pool stands, for `mayfly status`. `error` is the stable kind of the last failed start, '' for none."""

    pool: str
    queued: int
    actors: int
    starting: int
    leased: int
    draining: int
    desired: int
    reason: str
    error: str = ""
    retry_in_s: float = 0.0
    recycled: int = 0  # actors drained since the scheduler started, for their jobs or their memory
    unplaced: int = 0  # of those that start: no machine has room for them
    spares: int = 0  # processes that have started and loaded nothing
    min_actors: int = 0  # as of now: by hand, by the timetable or by settings
    max_actors: int = 0
    by_hand: bool = False  # an operator set one of the two, or paused it
    paused: bool = False
    failed_starts: int = 0  # since the scheduler began


def environment(pool: Pool) -> dict[str, str]:
    """The environment of an actor's process.

    Thread pools sized so that two actors do not fight for the cores; no GPU in sight unless one is booked (Ray hides
    none from an actor that asked for none); freed memory overwritten (docs/operations.md, "Processes").
    """
    threads = str(pool.threads)
    env = dict.fromkeys(
        ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OPENCV_FOR_THREADS_NUM"), threads
    )
    env |= hygiene.ENVIRONMENT
    if not pool.gpus:
        env["CUDA_VISIBLE_DEVICES"] = ""
    return env | pool.env
