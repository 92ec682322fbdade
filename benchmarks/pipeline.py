"""How fast whole jobs go through the whole local stack: submit to completed, over HTTP, an engine that does nothing.

    python -m benchmarks.pipeline [--jobs N] [--choice save|discard] [--workers N]

Inputs and results are JPEGs of 200 kB. The last line is one JSON object: `jobs_per_s`; `cpu_s_per_job`: of all
processes of the stack, and `cpu_s` by process; `vs_store_limit`: the time that the same object-store operations take
alone, with the same concurrency and in the same run, ÷ the pipeline's; `stages`: median seconds of each stage of a job
as its client hears of them (what follows within 0.1 s is told together); `owner`: per job, how often gateways asked
each verb of an owner, what the answers took together, how many changes and commits there were.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import re
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import aiohttp
import cv2
import numpy as np
import uvloop

from ray_cluster.engines import samples_path
from services.local.processes import PROC, Child, members
from services.local.stack import LocalStack
from services.local.system import SYSTEM_FILE, System
from services.tls import client_context
from stream.events.rows import JobState
from stream.vault.courier import Courier
from stream.vault.custody import S3Custody
from stream.vault.stream_seal import sealed_size

CONCURRENCY = 32
WARM_UP_JOBS = 64
INPUT_BYTES = 200_000
APP, OPERATION = "testapp", "noop"
POLICIES = Path(__file__).resolve().parents[1] / "tests" / "policies"
RAY_CPUS = 4
TICKS_PER_S = os.sysconf("SC_CLK_TCK")
USER_TICKS = slice(11, 15)  # utime, stime and those of reaped children, after the command's name; see proc(5)

_ANSWERS = re.compile(r'^mayfly_owner_answer_seconds_(count|sum){verb="(\w+)"} (\S+)$', re.MULTILINE)
Stages = defaultdict[str, list[float]]


def say(words: str) -> None:
    """Progress, for whoever waits."""
    print(words, file=sys.stderr, flush=True)


def photo() -> bytes:
    """A JPEG of about `INPUT_BYTES`: the sample portrait, with as much grain as it takes."""
    image = cv2.imread(str(samples_path("portrait.jpg")))
    assert image is not None
    grain = np.random.default_rng(1).normal(size=image.shape)
    for strength in range(60):
        noisy = np.clip(image + strength * grain, 0, 255).astype(np.uint8)
        encoded = bytes(cv2.imencode(".jpg", noisy)[1])
        if len(encoded) >= INPUT_BYTES:
            break
    return encoded


def cpu_s(children: list[Child]) -> dict[str, float]:
    """CPU seconds so far of each child's session."""
    found: dict[str, float] = {}
    for child in children:
        ticks = 0
        for process in members(child):
            try:
                stat = (PROC / str(process.pid) / "stat").read_text()
            except OSError:
                continue
            ticks += sum(int(field) for field in stat.rpartition(")")[2].split()[USER_TICKS])
        found[child.name] = ticks / TICKS_PER_S
    return found


async def owner_facts(system: System) -> dict[str, float]:
    """What the workers counted so far."""
    estates = await system.estates()
    found = {name: float(sum(estate[name] for estate in estates)) for name in ("changes", "commits")}
    ports = json.loads((system.folder / SYSTEM_FILE).read_text())["workers"].values()
    context = client_context(system.settings.tls_dir)
    headers = {"Authorization": f"Bearer {system.settings.internal_token}"}
    async with aiohttp.ClientSession(headers=headers) as http:
        for port in ports:
            async with http.get(f"https://127.0.0.1:{port}/metrics", ssl=context or True) as answer:
                text = await answer.text()
            for of, verb, value in _ANSWERS.findall(text):
                name = verb if of == "count" else f"{verb}_s"
                found[name] = found.get(name, 0.0) + float(value)
    return found


async def at_once(count: int, one: Callable[[int], Awaitable[None]]) -> float:
    """Seconds for `count` of them, `CONCURRENCY` at a time."""
    numbers = iter(range(count))

    async def loop() -> None:
        for number in numbers:
            await one(number)

    began = time.perf_counter()
    await asyncio.gather(*(loop() for _ in range(CONCURRENCY)))
    return time.perf_counter() - began


class Client:
    """One tenant's backend."""

    def __init__(self, http: aiohttp.ClientSession, media: bytes, choice: str) -> None:
        self.stages: Stages = defaultdict(list)
        self._http, self._media, self._choice = http, media, choice

    async def job(self, number: int) -> None:
        """One job to its end."""
        body = {"subject": f"user-{number}", "operation": OPERATION, "choice": self._choice, "inputs": [{}]}
        began = time.perf_counter()
        async with self._http.post(f"/v1/{APP}/jobs", json=body) as answer:
            answer.raise_for_status()
            job = (await answer.json())["id"]
        mark = self._stage("submit", began)
        async with self._http.put(f"/v1/{APP}/jobs/{job}/inputs/0", data=self._media) as answer:
            answer.raise_for_status()
        mark = self._stage("upload", mark)
        leased = False
        async with self._http.get(f"/v1/{APP}/jobs/{job}/events") as events:
            events.raise_for_status()
            async for line in events.content:
                if not line.startswith(b"data: "):
                    continue
                state = JobState(json.loads(line[6:])["state"])
                if state not in {JobState.AWAITING, JobState.QUEUED} and not leased:
                    leased, mark = True, self._stage("queue", mark)
                if state is JobState.ENDING:
                    mark = self._stage("attempt", mark)
                if state.ended:
                    assert state is JobState.SUCCEEDED, state
        self._stage("end" if self._choice == "discard" else "attempt", mark)
        self._stage("all", began)

    def _stage(self, name: str, since: float) -> float:
        now = time.perf_counter()
        self.stages[name].append(now - since)
        return now


async def store_alone(system: System, jobs: int, choice: str) -> float:
    """Seconds that the object-store operations of so many jobs take, straight to the store."""
    settings = system.settings
    custody = S3Custody(settings.s3_url, settings.s3_access_key, settings.s3_secret_key, settings.bucket)
    sealed = os.urandom(sealed_size(INPUT_BYTES))

    async with custody, Courier() as courier:

        async def put(name: str) -> None:
            async def chunks() -> AsyncIterator[bytes]:
                yield sealed

            await courier.put_stream(custody.put_url(name, 60), len(sealed), chunks())

        async def one(number: int) -> None:
            await put(f"in-{number}")
            async for _ in courier.get_stream(custody.get_url(f"in-{number}", 60)):
                pass
            await put(f"out-{number}")

        seconds = await at_once(jobs, one)
        began = time.perf_counter()
        names = [f"in-{number}" for number in range(jobs)]
        if choice == "discard":  # as the sweeper does
            for at in range(0, jobs, CONCURRENCY):
                await custody.delete(names[at : at + CONCURRENCY])
                await custody.remaining(names[at : at + CONCURRENCY])
        seconds += time.perf_counter() - began
        await custody.delete([*names, *(f"out-{number}" for number in range(jobs))])
    return seconds


async def bench(system: System, jobs: int, choice: str) -> dict[str, object]:
    """All of it."""
    _, key = await system.tenant(APP)
    media = photo()
    limits = aiohttp.TCPConnector(limit=0)
    headers = {"Authorization": f"Bearer {key}"}
    async with aiohttp.ClientSession(system.url, connector=limits, headers=headers) as http:
        say(f"warming up; inputs of {len(media):,} bytes")
        await at_once(WARM_UP_JOBS, Client(http, media, choice).job)
        client = Client(http, media, choice)
        say(f"{jobs} jobs, {CONCURRENCY} at a time")
        facts = await owner_facts(system)
        before, own = cpu_s(system.stack.children.running()), time.process_time()
        seconds = await at_once(jobs, client.job)
        after, own = cpu_s(system.stack.children.running()), time.process_time() - own
    told = {name: (value - facts.get(name, 0.0)) / jobs for name, value in (await owner_facts(system)).items()}
    say(f"{jobs / seconds:.1f} jobs/s; the store alone")
    await store_alone(system, WARM_UP_JOBS, choice)
    store_s = await store_alone(system, jobs, choice)
    used = {name: after[name] - before.get(name, 0.0) for name in after}
    return {
        "jobs_per_s": round(jobs / seconds, 1),
        "cpu_s_per_job": round(sum(used.values()) / jobs, 4),
        "vs_store_limit": round(store_s / seconds, 3),
        "stages": {name: round(statistics.median(taken), 3) for name, taken in client.stages.items()},
        "cpu_s": {name: round(taken / jobs, 4) for name, taken in used.items()} | {"client": round(own / jobs, 4)},
        "owner": {name: round(value, 4 if name.endswith("_s") else 2) for name, value in sorted(told.items())},
        "store_jobs_per_s": round(jobs / store_s, 1),
        "choice": choice,
        "jobs": jobs,
    }


async def main() -> None:
    """Boot everything, bench, close it."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.pipeline")
    parser.add_argument("--jobs", type=int, default=400)
    parser.add_argument("--choice", choices=("save", "discard"), default="save")
    parser.add_argument("--workers", type=int, default=1)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="mayfly-bench-") as folder:
        say("booting the stack")
        async with (
            LocalStack(Path(folder), ray_cpus=RAY_CPUS) as stack,
            System(stack, workers=options.workers, policies_extra=str(POLICIES)) as system,
        ):
            result = await bench(system, options.jobs, options.choice)
    print(json.dumps(result))


if __name__ == "__main__":
    uvloop.run(main())
