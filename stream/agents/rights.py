"""Rights: a request is a record; what it asks for is done in the commit that may do it, and it is answered once done.

Who deletes everything, or leaves, takes the request along: it is told as completed to whoever waits for it, and is gone
with the rest. A request that erased part of somebody's data stays, with the receipts of what it erased, for as long as
its class is kept.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections import Counter
from collections.abc import Callable
from typing import ClassVar

import msgspec

from stream.agents import api_rights as api
from stream.agents import assets, export, leaving, records
from stream.agents import jobs as jobs_of
from stream.agents.book import Asset, Subject
from stream.agents.estate import Estate
from stream.errors import BadRequest
from stream.events.records import Request, RequestState
from stream.events.rows import AssetState
from stream.ids import Kind, UnknownId
from stream.ledger import Change, LedgerLost
from stream.metrics import worker as metrics
from stream.policies import rights, verdict
from stream.policies.obligations import RightName
from stream.policies.vocabulary import Clock, DataClass
from stream.vault import purposes

log = logging.getLogger(__name__)

CAUSE = "request"
WAIT_S = 10.0  # an answer waits as long for what it erases to be unreadable
LOOK_S = 0.05
ROUND_S = 5.0
ALARM_S = 86_400.0  # before a request is due

CLASSES = (DataClass.RIGHTS_REQUEST, DataClass.COMPLAINT, DataClass.SUPPORT_TICKET)


class NothingToDelete(BadRequest):
    """What the request names is not there, or not this subject's."""

    kind: ClassVar[str] = "nothing-to-delete"
    status: ClassVar[int] = 404


class NoRecipient(BadRequest):
    """An export is sealed to a public key, and the request named none."""

    kind: ClassVar[str] = "no-recipient"
    status: ClassVar[int] = 422


Withdraw = Callable[[Estate, Change, Subject, str], list[Asset]]
"""Writes that a consent is withdrawn, and returns what goes with it; set by `owner`, which knows consents."""


async def open_request(estate: Estate, ask: api.OpenRequest, withdraw: Withdraw) -> api.RequestView:
    """Record it, and do at once what may be done at once."""
    await estate.book.complete()
    policy = estate.policy(ask.app)
    right = rights.right_of(policy, ask.right)
    now = estate.now()
    request = msgspec.structs.replace(
        rights.receive(right, now, estate.tools.calendar),
        purpose=ask.purpose,
        asset=ask.asset,
        data_class=ask.data_class,
        correction=ask.correction,
        text=ask.text,
        public_key=ask.public_key,
    )
    if right.name is RightName.WITHDRAW:
        verdict.consent(policy, ask.purpose, "", granted=False)
    if right.name is RightName.ACCESS and not ask.public_key:
        raise NoRecipient("expected `public_key`: an export is sealed to whoever asks; `mayfly export key` makes one")
    known = estate.book.subjects.get((ask.tenant, ask.app, ask.subject), "")
    if request.right == RightName.DELETE and not _leaves(request) and not _meant(estate, known, request):
        raise NothingToDelete("expected something of this subject that lives: nothing that the request names does")
    change = Change()  # nothing is refused from here on: the book would keep what no commit made true
    who = jobs_of.subject(estate, change, tenant=ask.tenant, app=ask.app, name=ask.subject)
    made = records.create(
        estate,
        change,
        app=ask.app,
        data_class=rights.class_of(right.name),
        tenant=ask.tenant,
        subject=who.id,
        value=request,
        clocks={Clock.REQUEST_RECEIVED: now},
    )
    metrics.RIGHTS.labels(ask.app, right.name, "received").inc()
    return await _act(estate, change, made, who, withdraw)


async def verify_request(estate: Estate, ask: api.VerifyRequest, withdraw: Withdraw) -> api.RequestView:
    """Who asks is who they say: what waited for that is done."""
    await estate.book.complete()
    asset, request = _find(estate, ask.tenant, ask.app, ask.request)
    verified = rights.verify(request, ask.method, estate.now())
    who = estate.book.subject(asset.body.subject) if asset.body is not None else None
    if who is None:
        raise assets.Gone("this request was yours; whom it was about is gone")
    change = Change()
    asset = records.rewrite(estate, change, asset, verified)
    asset = records.start(estate, change, asset, Clock.IDENTITY_VERIFIED, estate.now())
    return await _act(estate, change, asset, who, withdraw)


async def answer_request(estate: Estate, ask: api.AnswerRequest) -> api.RequestView:
    """Whoever answers for the app says that it is done, or refused and on which ground."""
    asset, request = _find(estate, ask.tenant, ask.app, ask.request)
    refused = ask.state == RequestState.REFUSED
    request = rights.answer(request, estate.now(), refused=refused, ground=ask.ground, said=ask.answer)
    change = Change()
    asset = _ended(estate, change, asset, request)
    await estate.commit(change)
    return view(estate, asset, request)


async def get_request(estate: Estate, ask: api.GetRequest) -> api.RequestView:
    """As it is now."""
    asset, request = _find(estate, ask.tenant, ask.app, ask.request)
    await estate.ledger.barrier()
    return view(estate, asset, request)


async def list_requests(estate: Estate, ask: api.ListRequests) -> api.RequestsView:
    """All of a subject that live."""
    await estate.book.complete()
    who = estate.book.subjects.get((ask.tenant, ask.app, ask.subject))
    found = [(a, records.value(a)) for a in records.of(estate, who, *CLASSES)] if who is not None else []
    await estate.ledger.barrier()
    views = [view(estate, asset, request) for asset, request in found if isinstance(request, Request)]
    return api.RequestsView(tuple(sorted(views, key=lambda one: one.received_at)))


async def export_request(estate: Estate, ask: api.ExportRequest) -> api.Export:
    """Everything that is held of whoever asks, for nobody else."""
    await estate.book.complete()
    asset, request = _find(estate, ask.tenant, ask.app, ask.request)
    if request.right != RightName.ACCESS:
        raise UnknownId("expected a request for access: no other has an export")
    if not rights.may_act(request) and request.state is not RequestState.COMPLETED:
        raise rights.IdentityUnproven("expected who asks to be verified first: POST …/verify")
    assert asset.body is not None
    sealed = export.sealed(estate, asset.body.subject, request.public_key, purposes.export_info(asset.id, ask.app))
    if request.state is not RequestState.COMPLETED:
        change = Change()
        _ended(estate, change, asset, rights.complete(request, estate.now()))
        await estate.commit(change)
    return api.Export(sealed=sealed)


async def run(estate: Estate) -> None:
    """Until cancelled: what was erased for a request completes it; what is due soon, or late, is told loudly."""
    await estate.book.complete()
    told: set[str] = set()
    shown: set[tuple[str, str]] = set()
    while True:
        change = Change()
        left: dict[tuple[str, str], float] = {}
        late: Counter[tuple[str, str]] = Counter()
        for asset, request in records.saying(estate, Request):
            if request.state.ended:
                continue
            if _erased(estate, request):
                _ended(estate, change, asset, rights.complete(request, estate.now()))
                continue
            key = (asset.head.app, request.right)
            seconds = request.due - estate.now()
            left[key] = min(seconds, left.get(key, math.inf))
            late[key] += seconds < 0
            if seconds < ALARM_S and asset.id not in told:
                told.add(asset.id)
                metrics.RIGHTS_ALARMS.labels(*key).inc()
                log.error("a request (%s, %s) is due in %.0f s and not answered", *key, seconds)
        for key in shown - set(left):
            metrics.RIGHTS_LEFT_S.remove(str(estate.partition), *key)
            metrics.RIGHTS_LATE.remove(str(estate.partition), *key)
        for key, seconds in left.items():
            metrics.RIGHTS_LEFT_S.labels(str(estate.partition), *key).set(seconds)
            metrics.RIGHTS_LATE.labels(str(estate.partition), *key).set(late[key])
        shown = set(left)
        if change.rows:
            await estate.commit(change)
        await asyncio.sleep(ROUND_S)


def view(estate: Estate, asset: Asset, request: Request) -> api.RequestView:
    """What a tenant is shown."""
    right = estate.policy(asset.head.app).right(request.right)
    return api.RequestView(
        id=asset.id,
        right=request.right,
        state=request.state.value,
        received_at=request.received_at,
        due=request.due,
        shown_due=request.shown_due,
        clause=request.clause,
        kept_until=asset.head.due,
        left_s=0.0 if request.state.ended else request.due - estate.now(),
        stops=right.stops.value if right is not None else "",
        reversible=right.reversible if right is not None else False,
        verified_at=request.verified_at,
        verified_by=request.verified_by,
        ended_at=request.ended_at,
        ground=request.ground,
        answer=request.answer,
        receipts=tuple(f"/v1/receipts/{estate.partition}/{leaf.partition(':')[2]}" for leaf in request.erased),
    )


async def _act(estate: Estate, change: Change, made: Asset, who: Subject, withdraw: Withdraw) -> api.RequestView:
    """Do what the request asks for, if it may be done; tell it as completed if it is done soon."""
    request = records.value(made)
    assert isinstance(request, Request)
    if not rights.may_act(request) or request.right not in rights.ERASING:
        await estate.commit(change)
        return view(estate, made, request)
    if request.right == RightName.WITHDRAW:
        going = withdraw(estate, change, who, request.purpose)
    elif _leaves(request):
        going = leaving.erase_all(estate, change, who.id, cause=CAUSE, but=made.id)
    else:
        going = [one for one in _meant(estate, who.id, request) if one.id != made.id]
        assets.retire(estate, change, going, CAUSE)
    request = msgspec.structs.replace(request, erased=tuple(f"{one.id}:{one.head.leaf.hex()}" for one in going))
    if _leaves(request):  # the request goes too, and what it was about
        change.erase.append((who.head.page, purposes.stream_name(who.id)))
        assets.retire(estate, change, [made], CAUSE)
        estate.book.bury(change, who.id)
    else:
        made = records.rewrite(estate, change, made, request)
    estate.commit(change)
    await estate.ledger.barrier()
    done = await _gone(estate, request)
    if not done:
        return view(estate, made, request)
    request = rights.complete(request, estate.now())
    metrics.RIGHTS.labels(made.head.app, request.right, "completed").inc()
    if not _leaves(request) and (still := estate.book.asset(made.id)) is not None and still.body is not None:
        change = Change()
        _ended(estate, change, still, request, count=False)
        await estate.commit(change)
    return view(estate, made, request)


def _leaves(request: Request) -> bool:
    """Whether nothing of the subject is to stay."""
    whole = not request.asset and not request.data_class
    return request.right == RightName.CANCEL_ACCOUNT or (request.right == RightName.DELETE and whole)


def _meant(estate: Estate, subject_id: str, request: Request) -> list[Asset]:
    """What of this subject lives that a request for deletion names: nothing, where it went while the request waited."""
    rows = estate.book.of_subject.get(subject_id, set())
    ids = {request.asset} & rows if request.asset else rows
    found = [asset for row in sorted(ids) if row.startswith(Kind.ASSET.value) and (asset := estate.book.asset(row))]
    return [
        asset
        for asset in records.erasable(estate, found)
        if asset.head.state in {AssetState.PENDING, AssetState.STORED}
        and (not request.data_class or asset.head.data_class == request.data_class)
    ]


def _ended(estate: Estate, change: Change, asset: Asset, request: Request, *, count: bool = True) -> Asset:
    """What it said is over; a ticket's clock begins. What it carried for being answered is not kept."""
    if count:
        metrics.RIGHTS.labels(asset.head.app, request.right, request.state.value).inc()
    kept = msgspec.structs.replace(request, correction={}, text="")
    asset = records.rewrite(estate, change, asset, kept)
    return records.start(estate, change, asset, Clock.TICKET_CLOSED, estate.now())


def _find(estate: Estate, tenant: str, app: str, request_id: str) -> tuple[Asset, Request]:
    estate.mint.check(Kind.ASSET, tenant, request_id)
    asset = estate.book.asset(request_id)
    if asset is not None and (asset.head.app != app or not records.is_record(asset)):
        raise UnknownId("expected a request of this app")
    if asset is None or not records.lives(estate, asset):
        raise assets.Gone("this request was yours; it is done, and gone with what it was about, or its time was over")
    said = records.value(asset)
    if not isinstance(said, Request):
        raise UnknownId("expected a request of this app")
    return asset, said


def _erased(estate: Estate, request: Request) -> bool:
    """Whether all that it was to erase is unreadable, were it nothing: it was acted on in the commit that let it be."""
    erasing = request.right in rights.ERASING and rights.may_act(request)
    return erasing and not any(_alive(estate, one) for one in request.erased)


def _alive(estate: Estate, erased: str) -> bool:
    asset_id = erased.partition(":")[0]
    asset = estate.book.asset(asset_id)
    dying = estate.ledger.erasing(asset_id.encode())
    return dying or (asset is not None and asset.head.state not in {AssetState.DEAD, AssetState.HELD})


async def _gone(estate: Estate, request: Request) -> bool:
    """Whether it is done within the time that a caller may wait."""
    end = asyncio.get_running_loop().time() + WAIT_S
    while any(_alive(estate, one) for one in request.erased):
        if asyncio.get_running_loop().time() > end:
            return False
        await asyncio.sleep(LOOK_S)
        if estate.ledger.lost is not None:
            raise LedgerLost("expected to own the partition until what was asked for is done: ask its next owner")
    return True
