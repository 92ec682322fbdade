"""An engine that makes nothing, for tests and benchmarks: it can be slow, fail or take its process down on demand.

No app offers it unless its policy names operation `noop`.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import msgspec

from ray_cluster.engines.errors import EngineFault
from ray_cluster.engines.interface import IsCancelled, Plaintext, Report, Result, check, first, parse

CRASH_EXIT_CODE = 70
MAX_OUT_BYTES = 64 * 1024 * 1024


class NoopParams(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`steps` pauses of `step_s` seconds, each a cancel point; then `fail` raises, `fill` finds no memory left, or
    `crash` ends the process.

    The result is a copy of input 0, or `out_bytes` zero bytes. `timed`: its facts say when the run began and ended, on
    the machine's monotonic clock.
    """

    steps: Annotated[int, msgspec.Meta(ge=0, le=100_000)] = 0
    step_s: Annotated[float, msgspec.Meta(ge=0, le=60)] = 0.0
    out_bytes: Annotated[int, msgspec.Meta(ge=0, le=MAX_OUT_BYTES)] | None = None
    fail: bool = False
    crash: bool = False
    fill: bool = False
    timed: bool = False


class Noop:
    """Operation `noop`."""

    def __init__(self, folder: Path) -> None:
        del folder

    def load(self) -> None:
        """Nothing to load."""

    def run(
        self,
        inputs: Sequence[Plaintext],
        params: dict[str, Any],
        *,
        seed: int,
        report: Report,
        cancelled: IsCancelled,
    ) -> Result:
        """As `NoopParams` says; the input is not decoded."""
        del seed
        wanted = parse(params, NoopParams)
        began_s = time.monotonic()
        for step in range(wanted.steps):
            check(cancelled)
            report("wait", step / wanted.steps)
            time.sleep(wanted.step_s)
        check(cancelled)
        if wanted.crash:
            os._exit(CRASH_EXIT_CODE)
        if wanted.fail:
            raise EngineFault("expected to fail by param `fail`, and did; leave it out")
        if wanted.fill:
            raise MemoryError
        media = bytearray(first(inputs)) if wanted.out_bytes is None else bytearray(wanted.out_bytes)
        report("done", 1.0)
        facts: dict[str, int | float] = {"steps": wanted.steps}
        if wanted.timed:
            facts |= {"began_s": began_s, "ended_s": time.monotonic()}
        return Result(media, "application/octet-stream", 0, 0, 0, facts)
