"""A job's end, counted: in this owner's memory, once it is committed, and with nothing of it written down."""

from __future__ import annotations

from stream.agents.book import Job
from stream.agents.estate import Estate
from stream.events.rows import JobState
from stream.ledger import Change
from stream.metrics.cells import Kind
from stream.policies import statistics


def ended(estate: Estate, change: Change, job: Job) -> None:
    """An ENDING job's end is announced by this change. Not counted: whose user is erased, and what no policy counts."""
    if job.body is None or job.body.operation not in statistics.counted(estate.policy(job.head.app)):
        return
    if (who := estate.book.name_of(job.body.subject)) is None:
        return
    kind = Kind(job.head.app, job.body.operation, job.head.ending or JobState.FAILED)
    change.then.append(lambda _: estate.tally.count(kind, who, estate.now()))
