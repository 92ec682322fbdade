"""How fast events that each take 0 to 5 ms go through an agent and the ledger, in the order of their keys.

    python -m benchmarks.ordering

10,000 messages over 1,000 keys, at most 100 at work at once in each worker, from the first one sent until the last
one's row and event are committed and read back. It is the workload of Confluent's Parallel Consumer (Java), which
takes 2.06 to 2.24 s for it. The last line is one JSON object: `one_worker_s`, `two_workers_s`; `without_faust_s`: one
worker that reads with a bare aiokafka consumer, everything else the same; `out_of_order`: messages of a key that were
committed before an earlier one of it, or not exactly once, in all runs.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import sys
import tempfile
import time
import zlib
from collections import Counter
from pathlib import Path
from typing import Self

import uvloop
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from benchmarks.ordering_worker import WARM, takes_s
from services.local.stack import LocalStack
from stream import topics
from stream.events.bus import GenerateRequested, UploadReceived, bus
from stream.vault import hygiene

MESSAGES = 10_000
WARM_UP = 2_000
KEYS = 1_000
PARTITIONS = 4
RUNS = 3
PATIENCE_S = 60.0


def say(words: str) -> None:
    """Progress, for whoever waits."""
    print(words, file=sys.stderr, flush=True)


class Load:
    """Messages in, committed events out."""

    def __init__(self, kafka: str) -> None:
        self._producer = AIOKafkaProducer(bootstrap_servers=kafka, linger_ms=5, max_batch_size=256 << 10)
        self._reader = AIOKafkaConsumer(bootstrap_servers=kafka, isolation_level="read_committed", fetch_max_wait_ms=20)

    async def __aenter__(self) -> Self:
        await self._producer.start()
        await self._reader.start()
        tps = [TopicPartition(topics.GENERATE, n) for n in range(PARTITIONS)]
        self._reader.assign(tps)
        for tp, end in (await self._reader.end_offsets(tps)).items():
            self._reader.seek(tp, end)
        return self

    async def __aexit__(self, *_exc: object) -> None:
        await self._producer.stop()
        await self._reader.stop()

    async def send(self, keys: list[str]) -> tuple[float, int]:
        """(seconds until all are committed, how many of them were out of order or not exactly once)."""
        began = time.perf_counter()
        reading = asyncio.create_task(self._read(len(keys)))
        for number, key in enumerate(keys):
            event = bus.encode(UploadReceived(job=key, asset=str(number), at=time.time()))
            await self._producer.send(topics.UPLOAD, event, key.encode(), zlib.crc32(key.encode()) % PARTITIONS)
        found = await asyncio.wait_for(reading, PATIENCE_S)
        seconds = time.perf_counter() - began
        wrong, last = 0, dict.fromkeys(keys, -1)
        for key, number in found:
            wrong += number <= last[key]
            last[key] = number
        times = Counter(number for _, number in found)
        return seconds, wrong + sum(times[number] != 1 for number in range(len(keys)))

    async def _read(self, count: int) -> list[tuple[str, int]]:
        found: list[tuple[str, int]] = []
        while len(found) < count:
            for records in (await self._reader.getmany(timeout_ms=100)).values():
                for record in records:
                    header, body = bus.decode(record.value)
                    assert isinstance(header, GenerateRequested)
                    found.append((header.job, int(body)))
        return found


async def serving(folder: Path, workers: int) -> None:
    """Until so many workers serve every partition between them."""
    end = time.monotonic() + PATIENCE_S
    while time.monotonic() < end:
        shares = [int(path.read_text() or 0) for path in folder.glob("serves-*")]
        if len([share for share in shares if share]) == workers and sum(shares) == PARTITIONS:
            return
        await asyncio.sleep(0.1)
    raise TimeoutError(f"expected {workers} workers to share {PARTITIONS} partitions, got {shares}")


async def timed(stack: LocalStack, folder: Path, mode: str, workers: int) -> tuple[float, int]:
    """(median seconds, messages out of order) of `RUNS` with so many fresh workers."""
    for stale in folder.glob("serves-*"):
        stale.unlink()
    kafka = stack.endpoints.kafka
    names = [f"{mode}-{n}" for n in range(workers)]
    argv = [sys.executable, "-m", "benchmarks.ordering_worker", mode, kafka, str(folder), str(PARTITIONS)]
    for name in names:
        stack.children.start(name, argv, env=hygiene.ENVIRONMENT)
    await serving(folder, workers)
    taken, wrong = [], 0
    async with Load(kafka) as load:
        await load.send([f"{WARM}-{n % KEYS}" for n in range(WARM_UP)])
        for _ in range(RUNS):
            seconds, faults = await load.send([f"job_{n % KEYS:042d}" for n in range(MESSAGES)])
            taken.append(seconds)
            wrong += faults
            say(f"{mode}, {workers} worker(s): {seconds:.2f} s")
    await stack.children.stop(names)
    return statistics.median(taken), wrong


async def main() -> None:
    """Boot Kafka, bench, close it."""
    work_s = sum(map(takes_s, range(MESSAGES)))
    say(f"{work_s:.1f} s of waiting in all: no more than 100 at once needs {work_s / 100:.2f} s")
    with tempfile.TemporaryDirectory(prefix="mayfly-bench-") as name:
        folder = Path(name)
        async with LocalStack(folder / "run") as stack:
            await topics.create(stack.endpoints.kafka, topics.plan(3600, 3600), partitions=PARTITIONS)
            bare_s, bare_wrong = await timed(stack, folder, "plain", 1)
            one_s, one_wrong = await timed(stack, folder, "faust", 1)
            two_s, two_wrong = await timed(stack, folder, "faust", 2)
    result = {
        "one_worker_s": round(one_s, 2),
        "two_workers_s": round(two_s, 2),
        "out_of_order": bare_wrong + one_wrong + two_wrong,
        "without_faust_s": round(bare_s, 2),
    }
    print(json.dumps(result))


if __name__ == "__main__":
    uvloop.run(main())
