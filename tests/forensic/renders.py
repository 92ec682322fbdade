"""Canaries through RAM-only apps: searched for while they are worked on, and after.

python -m tests.forensic.renders [--requests N] [--dump FILE]
"""

from __future__ import annotations

import argparse
import asyncio
import os
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from services.local.stack import LocalStack
from services.local.system import System
from tests import twins
from tests.forensic.__main__ import IDLE_S, sources, unclean
from tests.forensic.canaries import Flock, a_noise, a_text
from tests.forensic.control import MEMORY, NAMELESS, planted
from tests.forensic.places import Piece, processes
from tests.forensic.render_tenant import Ask, Plan
from tests.forensic.report import Finding, dump, print_report
from tests.forensic.scan import Place, scan

APP = twins.RAM_ONLY[0].name
SIDE = 32
STEPS = {"steps": 5, "step_s": 0.01}
SLOW = {"steps": 2000, "step_s": 0.01}
LEAVES_S = 0.5
MEMORY_OF = "memory: "


@dataclass(slots=True)
class Watched:
    """What was seen while pictures were on their way: how many looks at everything began then, and what was met."""

    passes: int = 0
    met: Counter[str] = field(default_factory=Counter)
    statuses: Counter[str] = field(default_factory=Counter)


def plan_of(flock: Flock, requests: int) -> tuple[Ask, ...]:
    """Requests of one to three pictures; of ten, one leaves, one sends a part of one, one a parameter that is wrong."""
    asks = []
    for n in range(requests):
        count = 1 + n % 3
        pictures = [a_noise(SIDE) for _ in range(count)]
        for picture in pictures:
            flock.add_media("picture, and result", picture)
        if n % 10 == 3:
            pictures[-1] = pictures[-1][:-20]
        names = tuple(_text(flock, "file name") for _ in pictures)
        leaves = n % 10 == 7
        params = {"steps": _text(flock, "parameter")} if n % 10 == 5 else SLOW if leaves else STEPS
        asks.append(Ask(pictures=tuple(pictures), names=names, params=params, leave_s=LEAVES_S * leaves))
    return tuple(asks)


async def drilled(system: System, flock: Flock, asks: tuple[Ask, ...]) -> Watched:
    """Send them all; look at every file, again and again, until the last answer is there."""
    _, key = await system.tenant(APP)
    plan = Plan(url=system.url, key=key, app=APP, asks=asks)
    argv = [sys.executable, "-m", "tests.forensic.render_tenant"]
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(*argv, stdin=pipe, stdout=pipe)
    sending = asyncio.create_task(process.communicate(msgspec.json.encode(plan)))
    watched = Watched()
    while not sending.done():
        watched.passes += 1
        for place in await asyncio.to_thread(scan, flock, on_disk(system.stack)):
            if place.hits:
                watched.met[place.name] += len(place.canaries(flock))
    out, _ = await sending
    assert process.returncode == 0, "the tenant failed"
    watched.statuses = Counter(msgspec.json.decode(out, type=dict[str, int]))
    return watched


def on_disk(stack: LocalStack) -> Iterable[tuple[str, Iterable[Piece]]]:
    """The run's files with and without names, logs, Kafka, S3, Ray's session and shared memory: all but memory."""
    found = sources(stack, os.getpid(), since=0.0, elsewhere=False)
    return (
        (name, pieces) for name, pieces in found if not name.startswith(MEMORY_OF) and name not in {MEMORY, NAMELESS}
    )


async def run(run_dir: Path, *, requests: int) -> tuple[Finding, Watched]:
    """Boot, send, look meanwhile and after."""
    since, flock = time.time(), Flock()
    asks = plan_of(flock, requests)
    policies = str(twins.write(run_dir / "policies"))
    async with (
        LocalStack(run_dir) as stack,
        System(stack, workers=2, policies_extra=policies, actor_idle_s=3600.0) as system,
    ):
        began = time.monotonic()
        watched = await drilled(system, flock, asks)
        drilled_s = time.monotonic() - began
        await asyncio.sleep(IDLE_S)
        files = {"file_place": "temporary folder", "topic_place": "kafka: its folder"}
        async with planted(flock, kafka=system.settings.kafka, folder=run_dir / "tmp", **files) as control:
            began = time.monotonic()
            found = await asyncio.to_thread(scan, flock, sources(stack, control.pid, since=since))
            return Finding(
                flock=flock,
                places=found,
                missed=control.missed(found, flock),
                classes=Counter(),
                states=watched.statuses,
                restarts=system.restarts,
                unclean=unclean(processes(stack.children.running())),
                drilled_s=drilled_s,
                scanned_s=time.monotonic() - began,
            ), watched


def met(places: list[Place], flock: Flock) -> dict[str, int]:
    """Place → how many canaries."""
    return {place.name: len(place.canaries(flock)) for place in places if place.hits}


def main() -> int:
    """The exit status: 0 if nothing but the control was found, then or meanwhile."""
    parser = argparse.ArgumentParser(prog="python -m tests.forensic.renders", description=__doc__)
    parser.add_argument("--requests", type=int, default=200)
    parser.add_argument("--dump", type=Path, help="write what lies around each finding to this file")
    options = parser.parse_args()
    run_dir = Path(tempfile.mkdtemp(prefix="mayfly-forensic-"))
    (run_dir / "tmp").mkdir()
    os.environ["TMPDIR"] = str(run_dir / "tmp")
    tempfile.tempdir = None
    try:
        finding, watched = asyncio.run(run(run_dir, requests=options.requests))
    finally:
        shutil.rmtree(run_dir, ignore_errors=True)
    print_report(finding)
    if options.dump:
        dump(finding, options.dump)
    meanwhile = sum(watched.met.values())
    clean = finding.clean and watched.passes > 0 and not meanwhile
    sys.stdout.write(f"{options.requests} renders, looked at {watched.passes} times meanwhile: {meanwhile} found\n")
    return 0 if clean else 1


def _text(flock: Flock, kind: str) -> str:
    text = a_text()
    flock.add(kind, text.encode())
    return text


if __name__ == "__main__":
    sys.exit(main())
