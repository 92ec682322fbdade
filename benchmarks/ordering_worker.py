"""A worker of `benchmarks.ordering`: events of a topic, each of which takes a while, in the order of their keys.

    python -m benchmarks.ordering_worker faust|plain KAFKA FOLDER PARTITIONS

`faust`: the product's own app, estates, flow and ledger. `plain`: the same work and the same ledger behind a bare
aiokafka consumer that owns all partitions; the difference is what Faust costs.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections import defaultdict, deque
from collections.abc import Callable, Hashable
from pathlib import Path
from typing import Any

import uvloop
from aiokafka import AIOKafkaConsumer, TopicPartition

from stream import topics
from stream.agents.app import make_app
from stream.agents.estate import Estate, Rules, Tools
from stream.agents.estates import Estates
from stream.agents.flow import Decide, Flow
from stream.audit.log import Log
from stream.audit.signer import open_signer
from stream.clock import RealClock
from stream.events.bus import Event, GenerateRequested, UploadReceived, bus
from stream.ids import Mint
from stream.ledger import Change, Ledger, Outgoing
from stream.vault.pages import KeyPages
from stream.vault.rootstore_file import FileRootStore

CONCURRENCY = 100
LONGEST_S = 0.005
ROW_BYTES = 300
WARM = "warm"
"""Keys that begin so cost no time and count for nothing: they wake the broker and the codecs."""


def takes_s(number: int) -> float:
    """0 to 5 ms for message `number`, evenly spread, the same in every run."""
    return (number * 2_654_435_761 % 2**32) / 2**32 * LONGEST_S


class KeyOrdered:
    """Runs at most `CONCURRENCY` waits at once, one at a time per key; `done(item)` follows in the order of `add`."""

    def __init__(self, done: Callable[[Any], None]) -> None:
        self._done = done
        self._loop = asyncio.get_running_loop()
        self._running = 0
        self._ready: deque[tuple[Hashable, list[Any]]] = deque()
        self._behind: dict[Hashable, deque[list[Any]]] = {}  # a key that is here runs, or is ready to
        self._lane: deque[list[Any]] = deque()

    def add(self, key: Hashable, seconds: float, item: Any) -> None:
        """Wait for `seconds` after all earlier ones of `key`."""
        entry = [seconds, item, False]
        self._lane.append(entry)
        if (behind := self._behind.get(key)) is not None:
            behind.append(entry)
            return
        self._behind[key] = deque()
        self._begin(key, entry)

    def _begin(self, key: Hashable, entry: list[Any]) -> None:
        if self._running == CONCURRENCY:
            self._ready.append((key, entry))
            return
        self._running += 1
        self._loop.call_later(entry[0], self._end, key, entry)

    def _end(self, key: Hashable, entry: list[Any]) -> None:
        entry[2] = True
        self._running -= 1
        if behind := self._behind[key]:
            self._ready.append((key, behind.popleft()))
        else:
            del self._behind[key]
        while self._ready and self._running < CONCURRENCY:
            self._begin(*self._ready.popleft())
        while self._lane and self._lane[0][2]:
            self._done(self._lane.popleft()[1])


def decide(estate: Any, event: UploadReceived, _sealed: bytes) -> Change:
    """What an agent's decision costs: a row and an event. Its row names the message, so that order can be checked."""
    row = event.asset.encode().ljust(ROW_BYTES, b".")
    out = bus.encode(GenerateRequested(job=event.job, at=event.at), event.asset.encode())
    del estate
    return Change(rows={event.job.encode(): row}, events=[Outgoing(topics.GENERATE, event.job.encode(), out)])


def tools() -> Tools:
    """What an estate needs to hold a ledger, and no more."""
    return Tools(
        clock=RealClock(),
        mint=Mint(bytes(32), 1),
        policies={},
        available={},
        custody=None,  # type: ignore[arg-type]
        rules=Rules(),
        real_time=time.time,
        end=lambda: None,
    )


async def opened(kafka: str, folder: Path, partition: int, on_lost: Any = None) -> tuple[Ledger, KeyPages]:
    """A partition's ledger, with a file root store, as a worker has it."""
    pages = KeyPages(partition, FileRootStore(folder / "roots" / str(partition)))
    ledger = Ledger(partition, pages, bootstrap=kafka, on_lost=on_lost)
    await ledger.open()
    return ledger, pages


def tell(folder: Path, count: int) -> None:
    """How many partitions this worker serves, for its parent."""
    (folder / f"serves-{os.getpid()}").write_text(str(count))


async def with_faust(kafka: str, folder: Path, partitions: int) -> None:
    """Until killed."""
    app = make_app(topics.GROUP, bootstrap=kafka, partitions=partitions, data_dir=folder / f"faust-{os.getpid()}")
    shared = tools()

    async def make(partition: int, on_lost: Any) -> Estate:
        ledger, pages = await opened(kafka, folder, partition, on_lost)
        return Estate(ledger, pages, Log(partition, open_signer(folder / "signing")), shared)

    estates = Estates(app, (topics.UPLOAD,), make)
    estates.on_opened.append(lambda _: tell(folder, len(estates.owned())))
    estates.on_revoked.append(lambda: tell(folder, 0))
    flow = Flow(estates, on_parked=lambda topic, kind: print("parked", topic, kind))
    source = app.topic(topics.UPLOAD, value_serializer="raw", value_type=bytes, key_serializer="raw", key_type=bytes)
    decisions: dict[type[Event], Decide] = {UploadReceived: decide}
    done: asyncio.Queue[Any] = asyncio.Queue()

    async def follow() -> None:
        while True:
            await flow.add(await done.get(), decisions)

    async def agent(stream: Any) -> None:
        ordered: dict[int, KeyOrdered] = defaultdict(lambda: KeyOrdered(done.put_nowait))
        following = asyncio.create_task(follow())
        async for event in stream.noack().events():
            message = event.message
            header, _ = bus.decode(message.value)
            ordered[message.partition].add(message.key, seconds_of(header), event)
        following.cancel()

    app.agent(source, name=topics.UPLOAD)(agent)
    app.finalize()
    await app.start()
    await app.wait_until_stopped()


async def plain(kafka: str, folder: Path, partitions: int) -> None:
    """Until killed."""
    tps = [TopicPartition(topics.UPLOAD, n) for n in range(partitions)]
    ledgers = {n: (await opened(kafka, folder, n))[0] for n in range(partitions)}
    options = {"isolation_level": "read_committed", "enable_auto_commit": False}
    async with AIOKafkaConsumer(bootstrap_servers=kafka, **options) as consumer:
        consumer.assign(tps)
        for tp in tps:
            consumer.seek(tp, ledgers[tp.partition].applied(topics.UPLOAD))

        def commit(item: tuple[TopicPartition, int, UploadReceived]) -> None:
            tp, offset, header = item
            change = decide(None, header, b"")
            change.consumed = (tp.topic, offset)
            ledgers[tp.partition].apply(change)

        ordered = {tp: KeyOrdered(commit) for tp in tps}
        tell(folder, partitions)
        while True:
            for tp, records in (await consumer.getmany(timeout_ms=50)).items():
                for record in records:
                    header, _ = bus.decode(record.value)
                    ordered[tp].add(record.key, seconds_of(header), (tp, record.offset, header))


def seconds_of(event: Any) -> float:
    """How long this message takes."""
    return 0.0 if event.job.startswith(WARM) else takes_s(int(event.asset))


def main() -> None:
    """See the module."""
    mode, kafka, folder, partitions = sys.argv[1:]
    serve = {"faust": with_faust, "plain": plain}[mode]
    uvloop.run(serve(kafka, Path(folder), int(partitions)))


if __name__ == "__main__":
    main()
