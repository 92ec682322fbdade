"""How long each job waited, and what became of its leases: measured as rows are committed, kept in memory alone.

Times are this process's own, so a new owner's begin with its takeover. A lease that was handed over ahead counts from
its handing over, not from the moment that its actor was free.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from stream.agents.book import Job
from stream.events.rows import JobState, Stage
from stream.metrics import jobs as metrics

USEFUL = "useful"
ENDS = (USEFUL, "failed", "retried", "unstarted", "cancelled", "expired")
DETECT = "detect"


class _Step:
    """A job's state since a moment. `pool`: which does its present stage."""

    __slots__ = ("attempts", "pool", "since", "stage", "state")

    def __init__(self, job: Job, pool: str, since: float) -> None:
        assert job.body is not None
        self.state, self.stage, self.attempts = job.head.state, job.head.stage, job.body.attempts
        self.pool, self.since = pool, since


class Passage:
    """One per estate. `pool(operation)`: where it is done; `monotonic`: seconds."""

    def __init__(self, pool: Callable[[str], str], *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._pool, self._monotonic = pool, monotonic
        self._at: dict[str, _Step] = {}

    def put(self, job: Job, *, early_s: float = 0.0) -> None:
        """Its row was written. `early_s`: until it may be tried again."""
        now, known = self._monotonic(), self._at.pop(job.id, None)
        if known is not None and known.state is JobState.LEASED and job.head.state is not JobState.LEASED:
            end = _end(known, job)
            metrics.LEASE_S.labels(known.pool, end).inc(now - known.since)
            metrics.LEASES.labels(known.pool, end).inc()
        if job.body is None or job.head.state not in {JobState.QUEUED, JobState.LEASED}:
            return
        same = known is not None and (known.state, known.stage) == (job.head.state, job.head.stage)
        pool = self._pool(DETECT if job.head.stage is Stage.DETECT else job.body.operation)
        early_s = max(0.0, early_s) if job.head.state is JobState.QUEUED else 0.0
        step = self._at[job.id] = _Step(job, pool, known.since if known and same else now + early_s)
        if step.state is JobState.LEASED and known is not None and known.state is JobState.QUEUED:
            metrics.WAIT_S.labels(pool, job.head.lane.value).observe(max(0.0, now - known.since))

    def oldest_leases(self) -> dict[str, float]:
        """Pool → seconds since its oldest lease began."""
        now, found = self._monotonic(), dict[str, float]()
        for step in self._at.values():
            if step.state is JobState.LEASED:
                found[step.pool] = max(found.get(step.pool, 0.0), now - step.since)
        return found


def _end(lease: _Step, job: Job) -> str:
    head = job.head
    if head.state is JobState.QUEUED:
        if head.stage is not lease.stage:
            return USEFUL
        return "retried" if job.body is not None and job.body.attempts > lease.attempts else "unstarted"
    ended = head.ending or head.state
    return {JobState.SUCCEEDED: USEFUL, JobState.CANCELLED: "cancelled", JobState.EXPIRED: "expired"}.get(
        ended, "failed"
    )
