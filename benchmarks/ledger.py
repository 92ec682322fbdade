"""How fast one owner commits, and how soon another takes over.

    python -m benchmarks.ledger

A change is one row of 300 bytes and one outgoing event, as an upload's is. The last line is one JSON object, its keys
by the number of changes in flight: `commits_per_s`, `p50_ms`, `p99_ms`; `vs_raw`: commits/s at 1,024 in flight ÷ what
plain aiokafka transactions of 500 such pairs reach, both in turns so that a busy machine slows both; `raw_pairs_per_s`;
`takeover_s`: from nothing to serving a partition of 1,000,000 rows.
"""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import count
from pathlib import Path

import uvloop
from aiokafka import AIOKafkaProducer

from services.local.stack import LocalStack
from stream import topics
from stream.events.bus import UploadReceived, bus
from stream.ledger import Change, Ledger, Outgoing
from stream.vault.pages import KeyPages
from stream.vault.rootstore_file import FileRootStore

IN_FLIGHT = (1, 16, 128, 1024)
ROUND_S = 4.0
ROUNDS = 3  # at the most in flight, in turns with the peer
RAW_BATCH = 500
ROW_BYTES = 300
TAKEOVER_ROWS = 1_000_000
PARTITIONS = 4
BENCHED, PEER, TAKEN_OVER = range(3)  # a partition for each

_EVENT = bus.encode(UploadReceived(job="job_" + "a" * 42, asset="ast_" + "b" * 42, at=time.time()))
_numbers = count()


def say(words: str) -> None:
    """Progress, for whoever waits."""
    print(words, file=sys.stderr, flush=True)


def record() -> tuple[bytes, bytes]:
    """A fresh row: a key as long as an id, and a value that does not compress."""
    return b"job_%042d" % next(_numbers), _NOISE[next(_numbers) % 1000 :][:ROW_BYTES]


_NOISE = os.urandom(1000 + ROW_BYTES)


@asynccontextmanager
async def opened(kafka: str, folder: Path, partition: int) -> AsyncIterator[Ledger]:
    """A ledger with a file root store, as a worker has it."""
    ledger = Ledger(partition, KeyPages(partition, FileRootStore(folder / str(partition))), bootstrap=kafka)
    await ledger.open()
    try:
        yield ledger
    finally:
        await ledger.close()


async def commits(ledger: Ledger, in_flight: int) -> tuple[float, list[float]]:
    """(commits/s, latencies in s) of `in_flight` loops that each apply, and wait for the commit."""
    latencies: list[float] = []
    end = time.perf_counter() + ROUND_S

    async def one() -> None:
        while (began := time.perf_counter()) < end:
            key, row = record()
            await ledger.apply(Change(rows={key: row}, events=[Outgoing(topics.UPLOAD, key, _EVENT)]))
            latencies.append(time.perf_counter() - began)

    began = time.perf_counter()
    await asyncio.gather(*(one() for _ in range(in_flight)))
    return len(latencies) / (time.perf_counter() - began), latencies


async def raw(producer: AIOKafkaProducer) -> float:
    """Pairs/s of the peer: the same two records, 500 pairs to a transaction, every send awaited."""
    pairs = 0
    began = time.perf_counter()
    while time.perf_counter() < began + ROUND_S:
        async with producer.transaction():
            sent = []
            for _ in range(RAW_BATCH):
                key, row = record()
                sent.append(await producer.send(topics.LEDGER, row, key=key, partition=PEER))
                sent.append(await producer.send(topics.UPLOAD, _EVENT, key=key, partition=PEER))
            await asyncio.gather(*sent)
        pairs += RAW_BATCH
    return pairs / (time.perf_counter() - began)


async def takeover(kafka: str, folder: Path) -> float:
    """Seconds from nothing to serving a partition of `TAKEOVER_ROWS` rows, which a former owner has filled."""
    say(f"filling a partition with {TAKEOVER_ROWS:,} rows")
    async with AIOKafkaProducer(bootstrap_servers=kafka, max_batch_size=512 << 10, linger_ms=5) as producer:
        sent = []
        batch = producer.create_batch()
        for _ in range(TAKEOVER_ROWS):
            key, row = record()
            while batch.append(key=key, value=row, timestamp=None) is None:
                sent.append(await producer.send_batch(batch, topics.LEDGER, partition=TAKEN_OVER))
                batch = producer.create_batch()
        sent.append(await producer.send_batch(batch, topics.LEDGER, partition=TAKEN_OVER))
        await asyncio.gather(*sent)
    say("taking over")
    began = time.perf_counter()
    async with opened(kafka, folder, TAKEN_OVER) as ledger:
        key, row = record()
        await ledger.apply(Change(rows={key: row}))
        ledger.check()
        seconds = time.perf_counter() - began
        assert len(ledger) > TAKEOVER_ROWS
    return seconds


async def bench(kafka: str, folder: Path) -> dict[str, object]:
    """All of it."""
    await topics.create(kafka, topics.plan(3600, 3600), partitions=PARTITIONS)
    rate: dict[int, float] = {}
    latencies: dict[int, list[float]] = {}
    peer: list[float] = []
    most: list[float] = []
    options = {"transactional_id": f"peer-{secrets.token_hex(4)}", "max_batch_size": 512 << 10, "linger_ms": 0}
    async with opened(kafka, folder, BENCHED) as ledger, AIOKafkaProducer(bootstrap_servers=kafka, **options) as plain:
        await commits(ledger, IN_FLIGHT[-1])  # a broker that has just started is slow
        for n in IN_FLIGHT[:-1]:
            rate[n], latencies[n] = await commits(ledger, n)
            say(f"{n} in flight: {rate[n]:,.0f} commits/s")
        n = IN_FLIGHT[-1]
        latencies[n] = []
        for _ in range(ROUNDS):
            peer.append(await raw(plain))
            found, taken = await commits(ledger, n)
            most.append(found)
            latencies[n] += taken
            say(f"{n} in flight: {found:,.0f} commits/s; the peer: {peer[-1]:,.0f}")
        rate[n] = statistics.median(most)
    return {
        "commits_per_s": {str(n): round(rate[n]) for n in IN_FLIGHT},
        "p50_ms": {str(n): _quantile_ms(latencies[n], 0.5) for n in IN_FLIGHT},
        "p99_ms": {str(n): _quantile_ms(latencies[n], 0.99) for n in IN_FLIGHT},
        "vs_raw": round(rate[IN_FLIGHT[-1]] / statistics.median(peer), 2),
        "raw_pairs_per_s": round(statistics.median(peer)),
        "takeover_s": round(await takeover(kafka, folder), 2),
    }


def _quantile_ms(latencies: list[float], share: float) -> float:
    ordered = sorted(latencies)
    return round(1000 * ordered[min(len(ordered) - 1, int(share * len(ordered)))], 1)


async def main() -> None:
    """Boot Kafka, bench, close it."""
    with tempfile.TemporaryDirectory(prefix="mayfly-bench-") as folder:
        say("booting the stack")
        async with LocalStack(Path(folder) / "run") as stack:
            result = await bench(stack.endpoints.kafka, Path(folder) / "roots")
    print(json.dumps(result))


if __name__ == "__main__":
    uvloop.run(main())
