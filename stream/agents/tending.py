"""Jobs as an operator meets them: listed, shown, begun anew, ended. Ids, states and deadlines: no content is read out.

A retry takes nothing that a promise has taken: it needs every input where it is, and the verdict of a new job. The job
keeps its id, its fence goes on, and deadlines move no later. A cancelled job ends as any does: what was promised to go
with its end goes, what its user chose to keep stays.
"""

from __future__ import annotations

import asyncio
import heapq
from typing import Any, ClassVar

import msgspec

from stream.agents import api_operator as api
from stream.agents import consents, ending, items, jobs, operators
from stream.agents.book import Job
from stream.agents.estate import Estate
from stream.agents.slices import Slices
from stream.agents.views import state_of
from stream.audit.operated import Action
from stream.errors import BadRequest, MayflyError
from stream.events.rows import AssetState, JobHead, JobState
from stream.events.rows import rows as codec
from stream.ids import Kind, UnknownId
from stream.ledger import Change
from stream.policies import verdict

MAX_LINES = 1000
MAX_WAIT_S = 25.0
REASON = "cancelled-by-operator"

_PREFIX = f"{Kind.JOB.value}_".encode()
_BEGUN_ANEW = frozenset({JobState.FAILED, JobState.CANCELLED})


class StillRuns(BadRequest):
    """The job has not ended, and does not wait for a next try."""

    kind: ClassVar[str] = "job-not-ended"
    status: ClassVar[int] = 409


class NothingToRetry(BadRequest):
    """The job succeeded, or its promise came due."""

    kind: ClassVar[str] = "nothing-to-retry"
    status: ClassVar[int] = 409


class InputsGone(BadRequest):
    """What the job would work on went as it was promised to: nothing brings it back."""

    kind: ClassVar[str] = "inputs-gone"
    status: ClassVar[int] = 410


class HasEnded(BadRequest):
    """The job ended before it could be cancelled."""

    kind: ClassVar[str] = "job-ended"
    status: ClassVar[int] = 409


async def ls(estate: Estate, ask: api.ListJobs) -> api.JobLines:
    """Those that match, oldest first, at most `limit`; the work is cut so that commits go on."""
    states, slices = frozenset(ask.states), Slices()
    living = bool(states) and not any(state.ended for state in states)
    keys = [job_id.encode() for job_id in estate.book.active] if living else estate.ledger.keys()
    before, limit = estate.now() - ask.older_than_s, min(ask.limit, MAX_LINES)
    found: list[tuple[float, str]] = []
    matched = 0
    for key in keys:
        if slices.over():
            await asyncio.sleep(0)
            estate.ledger.check()
        value = estate.ledger.get(key) if key.startswith(_PREFIX) else None
        if value is None:
            continue
        head, _ = codec.decode(value)
        if isinstance(head, JobHead) and _matches(head, ask, before) and _told(estate, key.decode(), ask, states):
            matched += 1
            found.append((head.created_at, key.decode()))
            if len(found) >= 2 * limit:
                found = heapq.nsmallest(limit, found)
    lines: list[api.JobLine] = []
    for _, job_id in heapq.nsmallest(limit, found):
        if slices.over():
            await asyncio.sleep(0)
        if (job := estate.book.job(job_id)) is not None:
            lines.append(_line(estate, job))
    return api.JobLines(jobs=tuple(lines), matched=matched)


async def show(estate: Estate, ask: api.ShowJob) -> api.JobDetail:
    """The job, and the deadlines of what it holds."""
    job = _job(estate, ask.job)
    held = tuple(
        api.HeldLine(
            id=asset.id,
            role=asset.head.role,
            n=asset.head.n,
            state=asset.head.state.value,
            data_class=asset.head.data_class,
            clause=asset.head.clause,
            due=asset.head.due,
            ceiling=asset.head.ceiling,
        )
        for asset in estate.book.assets_of(job)
    )
    try:
        may_retry(estate, job)
    except MayflyError as error:
        return api.JobDetail(_line(estate, job), held, (error.kind, str(error)), refused=job.head.refused)
    return api.JobDetail(_line(estate, job), held, refused=job.head.refused)


async def retry(estate: Estate, ask: api.RetryJob) -> api.JobLine:
    """From its beginning, with all its attempts before it. Raises what `may_retry` does."""
    job = _job(estate, ask.job)
    may_retry(estate, job)
    change = Change()
    if job.head.state.ended:
        jobs.again(estate, change, job)
    else:
        now = Job(job.id, msgspec.structs.replace(job.head, not_before=0.0), job.body)
        estate.book.put_job(change, now)
        change.then.append(lambda _: estate.dispatcher.ready(job.id))
    operators.record(estate, change, Action.RETRY, job.id, ask.signatures)
    await estate.commit(change)
    return _line(estate, _job(estate, ask.job))


def may_retry(estate: Estate, job: Job) -> None:
    """Raises StillRuns, NothingToRetry, InputsGone, ServiceEnded, or the refusal of a verdict."""
    state = state_of(estate, job)
    if state is JobState.QUEUED and job.head.not_before > estate.now():
        return
    if not state.ended:
        raise StillRuns("expected a job that has ended, or waits for its next try: this one goes on by itself")
    if state not in _BEGUN_ANEW:
        raise NothingToRetry("expected a job that failed or was cancelled: this one succeeded, or its promise came due")
    if job.body is None:
        raise InputsGone("expected a job whose inputs live: all that it held has gone as promised, none can be retried")
    for n, asset_id in enumerate(job.body.inputs):
        asset = estate.book.asset(asset_id)
        if asset is None or asset.head.state is not AssetState.STORED or estate.now() >= asset.head.due:
            promise = f" ({asset.head.clause})" if asset is not None else ""
            raise InputsGone(
                f"expected every input to live: number {n} went, or was never there{promise}; only its user can send it"
            )
    _granted(estate, job)


async def cancel(estate: Estate, ask: api.CancelJob) -> api.JobLine:
    """Hide nothing that is kept, end the rest: the closer has the engine stop, and the keys die that die by the end."""
    job = _job(estate, ask.job)
    if job.head.state.ended:
        raise HasEnded("expected a job that has not ended: there is nothing to cancel")
    if job.head.state is not JobState.ENDING:
        change = Change()
        named = Job(job.id, msgspec.structs.replace(job.head, reason=REASON), job.body)
        jobs.begin_end(estate, change, named, JobState.CANCELLED, cause="job_end", everything=False)
        operators.record(estate, change, Action.CANCEL, job.id, ask.signatures)
        await estate.commit(change)
    await _ended(estate, job.id, min(ask.wait_s, MAX_WAIT_S))
    return _line(estate, _job(estate, ask.job))


async def _ended(estate: Estate, job_id: str, wait_s: float) -> None:
    end = asyncio.get_running_loop().time() + wait_s
    while (left_s := end - asyncio.get_running_loop().time()) > 0:
        seq = estate.watch.seq(job_id)
        if (job := estate.book.job(job_id)) is None or state_of(estate, job).ended:
            return
        await estate.watch.wait(job_id, seq, left_s)


def _granted(estate: Estate, job: Job) -> None:
    """As for a new job of the same kind: what was withdrawn, or is no more offered, is not begun again."""
    assert job.body is not None
    ending.check(estate.tools, job.head.app)
    policy = estate.policy(job.head.app)
    operation = policy.operation(job.body.operation)
    subject = estate.book.subject(job.body.subject)
    inputs = [asset for asset_id in job.body.inputs if (asset := estate.book.asset(asset_id)) is not None]
    decision = verdict.decide(
        policy,
        verdict.JobRequest(
            operation=job.body.operation,
            choice=job.body.choice,
            n_inputs=len(inputs),
            params=frozenset(msgspec.json.decode(job.body.params, type=dict[str, Any])),
            reuse=any(asset.head.job != job.id for asset in inputs),
            roles=items.roles(operation, job.body) if operation is not None else (),
        ),
        consents=consents.standing(policy, subject),
        available=estate.tools.available,
        age=subject.body.age if subject is not None else "",
        region=estate.rules.region,
        max_items=job.body.items,
    )
    if isinstance(decision, verdict.Refused):
        raise Refused(decision)


class Refused(BadRequest):
    """The verdict, as of now, does not let this job be done."""

    kind: ClassVar[str] = "retry-refused"
    status: ClassVar[int] = 403

    def __init__(self, refused: verdict.Refused) -> None:
        super().__init__(f"expected what may be done today, got {refused.kind}: {refused.message}")


def _matches(head: JobHead, ask: api.ListJobs, before: float) -> bool:
    return (
        ask.app in {"", head.app}
        and ask.lane in {None, head.lane}
        and (not ask.older_than_s or head.created_at <= before)
    )


def _told(estate: Estate, job_id: str, ask: api.ListJobs, states: frozenset[JobState]) -> bool:
    """What takes opening its row, or looking at what waits for the root store: asked last."""
    if not states and not ask.tenant:
        return True
    job = estate.book.job(job_id)
    return (
        job is not None
        and (not states or state_of(estate, job) in states)
        and (not ask.tenant or (job.body is not None and job.body.tenant == ask.tenant))
    )


def _job(estate: Estate, job_id: str) -> Job:
    if not job_id.startswith(_PREFIX.decode()) or (job := estate.book.job(job_id)) is None:
        raise UnknownId("expected the id of a job whose row lives: this one is gone, or never was")
    return job


def _line(estate: Estate, job: Job) -> api.JobLine:
    head, body = job.head, job.body
    place = estate.dispatcher.places.get(job.id) if head.state is JobState.QUEUED else None
    if place is None and head.state in {JobState.AWAITING, JobState.QUEUED}:
        place = estate.tools.crowd.place(job)
    return api.JobLine(
        id=job.id,
        app=head.app,
        state=state_of(estate, job),
        stage=head.stage.value,
        lane=head.lane,
        created_at=head.created_at,
        age_s=round(estate.now() - head.created_at, 3),
        due=head.due,
        tenant=body.tenant if body is not None else "",
        attempts=body.attempts if body is not None else 0,
        fence=head.fence,
        actor=head.actor,
        reason=head.reason,
        not_before=head.not_before,
        ended_at=head.ended_at,
        queue_position=place.position if place else None,
        eta_s=place.eta_s if place else None,
    )
