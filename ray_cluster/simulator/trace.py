"""A trace: which jobs come when, of whom, how long each really takes, and by when it is wanted. CSV, one job a line."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import ClassVar

import msgspec

from ray_cluster.lanes import LANE_WEIGHTS
from stream.errors import BadRequest

COLUMNS = ("arrival_s", "tenant", "lane", "operation", "gpu_s", "deadline_s", "fails")


class BadTrace(BadRequest):
    """A trace that cannot be read; the message names the line."""

    kind: ClassVar[str] = "bad-trace"


class Asked(msgspec.Struct, frozen=True):
    """One job. `gpu_s`: what it really takes of one actor; `deadline_s` after its arrival; `fails` attempts first."""

    arrival_s: float
    tenant: str
    lane: str
    operation: str
    gpu_s: float
    deadline_s: float
    fails: int = 0


def read(path: Path) -> list[Asked]:
    """In order of arrival. Raises `BadTrace`; columns beyond `COLUMNS` are left alone."""
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = csv.DictReader(file)
            if missing := [name for name in COLUMNS if name not in (rows.fieldnames or ())]:
                raise BadTrace(f"expected columns {', '.join(COLUMNS)}, got none named {', '.join(missing)}")
            jobs = [_job(row, number) for number, row in enumerate(rows, start=2)]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise BadTrace(f"expected a readable CSV file, got {type(error).__name__}: {path.name}") from None
    if not jobs:
        raise BadTrace("expected at least one job, got none")
    return sorted(jobs, key=lambda job: job.arrival_s)


def write(jobs: Iterable[Asked], path: Path) -> None:
    """As `read` reads it."""
    with path.open("w", newline="", encoding="utf-8") as file:
        lines = csv.writer(file, lineterminator="\n")
        lines.writerow(COLUMNS)
        lines.writerows(_line(job) for job in jobs)


def load(jobs: list[Asked], actors: int) -> float:
    """Seconds of work ÷ seconds that `actors` have while jobs arrive."""
    span_s = jobs[-1].arrival_s - jobs[0].arrival_s
    return math.fsum(job.gpu_s for job in jobs) / (span_s * actors) if span_s > 0 else math.inf


def at_load(jobs: list[Asked], actors: int, wanted: float) -> list[Asked]:
    """The same jobs, arriving faster or slower, so that `load` is `wanted`. How long each may take stays."""
    now = load(jobs, actors)
    if not 0 < now < math.inf:
        raise BadTrace("expected jobs that take time and arrive at different times, so that there is a load to set")
    first, slower = jobs[0].arrival_s, now / wanted
    return [msgspec.structs.replace(job, arrival_s=(job.arrival_s - first) * slower) for job in jobs]


def _line(job: Asked) -> Iterator[object]:
    for name in COLUMNS:
        value = getattr(job, name)
        yield round(value, 4) if isinstance(value, float) else value


def _job(row: dict[str, str], number: int) -> Asked:
    try:
        job = msgspec.convert({name: row[name] for name in COLUMNS}, Asked, strict=False)
    except msgspec.ValidationError as error:
        raise BadTrace(f"in line {number}: {error}") from None
    finite = math.isfinite(job.arrival_s) and 0 <= job.gpu_s < math.inf and job.deadline_s >= 0 and job.fails >= 0
    if not finite or job.lane not in LANE_WEIGHTS:
        raise BadTrace(
            f"in line {number}: expected seconds that are not negative, a lane of {', '.join(LANE_WEIGHTS)} and a "
            "count of failures"
        )
    return job
