"""How soon work starts, and how soon actors and machines come and go; beside Ray Serve, tuned, in the same run.

    python -m benchmarks.scheduler [--no-serve]

Every lease is a commit of a real ledger, every input comes from a real S3 server and every result goes there. The last
line is one JSON object:

- `makespan_vs_ideal`: 80 jobs of 0.2 s, all at once, on 8 warm actors ÷ 2.0 s.
- `grant_to_start_p50_ms`, `_p99_ms`: of those jobs, from the moment when a lease is committed *and* its actor's engine
  is free, to the engine's start on it: what prefetching is there to hide.
- `submit_to_start_p50_ms`: one job at a time, an actor warm and idle.
- `one_to_three_s`: from a burst until three actors are ready, where one was. `zero_to_first_s`: from a job's submission
  to its outcome, where no actor was. Both with spare processes (`spares`), and `…_bare_s` without.
- `idle_removal_s`: from the last outcome until no actor is left, with `idle_s` = 2.
- `node_request_s`: from a burst that has no machine until the request stands in Ray, on a cluster whose head has none.
- `serve`: the same of Ray Serve, where they apply (serve_peer.py). It commits, fetches, seals and stores nothing.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import uvloop
from ray._raylet import GcsClient  # type: ignore[attr-defined]
from ray.autoscaler.v2.sdk import get_cluster_resource_state

from benchmarks.scheduler_owner import Owner, Timed
from ray_cluster.client import Cluster
from ray_cluster.leases import Work
from ray_cluster.orders import Drain, Draining, Scale
from ray_cluster.pools import ClusterConfig, Pool, PoolStatus
from services.local.children import Children
from services.local.stack import LocalStack, clear_ram, make_ram
from stream import topics
from stream.ledger import Ledger
from stream.vault.courier import Courier
from stream.vault.custody import S3Custody
from stream.vault.pages import KeyPages
from stream.vault.rootstore_file import FileRootStore
from tests.integration.ray_machines import Machines

ROOT = Path(__file__).resolve().parents[1]
PEERS = ROOT / ".mayfly" / "peers"
JOBS, JOB_S, SLOTS = 80, 0.2, 8
SINGLES = 60
IDLE_S = 2.0
SPARES = 2
WAIT_S = 60.0


def say(words: str) -> None:
    """Progress, for whoever waits."""
    print(words, file=sys.stderr, flush=True)


def config(namespace: str, spares: int, *, cpus: float = 0.25) -> ClusterConfig:
    """One pool, quick to let go."""
    pool = Pool("noop", ("noop",), max_actors=SLOTS, cpus=cpus, threads=1)
    return ClusterConfig(pools=(pool,), namespace=namespace, max_actors=SLOTS, idle_s=IDLE_S, spares=spares)


class Bench:
    """One scheduler and one owner."""

    def __init__(self, cluster: Cluster, owner: Owner, spares: int) -> None:
        self.cluster, self.owner, self.spares = cluster, owner, spares

    async def pool(self) -> PoolStatus:
        """As it stands."""
        (status,) = await self.cluster.pools()
        return status

    async def ready(self, count: int) -> None:
        """Until so many actors can take work; 0: until there is none."""
        async with asyncio.timeout(WAIT_S):
            while (status := await self.pool()).actors - status.starting != count or status.actors != count:
                await asyncio.sleep(0.01)

    async def keep(self, count: int) -> None:
        """A floor by hand."""
        await self._operate(Scale("noop", count), PoolStatus)
        await self.ready(count)

    async def empty(self) -> None:
        """No actor, and the spares stocked again."""
        await self._operate(Scale("noop"), PoolStatus)
        await self._operate(Drain("noop"), Draining)
        await self.ready(0)

    async def _operate(self, order: Scale | Drain, reply: type[msgspec.Struct]) -> None:
        msgspec.msgpack.decode(await self.cluster.operate(msgspec.msgpack.encode(order)), type=reply)

    async def saturated(self) -> dict[str, float]:
        """Makespan and the gaps between jobs."""
        await self.keep(SLOTS)
        await self.owner.do(2 * SLOTS, cost_s=0.01)  # handles, connections
        began = time.monotonic()
        found = await self.owner.do(JOBS, cost_s=JOB_S, within_s=5.0, step_s=JOB_S)
        makespan_s = time.monotonic() - began
        gaps = grants(found)
        return {
            "makespan_vs_ideal": round(makespan_s / (JOBS * JOB_S / SLOTS), 3),
            "grant_to_start_p50_ms": quantile_ms(gaps, 0.5),
            "grant_to_start_p99_ms": quantile_ms(gaps, 0.99),
        }

    async def single(self) -> dict[str, float]:
        """One at a time."""
        taken = []
        for _ in range(SINGLES):
            (job,) = await self.owner.do(1, cost_s=0.01)
            taken.append(job.began - job.submitted)
        return {"submit_to_start_p50_ms": quantile_ms(taken[SINGLES // 6 :], 0.5)}

    async def growth(self, suffix: str) -> dict[str, float]:
        """From one to three, to none, and from none."""
        await self.empty()
        await self.keep(1)
        await self._stocked()
        began = time.monotonic()
        burst = asyncio.create_task(self.owner.do(12, cost_s=2.0, within_s=10.0, step_s=2.0))
        await self._at_least(3)
        three_s = time.monotonic() - began
        await burst
        await self.empty()
        await self._stocked()
        began = time.monotonic()
        (first,) = await self.owner.do(1, cost_s=0.01)
        await self.ready(0)
        gone_s = time.monotonic() - first.told
        return {
            f"one_to_three{suffix}": round(three_s, 2),
            f"zero_to_first{suffix}": round(first.told - began, 2),
            f"idle_removal{suffix}": round(gone_s, 2),
        }

    async def _at_least(self, count: int) -> None:
        async with asyncio.timeout(WAIT_S):
            while (status := await self.pool()).actors - status.starting < count:
                await asyncio.sleep(0.01)

    async def _stocked(self) -> None:
        """As after a quiet minute: the spare processes are there."""
        async with asyncio.timeout(WAIT_S):
            while (await self.pool()).spares < self.spares:
                await asyncio.sleep(0.1)


def grants(found: list[Timed]) -> list[float]:
    """Seconds from (lease committed and engine free) to the start, of each job that its actor did after another."""
    by_actor: dict[str, list[Timed]] = defaultdict(list)
    for job in sorted(found, key=lambda job: job.began):
        by_actor[job.actor].append(job)
    return [
        job.began - max(job.committed, before.ended)
        for jobs in by_actor.values()
        for before, job in itertools.pairwise(jobs)
    ]


def quantile_ms(seconds: list[float], share: float) -> float:
    """The quantile, in ms."""
    ordered = sorted(seconds)
    return round(1000 * ordered[min(len(ordered) - 1, int(share * len(ordered)))], 1)


@asynccontextmanager
async def benched(stack: LocalStack, ledger: Ledger, made: ClusterConfig) -> AsyncIterator[Bench]:
    """A scheduler of this configuration, in a namespace of its own."""
    ends = stack.endpoints
    cluster = await Cluster.connect(ends.ray_address, made, token_path=ends.ray_token_path)
    async with (
        S3Custody(ends.s3_url, ends.s3_access_key, ends.s3_secret_key, ends.bucket) as custody,
        Courier() as courier,
    ):
        owner = Owner(cluster, custody, courier, ledger)
        await owner.open()
        listening = asyncio.create_task(owner.listen())
        try:
            yield Bench(cluster, owner, made.spares)
        finally:
            listening.cancel()
            await asyncio.gather(listening, return_exceptions=True)
            await cluster.close()


async def ours(folder: Path) -> dict[str, float]:
    """Everything but machines."""
    found: dict[str, float] = {}
    async with LocalStack(folder / "run", ray_cpus=SLOTS) as stack:
        await topics.create(stack.endpoints.kafka, topics.plan(3600, 3600), partitions=1)
        ledger = Ledger(0, KeyPages(0, FileRootStore(folder / "roots")), bootstrap=stack.endpoints.kafka)
        await ledger.open()
        try:
            say("without spare processes")
            async with benched(stack, ledger, config("bare", 0)) as bench:
                found |= await bench.growth("_bare_s")
            say(json.dumps(found))
            say(f"with {SPARES} of them")
            async with benched(stack, ledger, config("spares", SPARES)) as bench:
                found |= await bench.growth("_s")
                say(json.dumps(found))
                say(f"{JOBS} jobs of {JOB_S} s on {SLOTS} actors")
                found |= await bench.saturated()
                say(json.dumps(found))
                await bench.keep(1)
                found |= await bench.single()
        finally:
            await ledger.close()
    return found


async def machines(folder: Path) -> dict[str, float]:
    """On a cluster that makes its machines: how soon one is asked for."""
    children = Children(folder / "machines")
    types = {"cpu": {"resources": {"CPU": 1}, "node_config": {}, "min_workers": 0, "max_workers": 2}}
    try:
        made = Machines(children, make_ram(children.run_dir), types)
        await made.start()
        cluster = await Cluster.connect(made.address, config("machines", 0, cpus=1.0), token_path=made.token_path)
        control = GcsClient(made.address)
        began = time.monotonic()
        work = Work("job", "nobody", "noop", "interactive", "t", cost_s=5.0, deadline=time.time() + 5.0)
        await cluster.submit([work])
        async with asyncio.timeout(WAIT_S):
            while not any(one.resource_requests for one in _standing(control)):
                await asyncio.sleep(0.05)
        asked_s = time.monotonic() - began
        await cluster.close()
    finally:
        await children.stop()
        clear_ram(children.run_dir)
        children.release()
    return {"node_request_s": round(asked_s, 2)}


def _standing(control: GcsClient) -> Iterable[Any]:
    """The requests for machines; one for nothing is one, too."""
    found: Iterable[Any] = get_cluster_resource_state(control).cluster_resource_constraints
    return found


def serve() -> dict[str, float]:
    """The peer, in an environment of its own (requirements-peers.lock), made at the first run."""
    python = PEERS / "bin" / "python"
    if not python.exists():
        say("an environment for Ray Serve is made")
        uv = str(ROOT / ".mayfly" / "bootstrap" / "bin" / "uv")
        lock = str(ROOT / "requirements-peers.lock")
        subprocess.run([uv, "venv", "--quiet", "--python", sys.executable, str(PEERS)], check=True)
        install = [uv, "pip", "sync", "--quiet", "--require-hashes", "--python", str(python), lock]
        subprocess.run(install, check=True)
    say("Ray Serve")
    peer = Path(__file__).with_name("serve_peer.py")
    own = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}  # our cluster is gone
    told = subprocess.run([str(python), str(peer)], check=True, stdout=subprocess.PIPE, env=own)
    result: dict[str, float] = json.loads(told.stdout.splitlines()[-1])
    return result


async def main() -> None:
    """Boot, bench, close, one after the other."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scheduler")
    parser.add_argument("--no-serve", action="store_true", help="Without the peer")
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="mayfly-bench-"))
    try:
        result: dict[str, object] = dict(await ours(folder))
        say("a cluster of machines")
        result |= await machines(folder)
    finally:
        shutil.rmtree(folder)
    result["spares"] = SPARES
    result["serve"] = {} if options.no_serve else await asyncio.to_thread(serve)
    print(json.dumps(result))


if __name__ == "__main__":
    uvloop.run(main())
