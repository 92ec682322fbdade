"""Whole jobs, ours beside Celery's: the same gateway, sealing, object store, client and pictures.

    python -m benchmarks.throughput [--jobs N]

A job is asked for, its 200 kB JPEG uploaded, copied by an engine that does nothing else, and its end awaited over SSE,
32 at a time. The peer is Celery on Redis, tuned (`benchmarks.celery_peer`); Debian's package `redis-server` must be
there. The last line is one JSON object: `jobs_per_s` with one worker, `two_workers_jobs_per_s`, `cpu_s_per_job` (one
worker, all processes but the client), and of a third round, in which a worker is killed (kill -9) while jobs flow and
started again: `lost` (asked for, and not ended after a minute), `repeated` (a result that was committed again),
`killed_jobs_per_s`; `celery`: the same.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import secrets
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Any

import aiohttp
import redis.asyncio
import uvloop
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from benchmarks.pipeline import APP, CONCURRENCY, OPERATION, POLICIES, RAY_CPUS, WARM_UP_JOBS, cpu_s, photo, say
from services import tls
from services.gateway import tenant_topic
from services.local.home import weights_dir
from services.local.ports import free_ports
from services.local.stack import LocalStack
from services.local.system import SYSTEM_FILE, System, ask_worker
from services.settings import RamOnlyApps, Settings, save
from services.topic_plan import topics_of
from stream import topics
from stream.events.rows import AssetHead, AssetState, JobState, Owner, rows
from stream.vault import hygiene

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine

    from services.local.children import Children

POLL_S = 0.05
LOST_AFTER_S = 60.0
KILL_AT = 0.4  # of the jobs of a round
FORKS = 2  # a Celery worker's processes: as many as there are cores


class Patient:
    """A backend as its makers are told to write it: it asks again where nobody was there, with the same key."""

    def __init__(self, http: aiohttp.ClientSession, media: bytes) -> None:
        self._http, self._media, self._round = http, media, secrets.token_hex(4)

    async def job(self, number: int) -> None:
        """One job to its end."""
        body = {"subject": f"user-{number}", "operation": OPERATION, "choice": "save", "inputs": [{}]}
        key = {"Idempotency-Key": f"{self._round}-{number}"}
        async with await self._ask("POST", "jobs", json=body, headers=key) as answer:
            path = f"jobs/{(await answer.json())['id']}"
        (await self._ask("PUT", f"{path}/inputs/0", data=self._media)).release()
        while not await self._ended(path):
            await asyncio.sleep(POLL_S)

    async def _ended(self, path: str) -> bool:
        """Whether its end was told; a stream of events that was cut off did not."""
        try:
            async with await self._ask("GET", f"{path}/events") as events:
                async for line in events.content:
                    if line.startswith(b"data: ") and JobState(json.loads(line[6:])["state"]).ended:
                        return True
        except aiohttp.ClientError:
            pass
        return False

    async def _ask(self, method: str, path: str, **more: Any) -> aiohttp.ClientResponse:
        while True:
            try:
                answer = await self._http.request(method, f"/v1/{APP}/{path}", **more)
            except aiohttp.ClientError:
                await asyncio.sleep(POLL_S)
                continue
            if answer.status < HTTPStatus.BAD_REQUEST or answer.status == HTTPStatus.CONFLICT:  # 409: it is there
                return answer
            answer.release()
            await asyncio.sleep(POLL_S)


class Side:
    """One of the two: where its API is, which children are its own, and how often each result was committed."""

    def __init__(
        self,
        url: str,
        key: str,
        children: Children,
        *,
        workers: Callable[[int], Awaitable[None]],
        victim: Callable[[], Coroutine[Any, Any, None]],
        commits: Callable[[], Awaitable[Counter[str]]],
    ) -> None:
        self.url, self.key, self.children = url, key, children
        self.workers, self.victim, self.commits = workers, victim, commits

    async def measure(self, media: bytes, jobs: int) -> dict[str, float]:
        """All three rounds."""
        headers = {"Authorization": f"Bearer {self.key}"}
        connector, limit = aiohttp.TCPConnector(limit=0), aiohttp.ClientTimeout(total=None, sock_read=LOST_AFTER_S)
        async with aiohttp.ClientSession(self.url, connector=connector, headers=headers, timeout=limit) as http:
            await self.workers(1)
            await self._round(http, media, WARM_UP_JOBS)
            used = sum(cpu_s(self.children.running()).values())
            one_s, _ = await self._round(http, media, jobs)
            used = sum(cpu_s(self.children.running()).values()) - used
            await self.workers(2)
            await self._round(http, media, WARM_UP_JOBS)
            two_s, _ = await self._round(http, media, jobs)
            before = await self.commits()
            killed_s, lost = await self._round(http, media, jobs, kill=True)
            commits = await self.commits() - before
        return {
            "jobs_per_s": round(jobs / one_s, 1),
            "two_workers_jobs_per_s": round(jobs / two_s, 1),
            "cpu_s_per_job": round(used / jobs, 4),
            "lost": lost,
            "repeated": sum(count - 1 for count in commits.values()),
            "killed_jobs_per_s": round(jobs / killed_s, 1),
        }

    async def _round(
        self, http: aiohttp.ClientSession, media: bytes, jobs: int, *, kill: bool = False
    ) -> tuple[float, int]:
        """(seconds, jobs lost)."""
        client, ended, lost = Patient(http, media), 0, 0
        numbers = iter(range(jobs))
        killing: asyncio.Task[None] | None = None

        async def loop() -> None:
            nonlocal ended, lost, killing
            for number in numbers:
                try:
                    async with asyncio.timeout(LOST_AFTER_S):
                        await client.job(number)
                    ended += 1
                except TimeoutError:
                    lost += 1
                if kill and killing is None and ended >= KILL_AT * jobs:
                    killing = asyncio.create_task(self.victim())

        began = time.perf_counter()
        await asyncio.gather(*(loop() for _ in range(CONCURRENCY)))
        seconds = time.perf_counter() - began
        if killing is not None:
            await killing
        say(f"{jobs} jobs: {jobs / seconds:.1f}/s{', a worker killed' if kill else ''}")
        return seconds, lost


@asynccontextmanager
async def ours(folder: Path) -> AsyncIterator[Side]:
    """Mayfly as it is: estates, ledger, scheduler, actors."""
    async with (
        LocalStack(folder, ray_cpus=RAY_CPUS) as stack,
        System(stack, workers=1, policies_extra=str(POLICIES)) as system,
    ):
        _, key = await system.tenant(APP)

        async def workers(count: int) -> None:
            if count > 1:
                await system.join("worker-2")
                ports = json.loads((system.folder / SYSTEM_FILE).read_text())["workers"].values()
                while True:
                    shares = [len(await ask_worker(system.settings, port, "estates")) for port in ports]
                    if all(shares) and sum(shares) == system.settings.partitions:
                        break
                    await asyncio.sleep(POLL_S)

        async def victim() -> None:
            child = system.child("worker-1")
            assert child is not None
            os.kill(child.pid, signal.SIGKILL)

        async def commits() -> Counter[str]:
            return await results_stored(system.settings)

        yield Side(system.url, key, stack.children, workers=workers, victim=victim, commits=commits)


async def results_stored(settings: Settings) -> Counter[str]:
    """Job → how many results of it were ever stored, as the ledger has it."""
    tps = [TopicPartition(topics.LEDGER, n) for n in range(settings.partitions)]
    stored: dict[str, str] = {}
    async with AIOKafkaConsumer(bootstrap_servers=settings.kafka, isolation_level="read_committed") as reader:
        reader.assign(tps)
        ends = await reader.end_offsets(tps)
        await reader.seek_to_beginning(*tps)
        while waiting := [tp for tp in tps if await reader.position(tp) < ends[tp]]:
            for records in (await reader.getmany(*waiting, timeout_ms=100)).values():
                for record in records:
                    if record.key.startswith(b"ast_") and record.value is not None:
                        head, _ = rows.decode(record.value)
                        if isinstance(head, AssetHead) and head.role == "result" and head.state is AssetState.STORED:
                            stored[record.key.decode()] = head.job
    return Counter(stored.values())


@asynccontextmanager
async def celery(folder: Path) -> AsyncIterator[Side]:
    """The same gateway, with the peer behind it."""
    server = shutil.which("redis-server")
    if server is None:
        raise SystemExit("expected redis-server: install Debian's package of that name")
    async with AsyncExitStack() as closing:
        stack = await closing.enter_async_context(LocalStack(folder))
        children, at = stack.children, stack.endpoints
        certificates, state = folder / "tls", folder / "state"
        tls.create(certificates, datetime.now(UTC))
        settings = Settings(
            kafka=at.kafka, s3_url=at.s3_url, s3_access_key=at.s3_access_key, s3_secret_key=at.s3_secret_key,
            bucket=at.bucket, secret=secrets.token_hex(32), internal_token=secrets.token_hex(32),
            tls_dir=str(certificates), state_dir=str(state), weights_dir=str(weights_dir()),
            policies_extra=str(POLICIES), ram_only_apps=RamOnlyApps.IF_SAFE,
        )  # fmt: skip
        save(settings, folder / "settings.json")
        await topics.create(at.kafka, topics_of(settings), partitions=settings.partitions)
        redis_port, gateway_port, owner_port = free_ports(3)
        broker = f"redis://127.0.0.1:{redis_port}/0"
        env = hygiene.ENVIRONMENT | {"MAYFLY_SETTINGS": str(folder / "settings.json"), "BROKER": broker}
        save_often = ["--appendonly", "yes", "--appendfsync", "everysec", "--dir", str(folder)]
        children.start("redis", [server, "--port", str(redis_port), "--bind", "127.0.0.1", *save_often])
        db = redis.asyncio.Redis.from_url(broker, decode_responses=True)
        closing.push_async_callback(db.aclose)
        while True:
            try:
                await db.ping()
                break
            except redis.exceptions.ConnectionError:
                await asyncio.sleep(POLL_S)
        module = [sys.executable, "-m"]
        children.start("owner", [*module, "benchmarks.celery_peer.owner", "--port", str(owner_port)], env=env)
        children.start("gateway", [*module, "services.gateway", "--port", str(gateway_port)], env=env)
        await _announce(settings, f"127.0.0.1:{owner_port}")
        _, key = await tenant_topic.add(at.kafka, (APP,))
        url = f"http://127.0.0.1:{gateway_port}"
        await _serves(url, key)
        worker = [*module, "celery", "-A", "benchmarks.celery_peer.tasks", "worker", "-c", str(FORKS), "-l", "warning"]
        quiet = ["--without-gossip", "--without-mingle", "--without-heartbeat"]

        async def workers(count: int) -> None:
            for n in range(count):
                if f"worker-{n + 1}" not in {child.name for child in children.running()}:
                    children.start(f"worker-{n + 1}", [*worker, *quiet, "-n", f"worker-{n + 1}@peer"], env=env)

        async def victim() -> None:
            child = next(child for child in children.running() if child.name == "worker-1")
            os.kill(child.pid, signal.SIGKILL)
            await children.restart("worker-1")

        async def commits() -> Counter[str]:
            return Counter({str(name): int(await db.get(name) or 0) for name in await db.keys("committed:*")})

        yield Side(url, key, children, workers=workers, victim=victim, commits=commits)


async def _announce(settings: Settings, address: str) -> None:
    async with (
        AIOKafkaProducer(bootstrap_servers=settings.kafka, transactional_id="peer") as producer,
        producer.transaction(),
    ):
        for partition in range(settings.partitions):
            row = rows.encode(Owner(address, 1))
            await producer.send_and_wait(topics.OWNERS, row, b"%d" % partition, partition=0)


async def _serves(url: str, key: str) -> None:
    """Until the gateway knows the tenant and the owner."""
    async with aiohttp.ClientSession(headers={"Authorization": f"Bearer {key}"}) as http:
        while True:
            try:
                async with http.get(f"{url}/v1/{APP}/jobs/none") as answer, http.get(f"{url}/readyz") as ready:
                    if answer.status != HTTPStatus.UNAUTHORIZED and ready.status == HTTPStatus.OK:
                        return
            except aiohttp.ClientError:
                pass
            await asyncio.sleep(POLL_S)


async def main() -> None:
    """Ours, then the peer, each on a stack of its own."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.throughput")
    parser.add_argument("--jobs", type=int, default=400)
    jobs = parser.parse_args().jobs
    media, found = photo(), list[dict[str, Any]]()
    with tempfile.TemporaryDirectory(prefix="mayfly-bench-") as folder:
        for name, side in (("ours", ours), ("celery", celery)):
            say(f"booting {name}")
            async with side(Path(folder) / name) as booted:
                found.append(await booted.measure(media, jobs))
    print(json.dumps({**found[0], "celery": found[1], "jobs": jobs}))


if __name__ == "__main__":
    uvloop.run(main())
