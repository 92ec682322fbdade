"""Four leaks made on purpose. A scan that misses one of them has found nothing by finding nothing."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

from aiokafka import AIOKafkaProducer

from stream import topics
from tests.forensic.canaries import Flock, a_text
from tests.forensic.scan import Place

KIND = "control"
MEMORY, NAMELESS = "control: its memory", "control: a file without a name"


@dataclass(slots=True)
class Control:
    """The leaks: number of the canary → the beginning of the place where it must be found."""

    pid: int
    planted: dict[int, str]

    def missed(self, places: list[Place], flock: Flock) -> list[str]:
        """Where a leak was not found."""
        found = {place.name: place.canaries(flock) for place in places}
        return [where for number, where in self.planted.items() if number not in found.get(where, ())]


@contextlib.asynccontextmanager
async def planted(
    flock: Flock, *, kafka: str, folder: Path, file_place: str, topic_place: str
) -> AsyncIterator[Control]:
    """Plant them; the process lives as long as this context."""
    places: dict[int, str] = {}

    def text(where: str) -> bytes:
        places[len(flock.kinds)] = where
        flock.add(KIND, made := a_text().encode())
        return made

    (folder / "leak.txt").write_bytes(text(file_place))
    async with AIOKafkaProducer(bootstrap_servers=kafka) as producer:
        await producer.send_and_wait(topics.PARKED, text(topic_place), key=KIND.encode(), partition=0)
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.forensic.leak", stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        process.stdin.write(text(MEMORY) + b"\n" + text(NAMELESS) + b"\n")
        await process.stdin.drain()
        assert await process.stdout.readline() == b"ready\n"
        yield Control(process.pid, places)
    finally:
        process.stdin.close()
        await process.wait()
