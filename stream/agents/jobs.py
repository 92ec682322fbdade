"""What happens to a job, decision by decision: (estate, what came) → Change. Synchronous, no I/O, in commit order.

    submit → AWAITING inputs → QUEUED detect → LEASED → QUEUED generate → LEASED → ENDING → ended

ENDING is there for promises that say "immediately" (R7): in its commit keys die and old roots with them; only the next
commit announces the end. Whoever opens the partition finishes what is ENDING.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from stream import topics
from stream.agents import assets, attempts, counting
from stream.agents.book import Asset, Job, Subject
from stream.agents.estate import Estate
from stream.events.bus import (
    DetectCompleted,
    DetectRequested,
    GenerateCompleted,
    GenerateRequested,
    Outcome,
    OutputFacts,
    UploadReceived,
    bus,
)
from stream.events.rows import AssetBody, AssetState, JobBody, JobHead, JobState, Lane, Stage, SubjectBody, SubjectHead
from stream.ids import Kind, entry_of
from stream.ledger import Change, Outgoing
from stream.metrics import worker as metrics
from stream.policies import deadlines
from stream.policies.vocabulary import Choice, Clock, DataClass, Features
from stream.vault.record import open_body, seal_body

DETECT_OPERATION = "detect"

Completed = DetectCompleted | GenerateCompleted


# -- subjects ----------------------------------------------------------------------------------------------------


def subject(estate: Estate, change: Change, *, tenant: str, app: str, name: str) -> Subject:
    """The subject's row, made at first sight."""
    known = estate.book.subjects.get((tenant, app, name))
    if known is not None and (found := estate.book.subject(known)) is not None:
        return found
    subject_id = estate.mint.mint(Kind.SUBJECT, tenant, estate.partition)
    page, _ = estate.book.new_key(f"{app}/subject", deadlines.NEVER, subject_id)
    head = SubjectHead(app=app, page=page, created_at=estate.now())
    return estate.book.put_subject(change, Subject(subject_id, head, SubjectBody(tenant=tenant, name=name)))


# -- the way there -----------------------------------------------------------------------------------------------


def create(
    estate: Estate,
    change: Change,
    *,
    app: str,
    body: JobBody,
    slots: Iterable[Asset | None],
    lane: Lane = Lane.INTERACTIVE,
) -> Job:
    """A job that a verdict granted: its row, its key, a pending asset for each input still to come.

    `slots`: a saved asset where the request names one, else None.
    """
    policy = estate.policy(app)
    operation = policy.operation(body.operation)
    assert operation is not None
    now = estate.now()
    clocks = {Clock.UPLOAD_RECEIVED: now}
    job_id = estate.mint.mint(Kind.JOB, body.tenant, estate.partition)
    record = deadlines.ceiling(policy, DataClass.PROCESSING_RECORD, choice=body.choice, has_face=None, clocks=clocks)
    width_s = deadlines.bucket_width_s(policy, DataClass.PROCESSING_RECORD)
    line = deadlines.deadline(record, lead_s=estate.rules.lead_s, width_s=width_s)
    page, _ = estate.book.new_key(f"{app}/{DataClass.PROCESSING_RECORD}", line.bucket, job_id)
    head = JobHead(app=app, state=JobState.AWAITING, created_at=now, due=line.due, page=page, lane=lane)
    inputs: list[str] = []
    waiting = False
    for n, (slot, wanted) in enumerate(zip(slots, operation.inputs, strict=True)):
        if slot is not None:
            inputs.append(slot.id)
            continue
        waiting = True
        made, _ = assets.make(
            estate,
            change,
            app=app,
            data_class=wanted.data_class,
            job=job_id,
            role="input",
            n=n,
            body=AssetBody(
                tenant=body.tenant,
                subject=body.subject,
                salt=assets.salt(),
                choice=body.choice,
                consents=body.consents,
            ),
            clocks=clocks,
        )
        inputs.append(made.id)
    job = Job(job_id, head, msgspec.structs.replace(body, inputs=tuple(inputs)))
    if not waiting:  # a saved asset counts at once
        job = _queue(estate, change, job, Stage.DETECT)
    estate.book.put_job(change, job)
    _tell(estate, change, job_id)
    return job


def received(estate: Estate, change: Change, job: Job, asset: Asset, facts: OutputFacts) -> None:
    """All bytes of an input are in custody."""
    assert job.body is not None
    operation = estate.policy(job.head.app).operation(job.body.operation)
    assert operation is not None
    asset = _stored(asset, facts)
    data_class = operation.inputs[asset.head.n].class_of(facts.media_type)
    if data_class != asset.head.data_class:
        clocks = {Clock.UPLOAD_RECEIVED: assets.started(asset)}
        asset = assets.reckon(estate, asset, clocks, data_class=data_class)
    estate.book.put_asset(change, asset)
    event = UploadReceived(job=job.id, asset=asset.id, at=estate.now())
    change.events.append(_event(estate, topics.UPLOAD, job, event))
    _tell(estate, change, job.id)


def upload_received(estate: Estate, event: UploadReceived, _sealed: bytes) -> Change | None:
    """Agent `upload`: all inputs there? The job goes on."""
    job = estate.book.job(event.job)
    if job is None or job.body is None or job.head.state is not JobState.AWAITING:
        return None
    found = [estate.book.asset(asset_id) for asset_id in job.body.inputs]
    if any(asset is None or asset.head.state is not AssetState.STORED for asset in found):
        return None
    change = Change()
    estate.book.put_job(change, _queue(estate, change, job, Stage.DETECT))
    _tell(estate, change, job.id)
    return change


def detect_requested(estate: Estate, event: DetectRequested, _sealed: bytes) -> Change | None:
    """Agent `detect`: look for faces and poses, unless that is known of this picture, or not wanted."""
    job = estate.book.job(event.job)
    if job is None or job.body is None or job.head.state is not JobState.QUEUED or job.head.stage is not Stage.DETECT:
        return None
    operation = estate.policy(job.head.app).operation(job.body.operation)
    assert operation is not None
    change = Change()
    known = _features_of(estate, job)
    if operation.features is not Features.STEP or known:
        body = msgspec.structs.replace(job.body, features=tuple(known))
        estate.book.put_job(change, _queue(estate, change, Job(job.id, job.head, body), Stage.GENERATE))
        _tell(estate, change, job.id)
    else:
        change.then.append(lambda _: estate.dispatcher.ready(job.id))
    return change


def generate_requested(estate: Estate, event: GenerateRequested, _sealed: bytes) -> Change | None:
    """Agent `generate`: hand the job to the scheduler."""
    job = estate.book.job(event.job)
    if job is None or job.head.state is not JobState.QUEUED or job.head.stage is not Stage.GENERATE:
        return None
    return Change(then=[lambda _: estate.dispatcher.ready(job.id)])


# -- attempts ----------------------------------------------------------------------------------------------------


def outputs(estate: Estate, change: Change, job: Job, fence: int) -> list[Asset]:
    """Pending assets for what an attempt will make, rows before objects."""
    assert job.body is not None
    policy = estate.policy(job.head.app)
    operation = policy.operation(job.body.operation)
    assert operation is not None
    used = [asset for asset_id in job.body.inputs if (asset := estate.book.asset(asset_id)) is not None]
    if not used:
        raise assets.Gone("expected an input to work on: all of them have gone")
    clocks = {Clock.UPLOAD_RECEIVED: min(assets.started(asset) for asset in used)}  # R10, R4
    # R11: a picture without a face keeps the deadline it was given as if it had one, and so does what is made of it.
    has_face = True if any(asset.body is not None and asset.body.has_face for asset in used) else None
    made_of = {asset.head.data_class for asset in used}
    classes = (DataClass.FACE_FEATURE,) if job.head.stage is Stage.DETECT else operation.makes(made_of)
    role = "feature" if job.head.stage is Stage.DETECT else "result"
    made: list[Asset] = []
    for n, data_class in enumerate(classes):
        body = AssetBody(
            tenant=job.body.tenant,
            subject=job.body.subject,
            salt=assets.salt(),
            choice=job.body.choice,
            has_face=has_face,
            consents=job.body.consents,
        )
        asset, _ = assets.make(
            estate,
            change,
            app=job.head.app,
            data_class=data_class,
            job=job.id,
            role=role,
            n=n,
            body=body,
            clocks=clocks,
            urls_until=estate.tools.real_time() + estate.rules.lease_url_s,
        )
        made.append(asset)
    ids = tuple(asset.id for asset in made)
    body_now = _making(job, ids)
    head = msgspec.structs.replace(job.head, state=JobState.LEASED, fence=fence)
    estate.book.put_job(change, Job(job.id, head, body_now))
    return made


def completed(estate: Estate, job: Job, fence: int, outcome: Outcome) -> Change:
    """The engine is done: tell it on the bus, in the words that only this job's key opens."""
    event: Completed = (
        DetectCompleted(job=job.id, fence=fence, at=estate.now())
        if job.head.stage is Stage.DETECT
        else GenerateCompleted(job=job.id, fence=fence, at=estate.now())
    )
    topic = topics.DETECT if job.head.stage is Stage.DETECT else topics.GENERATE
    return Change(events=[_event(estate, topic, job, event, msgspec.msgpack.encode(outcome))])


def attempt_completed(estate: Estate, event: Completed, sealed: bytes) -> Change | None:
    """Agents `detect` and `generate`: accept the outcome only if its fence is the current one."""
    job = estate.book.job(event.job)
    if job is None or job.body is None or job.head.state is not JobState.LEASED or job.head.fence != event.fence:
        return None
    wanted = Stage.DETECT if isinstance(event, DetectCompleted) else Stage.GENERATE
    if job.head.stage is not wanted:
        return None
    key = estate.book.key(job.head.page, job.id)
    outcome = msgspec.msgpack.decode(open_body(key, sealed, job.id.encode()), type=Outcome)
    change = Change()
    if outcome.status == "succeeded":
        _accept(estate, change, job, outcome)
    else:
        failed(estate, change, job, outcome)
    return change


def failed(estate: Estate, change: Change, job: Job, outcome: Outcome) -> None:
    """An attempt that made nothing: its outputs' keys die; the job waits for another try, or ends."""
    assert job.body is not None
    gone = [asset for asset_id in _made(job) if (asset := estate.book.asset(asset_id)) is not None]
    if outcome.wiped:
        gone = [let_go(asset) for asset in gone]
    profiles = estate.tools.profiles.get(wanted(job), ())
    following = attempts.after(job.body, outcome, pauses_s=estate.rules.retry_after_s, profiles=profiles)
    body = msgspec.structs.replace(_making(job, ()), attempts=following.attempts)
    job = Job(job.id, msgspec.structs.replace(job.head, actor=""), body)
    assets.forget(estate, change, gone, "attempt")
    if isinstance(following, attempts.Over):
        if outcome.kind == "permanent" or following.reason == attempts.CRASHES:
            refused = metrics.INPUTS_REFUSED.labels(job.head.app, following.reason)
            change.then.append(lambda _: refused.inc())
        end(estate, change, job, JobState.FAILED, reason=following.reason)
    else:
        head = msgspec.structs.replace(job.head, state=JobState.QUEUED, not_before=estate.now() + following.wait_s)
        body = msgspec.structs.replace(body, crashes=following.crashes, profile=following.profile)
        estate.book.put_job(change, Job(job.id, head, body))
        change.then.append(lambda _: estate.dispatcher.ready(job.id))
    _tell(estate, change, job.id)


def unstarted(estate: Estate, change: Change, job: Job) -> None:
    """A lease that no actor took up: back to the queue at once, and no attempt is counted."""
    if job.body is None or job.head.state is not JobState.LEASED:
        return
    made = [estate.book.asset(asset_id) for asset_id in _made(job)]
    assets.forget(estate, change, [let_go(asset) for asset in made if asset is not None], "attempt")
    head = msgspec.structs.replace(job.head, state=JobState.QUEUED, actor="")
    estate.book.put_job(change, Job(job.id, head, _making(job, ())))
    change.then.append(lambda _: estate.dispatcher.ready(job.id))
    _tell(estate, change, job.id)


# -- the end -----------------------------------------------------------------------------------------------------


def end(estate: Estate, change: Change, job: Job, state: JobState, *, reason: str = "", cause: str = "job_end") -> None:
    """End a job that holds no lease (or whose actor has wiped): what goes "immediately" goes in this very commit.

    Unless somebody is reading it just now: then it is hidden, and goes when they have let go.
    """
    head = msgspec.structs.replace(job.head, ending=state, state=JobState.ENDING, actor="", reason=reason)
    job = Job(job.id, head, job.body)
    going, staying = fate(estate, job, state)
    for asset in staying:
        estate.book.put_asset(change, asset)
    if going:
        held = any(estate.grants.held(asset.id) for asset in going)
        (assets.hide if held else assets.forget)(estate, change, going, cause)
        estate.book.put_job(change, job)
        change.then.append(lambda _: estate.closer.finish(job.id))
    else:
        settle(estate, change, job)
    _tell(estate, change, job.id)


def begin_end(estate: Estate, change: Change, job: Job, state: JobState, *, cause: str, everything: bool) -> None:
    """End a job that may hold a lease: hide first; the closer releases the lease, then the keys die.

    `everything`: all that the job brought into being goes, not only what is promised to go at its end.
    """
    if everything:
        assets.hide(estate, change, assets.owned(estate, job), cause)
    head = msgspec.structs.replace(job.head, ending=state, state=JobState.ENDING)
    estate.book.put_job(change, Job(job.id, head, job.body))
    change.then.append(lambda _: estate.closer.finish(job.id))
    _tell(estate, change, job.id)


def settle(estate: Estate, change: Change, job: Job) -> None:
    """Announce the end of an ENDING job (or look again at an ended one): content-free once nothing of it lives."""
    now = estate.now()
    head = job.head
    if head.state is JobState.ENDING:
        counting.ended(estate, change, job)
        head = msgspec.structs.replace(head, state=head.ending or JobState.FAILED, ending=None, ended_at=now, actor="")
    living = assets.owned(estate, job) if job.body is not None else []
    if not living and job.body is not None:
        change.erase.append((head.page, entry_of(job.id)))
        estate.book.detach(job.id)
        due = min(head.due, head.ended_at + estate.rules.content_free_s)
        head = msgspec.structs.replace(head, page=b"", due=due)
        job = Job(job.id, head, None)
    estate.book.put_job(change, Job(job.id, head, job.body))
    _tell(estate, change, job.id)


def again(estate: Estate, change: Change, job: Job) -> Job:
    """Begin an ended job anew, whose inputs live: its attempts count from nothing, and deadlines stay what they are."""
    assert job.body is not None
    found = [estate.book.asset(asset_id) for asset_id in job.body.features]
    features = tuple(asset.id for asset in found if asset is not None and asset.head.state is AssetState.STORED)
    head = msgspec.structs.replace(job.head, ended_at=0.0, reason="", not_before=0.0)
    body = msgspec.structs.replace(job.body, attempts=0, crashes=0, profile="", features=features, results=())
    job = _queue(estate, change, Job(job.id, head, body), Stage.GENERATE if features else Stage.DETECT)
    estate.book.put_job(change, job)
    _tell(estate, change, job.id)
    return job


def fate(estate: Estate, job: Job, state: JobState) -> tuple[list[Asset], list[Asset]]:
    """(what goes in the step that ends the job, what stays, with the deadline that the end gives it)."""
    now = estate.now()
    going: list[Asset] = []
    staying: list[Asset] = []
    for asset in assets.owned(estate, job):
        clocks = {Clock.UPLOAD_RECEIVED: assets.started(asset), Clock.JOB_ENDED: now}
        if state is JobState.SUCCEEDED:
            clocks[Clock.GENERATION_COMPLETED] = now
        elif state is JobState.FAILED:  # a policy may give failure a clock of its own (R8)
            clocks[Clock.PROCESSING_FAILED] = now
        useless = asset.head.state is not AssetState.STORED or (
            asset.head.role == "result" and state is not JobState.SUCCEEDED
        )
        if useless or assets.immediately(estate, asset, clocks):
            going.append(asset)
        else:
            staying.append(assets.reckon(estate, asset, clocks))
    return going, staying


def resettle(estate: Estate, change: Change, job_ids: Iterable[str]) -> None:
    """Some assets of these died: an ended job of which nothing lives becomes content-free."""
    for job_id in job_ids:
        job = estate.book.job(job_id)
        if job is not None and job.head.state.ended and job.body is not None:
            settle(estate, change, job)


def wanted(job: Job) -> str:
    """The engine operation that its present stage asks for."""
    assert job.body is not None
    return DETECT_OPERATION if job.head.stage is Stage.DETECT else job.body.operation


# -- inside ------------------------------------------------------------------------------------------------------


def _made(job: Job) -> tuple[str, ...]:
    """What the attempt of the present stage makes, or has made."""
    assert job.body is not None
    return job.body.features if job.head.stage is Stage.DETECT else job.body.results


def _making(job: Job, ids: tuple[str, ...]) -> JobBody:
    """The body of a job whose present stage makes these."""
    assert job.body is not None
    if job.head.stage is Stage.DETECT:
        return msgspec.structs.replace(job.body, features=ids)
    return msgspec.structs.replace(job.body, results=ids)


def _accept(estate: Estate, change: Change, job: Job, outcome: Outcome) -> None:
    assert job.body is not None
    made = _made(job)
    facts = {output.role: output for output in outcome.outputs}
    for n, asset_id in enumerate(made):
        asset = estate.book.asset(asset_id)
        output = facts.get(asset.head.role if asset else "") or (
            outcome.outputs[n] if n < len(outcome.outputs) else None
        )
        if asset is not None and output is not None:
            estate.book.put_asset(change, _stored(let_go(asset), output))
    body = msgspec.structs.replace(job.body, facts=job.body.facts | outcome.facts)
    job = Job(job.id, msgspec.structs.replace(job.head, actor=""), body)
    if job.head.stage is Stage.DETECT:
        job = Job(job.id, job.head, msgspec.structs.replace(body, profile=""))  # what that was is another engine's
        _examined(estate, change, job, has_face=outcome.facts.get("faces", 0) > 0)
        estate.book.put_job(change, _queue(estate, change, job, Stage.GENERATE))
        _tell(estate, change, job.id)
    else:
        end(estate, change, job, JobState.SUCCEEDED)


def _examined(estate: Estate, change: Change, job: Job, *, has_face: bool) -> None:
    """R11: presumed until now. A face makes the picture facial data; none lets no promise grow longer."""
    assert job.body is not None
    for asset_id in job.body.inputs:
        asset = estate.book.asset(asset_id)
        if asset is None or asset.body is None or asset.body.has_face is not None:
            continue
        seen = Asset(asset.id, asset.head, msgspec.structs.replace(asset.body, has_face=has_face))
        is_face = has_face and asset.head.data_class == DataClass.UPLOAD_IMAGE
        data_class = DataClass.FACE_IMAGE if is_face else asset.head.data_class
        if not estate.policy(job.head.app).promises_of(data_class):
            data_class = asset.head.data_class
        clocks = {Clock.UPLOAD_RECEIVED: assets.started(asset)}
        estate.book.put_asset(change, assets.reckon(estate, seen, clocks, data_class=data_class))


def _features_of(estate: Estate, job: Job) -> list[str]:
    """Features that an earlier job found in the same picture and that still live: detection is once per asset."""
    assert job.body is not None
    if job.body.choice != Choice.SAVE or len(job.body.inputs) != 1:
        return []
    source = estate.book.asset(job.body.inputs[0])
    maker = estate.book.job(source.head.job) if source is not None and source.head.job != job.id else None
    if maker is None or maker.body is None:
        return []
    return [
        asset_id
        for asset_id in maker.body.features
        if (asset := estate.book.asset(asset_id)) is not None
        and asset.head.state is AssetState.STORED
        and asset.body is not None
    ]


def _queue(estate: Estate, change: Change, job: Job, stage: Stage) -> Job:
    """The job waits for this stage; its agent will hear of it."""
    head = msgspec.structs.replace(job.head, state=JobState.QUEUED, stage=stage)
    event: DetectRequested | GenerateRequested = (
        DetectRequested(job=job.id, at=estate.now())
        if stage is Stage.DETECT
        else GenerateRequested(job=job.id, at=estate.now())
    )
    topic = topics.DETECT if stage is Stage.DETECT else topics.GENERATE
    change.events.append(_event(estate, topic, job, event))
    return Job(job.id, head, job.body)


def _stored(asset: Asset, facts: OutputFacts) -> Asset:
    assert asset.body is not None
    body = msgspec.structs.replace(
        asset.body,
        media_type=facts.media_type,
        size_bytes=facts.size_bytes,
        width=facts.width,
        height=facts.height,
        frames=facts.frames,
    )
    return Asset(asset.id, msgspec.structs.replace(asset.head, state=AssetState.STORED, urls_until=0.0), body)


def let_go(asset: Asset) -> Asset:
    """Whoever could write to its object has acknowledged that they no longer can or will."""
    return Asset(asset.id, msgspec.structs.replace(asset.head, urls_until=0.0), asset.body)


def _event(estate: Estate, topic: str, job: Job, event: object, body: bytes = b"") -> Outgoing:
    sealed = b""
    if body:
        sealed = seal_body(estate.book.key(job.head.page, job.id), body, job.id.encode())
    return Outgoing(topic, job.id.encode(), bus.encode(event, sealed))  # type: ignore[arg-type]


def _tell(estate: Estate, change: Change, job_id: str) -> None:
    change.then.append(lambda _: estate.watch.bump(job_id))
