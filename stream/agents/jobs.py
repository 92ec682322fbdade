"""What happens to a job, decision by decision: (estate, what came) → Change. Synchronous, no I/O, in commit order.

    submit → AWAITING inputs → QUEUED detect → LEASED → QUEUED generate → LEASED → ENDING → ended

ENDING is there for promises that say "immediately" (R7): in its commit keys die and old roots with them; only the next
commit announces the end. Whoever opens the partition finishes what is ENDING.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

import msgspec

from stream import topics
from stream.agents import assets, attempts, counting, items
from stream.agents.book import Asset, Job, Subject
from stream.agents.estate import Estate
from stream.errors import MayflyError
from stream.events.bus import (
    NO_ITEM,
    DetectCompleted,
    DetectRequested,
    GenerateCompleted,
    GenerateRequested,
    ItemOutcome,
    Outcome,
    OutputFacts,
    UploadReceived,
    bus,
)
from stream.events.lease import ACTOR_GONE, OUT_OF_MEMORY, SHARED
from stream.events.rows import AssetBody, AssetState, JobBody, JobHead, JobState, Lane, Stage, SubjectBody, SubjectHead
from stream.ids import Kind, entry_of
from stream.ledger import Change, Outgoing
from stream.metrics import worker as metrics
from stream.policies import deadlines
from stream.policies.model import Operation
from stream.policies.vocabulary import Choice, Clock, DataClass, Features
from stream.vault.record import open_body, seal_body

DETECT_OPERATION = "detect"

Completed = DetectCompleted | GenerateCompleted
_FATAL = frozenset({ACTOR_GONE, OUT_OF_MEMORY})
_UNDER_WAY = frozenset({JobState.AWAITING, JobState.QUEUED, JobState.LEASED})


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

    `slots`: for each input, with its role in `body.roles`, a saved asset where the request names one, else None.
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
    for n, (slot, asked) in enumerate(zip(slots, body.roles, strict=True)):
        if slot is not None:
            inputs.append(slot.id)
            continue
        waiting = True
        made, _ = assets.make(
            estate,
            change,
            app=app,
            data_class=operation.input(asked).data_class,
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
    body = msgspec.structs.replace(body, inputs=tuple(inputs))
    job = Job(job_id, head, msgspec.structs.replace(body, items=items.count(operation, body.roles)))
    if not waiting:  # a saved asset counts at once
        job = _onward(estate, change, job)
    estate.book.put_job(change, job)
    _tell(estate, change, job_id)
    return job


def received(estate: Estate, change: Change, job: Job, asset: Asset, facts: OutputFacts) -> None:
    """All bytes of an input are in custody."""
    assert job.body is not None
    operation = operation_of(estate, job)
    asset = _stored(asset, facts)
    data_class = operation.input(items.roles(operation, job.body)[asset.head.n]).class_of(facts.media_type)
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
    if not _all_there(estate, job):
        return None
    change = Change()
    estate.book.put_job(change, _onward(estate, change, job))
    _tell(estate, change, job.id)
    return change


def give_up(estate: Estate, change: Change, job: Job, lost: Collection[str]) -> frozenset[str] | None:
    """Of a batch: items of which something is among `lost` give nothing, and the others go on.

    What of it an engine has, so that its lease is to be taken back before keys die. None, and nothing is changed, where
    the job has to end: none would be left, or what all share is lost.
    """
    body, head = job.body, job.head
    if body is None or body.items == 1 or head.state not in _UNDER_WAY or not (todo := open_items(estate, job)):
        return None
    if any(body.inputs[n] in lost for n in todo[0].inputs[1:]):
        return None
    made = [asset for i in (*body.features, *body.results) if (asset := estate.book.asset(i)) is not None]
    touched = {asset.head.n for asset in made if asset.id in lost}
    touched |= {item.n for item in items.of(operation_of(estate, job), body) if body.inputs[item.n] in lost}
    going = {item.n: assets.Gone.kind for item in todo if item.n in touched}
    if len(going) == len(todo):
        return None
    job = Job(job.id, msgspec.structs.replace(head, refused=head.refused | going), body)
    if head.state is JobState.AWAITING and _all_there(estate, job):
        job = _onward(estate, change, job)
    estate.book.put_job(change, job)
    _tell(estate, change, job.id)
    if head.state is not JobState.LEASED:
        return frozenset()
    leased = {asset.head.n for asset in made if asset.id in _made(job)}  # what was refused before it is not among them
    own = {*body.inputs, *body.features, *body.results}
    return frozenset(own.intersection(lost)) if touched & leased else frozenset()


def detect_requested(estate: Estate, event: DetectRequested, _sealed: bytes) -> Change | None:
    """Agent `detect`: look for faces and poses, unless that is known of this picture, or not wanted."""
    job = estate.book.job(event.job)
    if job is None or job.body is None or job.head.state is not JobState.QUEUED or job.head.stage is not Stage.DETECT:
        return None
    change = Change()
    if (known := _found_already(estate, job)) is not None:
        estate.book.put_job(change, _queue(estate, change, _with_features(job, known), Stage.GENERATE))
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


def outputs(estate: Estate, change: Change, job: Job, fence: int, *, urls_until: float | None = None) -> list[Asset]:
    """Pending assets for what an attempt will make, rows before objects: one for each item that is open.

    An item of which something has gone, or would come due before it could be used, is refused; where none is left,
    that is raised. `urls_until`: real time; a lease's usual length from now, if it is not said.
    """
    assert job.body is not None
    if urls_until is None:
        urls_until = estate.tools.real_time() + estate.rules.lease_url_s
    made: list[Asset] = []
    refused: dict[int, str] = {}
    error: MayflyError = assets.Gone("expected an item to work on: all of them have gone")
    for item in open_items(estate, job):
        try:
            made += _outputs(estate, change, job, item, urls_until)
        except (assets.Gone, assets.TooShort) as why:
            refused[item.n], error = why.kind, why
    if not made:
        raise error
    body_now = _making(job, tuple(asset.id for asset in made))
    head = msgspec.structs.replace(job.head, state=JobState.LEASED, fence=fence, refused=job.head.refused | refused)
    estate.book.put_job(change, Job(job.id, head, body_now))
    return made


def used(estate: Estate, job: Job) -> list[tuple[int, Asset]]:
    """(item, asset) of all that an attempt at the present stage is given: own inputs, what items share, features.

    An engine takes them in this order. Whose faces are looked for is whose picture is given, and nothing else.
    """
    assert job.body is not None
    body, todo = job.body, open_items(estate, job)
    detects = job.head.stage is Stage.DETECT
    features = () if detects else body.features
    if body.items == 1:
        (item,) = todo
        numbers = item.inputs[: len(operation_of(estate, job).required)] if detects else item.inputs
        ids = [(item.n, asset_id) for asset_id in (*(body.inputs[n] for n in numbers), *features)]
        return [(n, asset) for n, asset_id in ids if (asset := estate.book.asset(asset_id)) is not None]
    shared = () if detects else todo[0].inputs[1:]
    ids = [(item.n, body.inputs[item.n]) for item in todo] + [(SHARED, body.inputs[n]) for n in shared]
    found = [(n, asset) for n, asset_id in ids if (asset := estate.book.asset(asset_id)) is not None]
    numbers_left = {item.n for item in todo}
    seen = [asset for asset_id in features if (asset := estate.book.asset(asset_id)) is not None]
    return found + [(asset.head.n, asset) for asset in seen if asset.head.n in numbers_left]


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
    told = items.told(open_items(estate, job), outcome)
    passing = items.passing(told, wiped=outcome.wiped)
    if outcome.status == "cancelled" and job.body.items > 1:  # it goes on without what was erased
        unstarted(estate, change, job)
    elif not told:
        failed(estate, change, job, outcome)
    elif passing is not None and isinstance(_following(estate, job, passing), attempts.Again):
        failed(estate, change, job, passing)
    else:
        _accept(estate, change, job, told, wiped=outcome.wiped)
    return change


def failed(estate: Estate, change: Change, job: Job, outcome: Outcome) -> None:
    """An attempt that made nothing: its outputs' keys die; the job waits for another try, or ends."""
    assert job.body is not None
    gone = [asset for asset_id in _made(job) if (asset := estate.book.asset(asset_id)) is not None]
    if outcome.wiped:
        gone = [let_go(asset) for asset in gone]
    following = _following(estate, job, outcome)
    refused = job.head.refused
    if isinstance(following, attempts.Over) and _to_blame(estate, job, outcome):
        _count_refused(change, job, following.reason)
        refused = refused | {outcome.suspect: following.reason}
        following = attempts.Again(0.0, 0, 0, "")  # the others begin anew
    body = msgspec.structs.replace(_making(job, ()), attempts=following.attempts)
    job = Job(job.id, msgspec.structs.replace(job.head, actor="", refused=refused), body)
    assets.forget(estate, change, gone, "attempt")
    if isinstance(following, attempts.Over):
        if outcome.kind == items.LASTING or following.reason == attempts.CRASHES:
            _count_refused(change, job, following.reason)
        end(estate, change, job, JobState.FAILED, reason=following.reason)
    else:
        head = msgspec.structs.replace(job.head, state=JobState.QUEUED, not_before=estate.now() + following.wait_s)
        body = msgspec.structs.replace(body, crashes=following.crashes, profile=following.profile)
        estate.book.put_job(change, Job(job.id, head, body))
        change.then.append(lambda _: estate.dispatcher.ready(job.id))
    _tell(estate, change, job.id)


def unstarted(estate: Estate, change: Change, job: Job) -> None:
    """A lease that no actor took up, or that was taken back: to the queue again at once, and no attempt is counted."""
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
    known = [asset for asset in found if asset is not None and asset.head.state is AssetState.STORED]
    if len(known) < job.body.items:  # of some only: all are looked at again
        assets.forget(estate, change, [asset for asset in known if asset.head.job == job.id], "attempt")
        known = []
    features = tuple(asset.id for asset in known)
    head = msgspec.structs.replace(job.head, ended_at=0.0, reason="", not_before=0.0, refused={})
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
            if asset.head.role == "input" and asset.head.n in job.head.refused:  # both promises hold, R1
                clocks[Clock.PROCESSING_FAILED] = now
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


def operation_of(estate: Estate, job: Job) -> Operation:
    """The policy's."""
    assert job.body is not None
    operation = estate.policy(job.head.app).operation(job.body.operation)
    assert operation is not None
    return operation


def open_items(estate: Estate, job: Job) -> tuple[items.Item, ...]:
    """Those of the job that may still give something."""
    assert job.body is not None
    return items.open_(operation_of(estate, job), job.body, job.head.refused)


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


def _all_there(estate: Estate, job: Job) -> bool:
    """Every input of what is still to be made."""
    assert job.body is not None
    found = [estate.book.asset(job.body.inputs[n]) for item in open_items(estate, job) for n in item.inputs]
    return all(asset is not None and asset.head.state is AssetState.STORED for asset in found)


def _outputs(estate: Estate, change: Change, job: Job, item: items.Item, urls_until: float) -> list[Asset]:
    """What is to be made of one item. Raises Gone, TooShort."""
    assert job.body is not None
    found = [estate.book.asset(job.body.inputs[n]) for n in item.inputs]
    used = [asset for asset in found if asset is not None and asset.head.state is AssetState.STORED]
    if len(used) < len(found):
        raise assets.Gone("expected all inputs of an item to be there: one of them has gone")
    clocks = {Clock.UPLOAD_RECEIVED: min(assets.started(asset) for asset in used)}  # R10, R4
    # R11: a picture without a face keeps the deadline it was given as if it had one, and so does what is made of it.
    has_face = True if any(asset.body is not None and asset.body.has_face for asset in used) else None
    made_of = {asset.head.data_class for asset in used}
    detects = job.head.stage is Stage.DETECT
    classes = (DataClass.FACE_FEATURE,) if detects else operation_of(estate, job).makes(made_of)
    made: list[Asset] = []
    for data_class in classes:
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
            role="feature" if detects else "result",
            n=item.n,
            body=body,
            clocks=clocks,
            urls_until=urls_until,
        )
        made.append(asset)
    return made


def _following(estate: Estate, job: Job, outcome: Outcome) -> attempts.Again | attempts.Over:
    assert job.body is not None
    profiles = estate.tools.profiles.get(wanted(job), ())
    return attempts.after(job.body, outcome, pauses_s=estate.rules.retry_after_s, profiles=profiles)


def begins_with(estate: Estate, job_id: str) -> int:
    """The item of a batch that an attempt is at before it says anything else; NO_ITEM of any other job."""
    job = estate.book.job(job_id)
    if job is None or job.body is None or job.body.items == 1 or not (todo := open_items(estate, job)):
        return NO_ITEM
    return todo[0].n


def _to_blame(estate: Estate, job: Job, outcome: Outcome) -> bool:
    """Whether an actor died, or memory ran out, at one item of several that are left."""
    left = {item.n for item in open_items(estate, job)}
    return outcome.reason in _FATAL and outcome.suspect in left and len(left) > 1


def _accept(estate: Estate, change: Change, job: Job, told: Mapping[int, ItemOutcome], *, wiped: bool) -> None:
    """What was made is kept, item by item; what was to be made of the others is forgotten in the same commit."""
    assert job.body is not None
    pending = {asset.head.n: asset for asset_id in _made(job) if (asset := estate.book.asset(asset_id)) is not None}
    made: dict[int, str] = {}
    for n, one in told.items():
        asset = pending.get(n)
        if one.output is not None and asset is not None and asset.head.state is AssetState.PENDING:
            made[n] = estate.book.put_asset(change, _stored(let_go(pending.pop(n)), one.output)).id
    vain = [let_go(asset) if wiped else asset for asset in pending.values()]
    assets.forget(estate, change, vain, "attempt")
    refused = {n: assets.Gone.kind for n in told if n not in made} | items.refused(told)
    for n, kind in refused.items():
        if told[n].kind == items.LASTING:
            _count_refused(change, job, kind)
    head = msgspec.structs.replace(job.head, actor="", refused=job.head.refused | refused)
    body = msgspec.structs.replace(
        _making(job, tuple(made.values())), facts=job.body.facts | items.facts(told.values())
    )
    job = Job(job.id, head, body)
    if not made:
        end(estate, change, job, JobState.FAILED, reason=next(iter(refused.values())))
    elif job.head.stage is Stage.DETECT:
        job = Job(job.id, job.head, msgspec.structs.replace(body, profile=""))  # what that was is another engine's
        for item in open_items(estate, job):
            _examined(estate, change, job, item, has_face=told[item.n].facts.get("faces", 0) > 0)
        estate.book.put_job(change, _queue(estate, change, job, Stage.GENERATE))
        _tell(estate, change, job.id)
    else:
        end(estate, change, job, JobState.SUCCEEDED)


def _count_refused(change: Change, job: Job, kind: str) -> None:
    refused = metrics.INPUTS_REFUSED.labels(job.head.app, kind)
    change.then.append(lambda _: refused.inc())


def _examined(estate: Estate, change: Change, job: Job, item: items.Item, *, has_face: bool) -> None:
    """R11: presumed until now. A face makes the picture facial data; none lets no promise grow longer.

    What all items share was not looked at: it stays presumed to hold one.
    """
    assert job.body is not None
    for n in item.inputs[: len(operation_of(estate, job).required)]:
        asset = estate.book.asset(job.body.inputs[n])
        if asset is None or asset.body is None or asset.body.has_face is not None:
            continue
        seen = Asset(asset.id, asset.head, msgspec.structs.replace(asset.body, has_face=has_face))
        is_face = has_face and asset.head.data_class == DataClass.UPLOAD_IMAGE
        data_class = DataClass.FACE_IMAGE if is_face else asset.head.data_class
        if not estate.policy(job.head.app).promises_of(data_class):
            data_class = asset.head.data_class
        clocks = {Clock.UPLOAD_RECEIVED: assets.started(asset)}
        estate.book.put_asset(change, assets.reckon(estate, seen, clocks, data_class=data_class))


def _onward(estate: Estate, change: Change, job: Job) -> Job:
    """A job whose inputs are all there: to detection, or at once past it."""
    known = _found_already(estate, job)
    if known is None:
        return _queue(estate, change, job, Stage.DETECT)
    return _queue(estate, change, _with_features(job, known), Stage.GENERATE)


def _found_already(estate: Estate, job: Job) -> tuple[str, ...] | None:
    """The features that it goes on with; None where detection has to find them. None are needed, or they are known."""
    known = tuple(_features_of(estate, job))
    return known if known or operation_of(estate, job).features is not Features.STEP else None


def _with_features(job: Job, features: tuple[str, ...]) -> Job:
    assert job.body is not None
    return Job(job.id, job.head, msgspec.structs.replace(job.body, features=features))


def _features_of(estate: Estate, job: Job) -> list[str]:
    """Features that an earlier job found in the same picture and that still live: detection is once per asset."""
    assert job.body is not None
    operation = operation_of(estate, job)
    if job.body.choice != Choice.SAVE or len(operation.required) > 1 or job.body.items > 1:
        return []
    (item,) = items.of(operation, job.body)
    source = estate.book.asset(job.body.inputs[item.n])
    if source is None or source.head.job == job.id or source.head.role != "input":
        return []
    maker = estate.book.job(source.head.job)
    if maker is None or maker.body is None:
        return []
    return [
        asset_id
        for asset_id in maker.body.features
        if (asset := estate.book.asset(asset_id)) is not None
        and asset.head.n == source.head.n
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
