"""Canaries go through the whole system and out again; then everything it could have written is scanned for them.

python -m tests.forensic [--photos N] [--no-face] [--dump FILE]
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
from collections.abc import Iterable, Iterator
from pathlib import Path

from services.gateway.owner_client import KEEP_ALIVE_S
from services.local.stack import RAM, LocalStack
from stream.vault import hygiene
from tests.forensic import places as things
from tests.forensic.canaries import Flock
from tests.forensic.control import MEMORY, NAMELESS, planted
from tests.forensic.drill import TappedSystem, add_features, drill, plan_of, tap_path
from tests.forensic.places import Piece
from tests.forensic.report import Finding, dump, print_report
from tests.forensic.scan import scan
from tests.forensic.tap import Tap

POLICIES = Path(__file__).resolve().parents[1] / "policies"
TEMPORARY = Path("/tmp"), Path("/var/tmp")


def sources(
    stack: LocalStack, control: int, *, since: float, elsewhere: bool = True
) -> Iterator[tuple[str, Iterable[Piece]]]:
    """Every place, a name for people and what lies there. `elsewhere`: also what others keep in temporary folders."""
    run, ram = stack.run_dir, stack.ram
    folders = {
        "kafka: its folder": [run / "kafka"],
        "s3: its folder": [run / "s3"],
        "ray: session, shared memory": [ram / "ray"],
        "sockets, root store in memory": [path for path in ram.iterdir() if path.name != "ray"],
        "state: roots, signing, faust": [run / "system"],
        "temporary folder": [run / "tmp"],
    }
    named = [path for paths in folders.values() for path in paths]
    for name, paths in folders.items():
        for path in things.files_below(*paths):
            yield name, things.of_file(path)
    for path in things.files_below(run, skip=named):
        yield "logs, records of the run", things.of_file(path)
    others = [path for folder in (*TEMPORARY, RAM) for path in folder.glob("mayfly-*")]  # of other runs
    for path in things.files_below(*TEMPORARY, RAM, skip=[run, *others], since=since) if elsewhere else ():
        yield "/tmp, /var/tmp, /dev/shm since", things.of_file(path)
    for pid, name in sorted(things.processes(stack.children.running()).items()):
        for entry in things.nameless(pid):
            yield "files without a name, held open", things.of_file(entry)
        yield f"memory: {name}", things.memory(pid)
    yield MEMORY, things.memory(control)
    for entry in things.nameless(control):
        yield NAMELESS, things.of_file(entry)


IDLE_S = KEEP_ALIVE_S + 2.0
"""The last request on a connection between gateway and owner stays until it is closed (docs/erasure.md, residue 7)."""


async def run(run_dir: Path, *, photos: int, face: bool) -> Finding:
    """Boot, send, erase, scan."""
    since = time.time()
    flock, tap = Flock(), Tap()
    async with LocalStack(run_dir) as stack, await tap.listen(tap_path(run_dir)):
        system = TappedSystem(
            stack,
            workers=2,
            demo_clock=True,
            policies_extra=str(POLICIES),
            retry_after_s=(0.2,),
            content_free_s=600.0,
            actor_idle_s=3600.0,  # an actor that has ended could not be looked into
        )
        async with system:
            steps = plan_of(flock, photos=photos, face=face)
            began = time.monotonic()
            states, assets = await drill(system, flock, steps)
            for kind, keys in tap.dead.items():
                for key in keys:
                    flock.add(kind, key)
            if face:
                await asyncio.to_thread(add_features, flock, steps, system.settings.weights_dir)
            drilled_s = time.monotonic() - began
            await asyncio.sleep(IDLE_S)
            files = {"file_place": "temporary folder", "topic_place": "kafka: its folder"}
            async with planted(flock, kafka=system.settings.kafka, folder=run_dir / "tmp", **files) as control:
                began = time.monotonic()
                found = await asyncio.to_thread(scan, flock, sources(stack, control.pid, since=since))
                scanned_s = time.monotonic() - began
                return Finding(
                    flock=flock,
                    places=found,
                    missed=control.missed(found, flock),
                    classes=Counter(asset["data_class"] for asset in assets),
                    states=Counter(states),
                    restarts=system.restarts,
                    unclean=unclean(things.processes(stack.children.running())),
                    drilled_s=drilled_s,
                    scanned_s=scanned_s,
                )


PLAINTEXT = ("gateway", "worker", "ray EngineActor")
"""Names of those that see plaintext or keys. Ray's own processes and the scheduler see neither, and are scanned too."""


def unclean(processes: dict[int, str]) -> list[str]:
    """Those that see plaintext and were not started so that freed memory is overwritten, and what they lack for it."""
    return [
        f"{name} ({', '.join(lacking)})"
        for pid, name in processes.items()
        if name.startswith(PLAINTEXT) and (lacking := _lacks(pid))
    ]


def _lacks(pid: int) -> list[str]:
    try:
        found = things.environment(pid)
    except OSError:  # it has ended
        return []
    return [name for name, value in hygiene.ENVIRONMENT.items() if found.get(name) != value]


def main() -> int:
    """The exit status: 0 if nothing but the control was found."""
    parser = argparse.ArgumentParser(prog="python -m tests.forensic", description=__doc__)
    parser.add_argument("--photos", type=int, default=2, help="photos down each path")
    parser.add_argument("--no-face", action="store_true", help="no stylization, hence no face features")
    parser.add_argument("--dump", type=Path, help="write what lies around each finding to this file")
    options = parser.parse_args()
    run_dir = Path(tempfile.mkdtemp(prefix="mayfly-forensic-"))
    (run_dir / "tmp").mkdir()
    os.environ["TMPDIR"] = str(run_dir / "tmp")
    tempfile.tempdir = None
    try:
        finding = asyncio.run(run(run_dir, photos=options.photos, face=not options.no_face))
    finally:
        shutil.rmtree(run_dir, ignore_errors=True)
    print_report(finding)
    if options.dump:
        dump(finding, options.dump)
    return 0 if finding.clean else 1


if __name__ == "__main__":
    sys.exit(main())
