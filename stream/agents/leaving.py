"""What goes when somebody asks for it: a job, or all of a subject."""

from __future__ import annotations

from stream.agents import assets, jobs, records
from stream.agents.book import Asset, Job
from stream.agents.estate import Estate
from stream.events.rows import AssetState, JobState
from stream.ids import Kind
from stream.ledger import Change


def erase_job(estate: Estate, change: Change, job: Job, *, cause: str) -> None:
    """Cancel it if it runs, and hide all that it holds; the `expire` agent does the rest."""
    if job.head.state.ended:
        assets.retire(estate, change, assets.owned(estate, job), cause)
    else:
        jobs.begin_end(estate, change, job, JobState.CANCELLED, cause=cause, everything=True)


def erase_all(estate: Estate, change: Change, subject_id: str, *, cause: str, but: str = "") -> list[Asset]:
    """Everything of a subject but its own row, one record (`but`) and what has a floor. Returns what goes."""
    rows = sorted(estate.book.of_subject.get(subject_id, ()))
    for row_id in rows:
        if (job := estate.book.job(row_id) if row_id.startswith(Kind.JOB.value) else None) is not None:
            erase_job(estate, change, job, cause=cause)
    loose = [asset for row_id in rows if row_id.startswith(Kind.ASSET.value) and (asset := estate.book.asset(row_id))]
    going = [asset for asset in records.erasable(estate, loose) if asset.id != but]
    assets.retire(estate, change, [a for a in going if a.head.state is not AssetState.HIDDEN], cause)
    return [asset for asset in going if asset.head.state is not AssetState.DEAD]
