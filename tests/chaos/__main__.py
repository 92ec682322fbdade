"""Everything dies, stands still and comes back while jobs flow; then what was promised is looked at from the outside.

python -m tests.chaos [--seed N] [--seconds S] [--clients N] [--partitions N] [--keep FOLDER]

The last line: `S s, K faults, N jobs, 0 lost, 0 repeated, 0 late erasures`; the exit code is 0 if it is all zeros. The
same seed strikes in the same order.
"""

from __future__ import annotations

import argparse
import json
import secrets
import sys
import tempfile
from pathlib import Path

import uvloop

from tests.chaos.storm import PARTITIONS, storm

SECONDS = 780.0
CLIENTS = 48


def say(words: str) -> None:
    """To whoever waits, at once."""
    sys.stdout.write(words + "\n")
    sys.stdout.flush()


async def main() -> int:
    """Run it; 0 if nothing was lost, repeated or late."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos")
    parser.add_argument("--seed", type=int, default=secrets.randbelow(10**6))
    parser.add_argument("--seconds", type=float, default=SECONDS)
    parser.add_argument("--clients", type=int, default=CLIENTS)
    parser.add_argument("--partitions", type=int, default=PARTITIONS)
    parser.add_argument("--keep", type=Path, help="where the run's logs and data stay")
    options = parser.parse_args()
    say(f"seed {options.seed}: `make chaos SEED={options.seed}` strikes in this order again")
    with tempfile.TemporaryDirectory(prefix="mayfly-chaos-") as folder:
        verdict, faults, lasted = await storm(
            options.keep or Path(folder) / "run",
            seed=options.seed,
            seconds=options.seconds,
            clients=options.clients,
            partitions=options.partitions,
            say=say,
        )
    say(f"{json.dumps(verdict.ended)} {verdict.receipts} erasures compared, {verdict.probes} asked for")
    for name in ("lost", "repeated", "late"):
        for which in getattr(verdict, name)[:20]:
            say(f"{name} {which}")
    say(
        f"{lasted:.0f} s, {faults} faults, {verdict.jobs} jobs, {len(verdict.lost)} lost, "
        f"{len(verdict.repeated)} repeated, {len(verdict.late)} late erasures",
    )
    return 0 if verdict.kept else 1


if __name__ == "__main__":
    sys.exit(uvloop.run(main()))
