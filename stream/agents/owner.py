"""What the owner of a partition answers to gateways: one method a verb, each check-decide-commit-reply.

Every method first asks the ledger whether this process may still read (`check`): a zombie answers 503 and nothing else.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, ClassVar

import msgspec

from stream.agents import (
    accounts,
    api,
    assets,
    consents,
    disclosures,
    ending,
    holds,
    incidents,
    items,
    jobs,
    leaving,
    parked,
    records,
    rights,
    tending,
)
from stream.agents.book import Asset, Job
from stream.agents.estate import Estate
from stream.agents.views import asset_view, job_view, state_of
from stream.audit.grants import Grantee
from stream.audit.tiles import parse_path
from stream.errors import BadRequest
from stream.events.bus import OutputFacts
from stream.events.rows import AssetState, JobBody, JobState
from stream.ids import Kind, UnknownId, digest
from stream.ledger import Change
from stream.policies import verdict
from stream.policies.vocabulary import MediaKind
from stream.vault import purposes
from stream.vault.envelope import seal_key

MAX_WAIT_S = 25.0
NEWS_S = 0.1  # a watcher hears at most this often of a job, but of its end at once

IMAGES = ("image/jpeg", "image/png", "image/webp")
VIDEOS = ("video/mp4",)

_IN_VAIN = frozenset({JobState.CANCELLED, JobState.EXPIRED, JobState.FAILED})


class IdempotencyConflict(BadRequest):
    """The same Idempotency-Key came with another body."""

    kind: ClassVar[str] = "idempotency-conflict"
    status: ClassVar[int] = 409


class NoSuchInput(BadRequest):
    """The job takes no input of that number, or takes it from a saved asset."""

    kind: ClassVar[str] = "no-such-input"
    status: ClassVar[int] = 404


class AlreadyUploaded(BadRequest):
    """This input is there; a job's input is written once."""

    kind: ClassVar[str] = "already-uploaded"
    status: ClassVar[int] = 409


class TooLarge(BadRequest):
    """The declared size is over the cap: not a byte was taken."""

    kind: ClassVar[str] = "too-large"
    status: ClassVar[int] = 413


class NotReusable(BadRequest):
    """Only what its user chose to save may be used again, and only by the same subject."""

    kind: ClassVar[str] = "not-reusable"
    status: ClassVar[int] = 422


PROMISES = frozenset(
    {"submit", "grant_write", "open_hold", "put_age", "register", "confirm", "confirm_address", "disclose", "retry_job"}
)
"""Verbs after which more is owed than before."""

LETTING_GO = frozenset(
    {
        "open_request",
        "verify_request",
        "answer_request",
        "leave",
        "logout",
        "delete_asset",
        "delete_job",
        "delete_subject",
        "end_write",
        "end_read",
        "release_hold",
        "cancel_job",
        "list_jobs",
        "show_job",
        "list_parked",
        "show_parked",
        "drop_parked",
    }
)
"""Verbs that are answered whatever the root store does: they only hide, end what was begun, or tell no content."""


class RefusedByVerdict(BadRequest):
    """What the policy, or the platform, refused, as the gateway reports it."""

    def __init__(self, refused: verdict.Refused) -> None:
        super().__init__(refused.message)
        self.problem = api.Problem(refused.kind, refused.status, refused.message, refused.retry_after_s)


def admit(estate: Estate, verb: str, ask: msgspec.Struct) -> None:
    """Whether this may be answered now. Raises LedgerLost, or RootStoreUnavailable while erasures cannot be kept.

    A consent that is given is a promise; one that is withdrawn lets go. Raises WrongRegion for what would take in data
    of an app whose data lie elsewhere, of a job its verdict says so; and ServiceEnded for what would take in anything.
    """
    estate.ledger.check()
    given = isinstance(ask, api.PutConsent) and ask.granted
    if given or verb in PROMISES:
        ending.check(estate.tools, getattr(ask, "app", ""))
    if (given or verb in PROMISES - {"submit"}) and (app := getattr(ask, "app", "")):
        verdict.at_home(estate.policy(app), estate.rules.region)
    if verb not in LETTING_GO and (given or not isinstance(ask, api.PutConsent)):
        estate.pages.check(promising=given or verb in PROMISES)


# -- jobs --------------------------------------------------------------------------------------------------------


async def submit(estate: Estate, ask: api.Submit) -> api.JobView:
    """The verdict, before any byte; then rows and keys, in one commit."""
    key = digest("idempotency", ask.tenant, ask.app, ask.subject, ask.idempotency_key) if ask.idempotency_key else b""
    if key:
        await estate.book.complete()
    if key and (known := estate.book.idempotent.get(key)) is not None:
        job = estate.book.job(known)
        if job is not None and job.body is not None:
            if job.body.fingerprint != ask.fingerprint:
                raise IdempotencyConflict("expected the body that this Idempotency-Key first came with, got another")
            return msgspec.structs.replace(await _told(estate, job), replayed=True)
    policy = estate.policy(ask.app)
    who = estate.book.subjects.get((ask.tenant, ask.app, ask.subject))
    subject = estate.book.subject(who) if who is not None else None
    age = subject.body.age if subject is not None else ""
    decision = verdict.decide(
        policy,
        verdict.JobRequest(
            operation=ask.operation,
            choice=ask.choice,
            n_inputs=len(ask.inputs),
            params=frozenset(msgspec.json.decode(ask.params, type=dict[str, Any])),
            reuse=any(slot.asset for slot in ask.inputs),
            roles=tuple(slot.role for slot in ask.inputs),
        ),
        consents=consents.standing(policy, subject),
        available=estate.tools.available,
        quota=verdict.Quota(used=_unfinished(estate, who), limit=estate.rules.max_jobs_per_subject),
        age=age,
        region=estate.rules.region,
        max_items=estate.rules.max_items_per_job,
    )
    if isinstance(decision, verdict.Refused):
        raise RefusedByVerdict(decision)
    estate.tools.crowd.check(
        ask.tenant,
        ask.operation,
        ask.lane,
        items=items.count(decision.operation, decision.roles),
        max_jobs=ask.max_jobs,
        max_work_s=ask.max_work_s,
    )
    slots = [_saved(estate, ask, who, slot.asset) if slot.asset else None for slot in ask.inputs]
    change = Change()
    owner = jobs.subject(estate, change, tenant=ask.tenant, app=ask.app, name=ask.subject)
    body = JobBody(
        tenant=ask.tenant,
        subject=owner.id,
        operation=ask.operation,
        params=ask.params,
        choice=decision.choice.value,
        inputs=(),
        idempotency=key,
        fingerprint=ask.fingerprint,
        consents=decision.operation.consents,
        roles=decision.roles,
    )
    job = jobs.create(estate, change, app=ask.app, body=body, slots=slots, lane=ask.lane)
    await estate.commit(change)
    return job_view(estate, estate.book.job(job.id) or job)


async def get_job(estate: Estate, ask: api.GetJob) -> api.JobView:
    """Status, at once or when it changes."""
    job = _job(estate, ask.tenant, ask.app, ask.job)
    if ask.wait_s > 0 and not state_of(estate, job).ended:
        await estate.watch.wait(ask.job, ask.after, min(ask.wait_s, MAX_WAIT_S))
        job = await _gathered(estate, ask)
    return await _told(estate, job)


async def delete_job(estate: Estate, ask: api.DeleteJob) -> api.Done:
    """Cancel it if it runs; erase all that it holds."""
    job = _job(estate, ask.tenant, ask.app, ask.job)
    change = Change()
    leaving.erase_job(estate, change, job, cause="request")
    await estate.commit(change)
    return api.Done(at=estate.now())


async def delete_subject(estate: Estate, ask: api.DeleteSubject) -> api.Done:
    """Everything of this subject in this app, consents included."""
    await estate.book.complete()
    who = estate.book.subjects.get((ask.tenant, ask.app, ask.subject))
    if who is not None:
        change = Change()
        subject = estate.book.subject(who)
        leaving.erase_all(estate, change, who, cause="request")
        if subject is not None:
            change.erase.append((subject.head.page, purposes.stream_name(who)))
        estate.book.bury(change, who)
        estate.commit(change)
        await estate.ledger.barrier()  # hidden; its keys die when the root store lets them
    return api.Done(at=estate.now())  # of an unknown subject nothing is left either: the answer tells no difference


# -- uploads -----------------------------------------------------------------------------------------------------


async def grant_write(estate: Estate, ask: api.GrantWrite) -> api.WriteTicket:
    """Where and under which key an input is sealed; the leaf is in the log before the key leaves."""
    job = _job(estate, ask.tenant, ask.app, ask.job)
    if job.body is not None and not 0 <= ask.n < len(job.body.inputs):
        raise NoSuchInput(f"expected the number of an input, from 0 to {len(job.body.inputs) - 1}")
    if (job.head.ending or job.head.state) in _IN_VAIN:
        raise assets.Gone("this job has ended, and takes no input any more")
    if ask.n in job.head.refused:
        raise assets.Gone("this input was erased, and its item given up: the others go on without it")
    if job.body is None or job.head.state is not JobState.AWAITING:
        raise AlreadyUploaded("this job waits for no input any more: ask for its status")
    asset = estate.book.asset(job.body.inputs[ask.n])
    if asset is None or asset.body is None or asset.head.job != job.id:
        raise NoSuchInput("expected the number of an input that is to be uploaded; this one is a saved asset")
    if estate.now() >= asset.head.due:
        raise assets.Gone("expected the input within its promise: it came due while it was awaited")
    if asset.head.state is not AssetState.PENDING:
        raise AlreadyUploaded("this input is there already: a job's input is written once; ask for the job's status")
    rules = estate.rules
    operation = jobs.operation_of(estate, job)
    kinds = operation.input(items.roles(operation, job.body)[ask.n]).accepts
    accept = (*(IMAGES if MediaKind.IMAGE in kinds else ()), *(VIDEOS if MediaKind.VIDEO in kinds else ()))
    max_bytes = max(
        rules.max_image_bytes if MediaKind.IMAGE in kinds else 0,
        rules.max_video_bytes if MediaKind.VIDEO in kinds else 0,
    )
    if ask.size_bytes > max_bytes:
        raise TooLarge(f"expected at most {max_bytes} bytes, got {ask.size_bytes} declared")
    grant = estate.grants.give(asset.id, holder=ask.public, ttl_s=rules.lease_url_s)
    change = Change()
    assets.log_grant(estate, change, asset, Grantee.GATEWAY_WRITE, grant.until)
    head = msgspec.structs.replace(asset.head, urls_until=grant.until)
    estate.book.put_asset(change, Asset(asset.id, head, asset.body))
    key = estate.book.key(asset.head.page, asset.id)
    await estate.commit(change)
    sealed = seal_key(key, ask.public, purposes.write_info(asset.id, ask.app))
    key.wipe()
    return api.WriteTicket(
        grant=grant.id,
        asset=asset.id,
        put_url=estate.custody.put_url(asset.head.object, int(rules.lease_url_s)),
        sealed_key=sealed,
        max_bytes=max_bytes,
        max_pixels=rules.max_pixels,
        max_duration_s=rules.max_duration_s,
        accept=accept,
    )


async def end_write(estate: Estate, ask: api.EndWrite) -> api.JobView:
    """The upload is whole, or nothing of it remains; then the slot may be tried again."""
    job = _job(estate, ask.tenant, ask.app, ask.job)
    grant = estate.grants.end(ask.grant)
    asset = estate.book.asset(grant.asset if grant is not None else estate.grants.ended(ask.grant))
    if grant is None and asset is not None and asset.head.state is AssetState.STORED:
        return await _told(estate, job)  # it was told before, and the answer was lost
    if asset is None or asset.body is None or asset.head.state is not AssetState.PENDING or asset.head.job != job.id:
        raise assets.Gone("this input's job ended while it was being uploaded")
    change = Change()
    if ask.reason:
        head = msgspec.structs.replace(asset.head, urls_until=0.0)
        estate.book.put_asset(change, Asset(asset.id, head, asset.body))
    else:
        facts = OutputFacts("input", ask.size_bytes, ask.media_type, ask.width, ask.height)
        jobs.received(estate, change, job, asset, facts)
    await estate.commit(change)
    return job_view(estate, estate.book.job(job.id) or job)


# -- assets ------------------------------------------------------------------------------------------------------


async def get_asset(estate: Estate, ask: api.GetAsset) -> api.AssetView:
    """What HEAD tells."""
    return asset_view(estate, assets.readable(estate, _asset(estate, ask.tenant, ask.app, ask.asset)))


async def grant_read(estate: Estate, ask: api.GrantRead) -> api.ReadTicket:
    """A lease to read: the leaf is committed first, then the key is sealed to this request alone."""
    asset = assets.readable(estate, _asset(estate, ask.tenant, ask.app, ask.asset))
    assert asset.body is not None
    if asset.head.on_return and estate.grants.held(asset.id, but=ask.public):
        raise assets.Gone("this result goes once returned, and is being returned")
    grant = estate.grants.give(asset.id, holder=ask.public, revoke_url=ask.revoke_url)
    change = Change()
    assets.log_grant(estate, change, asset, Grantee.GATEWAY_READ, grant.until)
    await estate.commit(change)
    estate.ledger.check()
    asset = assets.readable(estate, _asset(estate, ask.tenant, ask.app, ask.asset))  # it may have come due meanwhile
    assert asset.body is not None
    key = estate.book.key(asset.head.page, asset.id)
    sealed = seal_key(key, ask.public, purposes.read_info(asset.id, ask.app))
    key.wipe()
    return api.ReadTicket(
        grant=grant.id,
        get_url=estate.custody.get_url(asset.head.object, int(estate.rules.lease_url_s)),
        sealed_key=sealed,
        media_type=asset.body.media_type,
        size_bytes=asset.body.size_bytes,
        until=grant.until,
    )


async def renew_read(estate: Estate, ask: api.RenewRead) -> api.Renewed:
    """Bytes still flow; not past the asset's due."""
    assets.readable(estate, estate.book.asset(estate.grants.find(ask.grant).asset))
    return api.Renewed(until=estate.grants.renew(ask.grant))


async def end_read(estate: Estate, ask: api.EndRead) -> api.Done:
    """The gateway wiped. The first complete return of a result that goes once returned is its last moment."""
    grant = estate.grants.end(ask.grant)
    asset = estate.book.asset(grant.asset) if grant is not None else None
    if ask.complete and asset is not None and asset.head.on_return and asset.head.state is AssetState.STORED:
        change = Change()
        assets.retire(estate, change, [asset], "returned")
        await estate.commit(change)
    return api.Done(at=estate.now())


async def delete_asset(estate: Estate, ask: api.DeleteAsset) -> api.Done:
    """Hidden when this returns; the rest follows."""
    asset = _asset(estate, ask.tenant, ask.app, ask.asset)
    if asset is None or asset.head.state in {AssetState.HIDDEN, AssetState.HELD, AssetState.DEAD}:
        raise assets.Gone("this asset was yours; it is gone already")
    change = Change()
    assets.retire(estate, change, [asset], "request")
    await estate.commit(change)
    return api.Done(at=estate.now())


async def get_receipt(estate: Estate, ask: api.GetReceipt) -> api.ReceiptReply:
    """Whoever knows a commitment may have its receipt: it names nobody."""
    try:
        file = estate.audit.receipt_file(bytes.fromhex(ask.leaf))
    except ValueError:
        file = None
    if file is None:
        raise UnknownId("expected the commitment of an erased asset: none of this partition's receipts covers this one")
    return api.ReceiptReply(file=file)


async def get_checkpoint(estate: Estate, _ask: api.GetCheckpoint) -> api.LogFile:
    """Signed when it is asked for, over what is settled."""
    return api.LogFile(file=estate.audit.checkpoint().encode())


async def get_tile(estate: Estate, ask: api.GetTile) -> api.LogFile:
    """Leaves and hashes identify nobody: whoever may ask at all may read all of the log."""
    return api.LogFile(file=estate.audit.tile(parse_path(ask.path)))


VERBS: dict[str, Callable[[Estate, Any], Awaitable[msgspec.Struct]]] = {
    "put_consent": consents.put,
    "get_consents": consents.get,
    "put_age": consents.put_age,
    "get_texts": consents.get_texts,
    "submit": submit,
    "get_job": get_job,
    "grant_write": grant_write,
    "end_write": end_write,
    "get_asset": get_asset,
    "grant_read": grant_read,
    "renew_read": renew_read,
    "end_read": end_read,
    "delete_asset": delete_asset,
    "delete_job": delete_job,
    "delete_subject": delete_subject,
    "get_receipt": get_receipt,
    "get_checkpoint": get_checkpoint,
    "get_tile": get_tile,
    "open_request": lambda estate, ask: rights.open_request(estate, ask, consents.withdraw),
    "verify_request": lambda estate, ask: rights.verify_request(estate, ask, consents.withdraw),
    "answer_request": rights.answer_request,
    "resolve": accounts.resolve,
    "put_alias": accounts.put_alias,
    "new_address": accounts.new_address,
    "confirm_address": accounts.confirm_address,
    "register": accounts.register,
    "confirm": accounts.confirm,
    "login": accounts.login,
    "logout": accounts.logout,
    "centre": accounts.centre,
    "amend": accounts.amend,
    "leave": lambda estate, ask: accounts.leave(estate, ask, consents.withdraw),
    "get_request": rights.get_request,
    "list_requests": rights.list_requests,
    "export_request": rights.export_request,
    "open_hold": holds.open_case,
    "release_hold": holds.release,
    "list_holds": holds.ls,
    "disclose": disclosures.disclose,
    "tell_disclosed": disclosures.told,
    "list_disclosures": disclosures.ls,
    "open_incident": incidents.open_incident,
    "change_incident": incidents.change_incident,
    "list_incidents": incidents.ls,
    "list_jobs": tending.ls,
    "show_job": tending.show,
    "retry_job": tending.retry,
    "cancel_job": tending.cancel,
    "list_parked": parked.ls,
    "show_parked": parked.show,
    "replay_parked": parked.replay,
    "drop_parked": parked.drop,
}


# -- inside ------------------------------------------------------------------------------------------------------


async def _told(estate: Estate, job: Job) -> api.JobView:
    """The job as it is now, once that is committed: nothing is told that a crash could take back."""
    view = job_view(estate, job)
    await estate.ledger.barrier()
    return view


async def _gathered(estate: Estate, ask: api.GetJob) -> Job:
    """The job at its end, or once `NEWS_S` are over: what changes meanwhile is told at once."""
    end = asyncio.get_running_loop().time() + NEWS_S
    while True:
        estate.ledger.check()
        job = _job(estate, ask.tenant, ask.app, ask.job)
        left_s = end - asyncio.get_running_loop().time()
        if state_of(estate, job).ended or left_s <= 0:
            return job
        await estate.watch.wait(ask.job, estate.watch.seq(ask.job), left_s)


def _job(estate: Estate, tenant: str, app: str, job_id: str) -> Job:
    estate.mint.check(Kind.JOB, tenant, job_id)
    job = estate.book.job(job_id)
    if job is None:
        raise assets.Gone("this job was yours; it and its record are gone")
    if job.head.app != app:
        raise UnknownId("expected a job of this app")
    return job


def _asset(estate: Estate, tenant: str, app: str, asset_id: str) -> Asset | None:
    estate.mint.check(Kind.ASSET, tenant, asset_id)
    asset = estate.book.asset(asset_id)
    if asset is not None and (asset.head.app != app or records.is_record(asset)):
        raise UnknownId("expected an asset of this app")
    return asset


def _saved(estate: Estate, ask: api.Submit, subject_id: str | None, asset_id: str) -> Asset:
    if estate.mint.check(Kind.ASSET, ask.tenant, asset_id) != estate.partition:  # so it is another subject's
        raise NotReusable("expected an asset of this subject that its user chose to save")
    asset = assets.readable(estate, _asset(estate, ask.tenant, ask.app, asset_id))
    assert asset.body is not None
    if asset.body.subject != subject_id or asset.body.choice != "save" or asset.head.role == "feature":
        raise NotReusable("expected an asset of this subject that its user chose to save")
    return asset


def _unfinished(estate: Estate, subject_id: str | None) -> int:
    if subject_id is None:
        return 0
    return sum(1 for row_id in estate.book.of_subject.get(subject_id, ()) if row_id in estate.book.active)
