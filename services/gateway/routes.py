"""The public routes. Each checks names and ids, asks the owner, and tells what it said; bytes go their own ways."""

from __future__ import annotations

import re
import secrets
from http import HTTPStatus
from typing import Annotated, Any, Final

from litestar import MediaType, Request, Response, Router, delete, get, head, post, put
from litestar.datastructures import State
from litestar.di import NamedDependency
from litestar.params import FromPath, HeaderParameter, PathParameter, RawBody
from litestar.types import ASGIApp

from services.gateway import accounts, bodies, consents, logs, requests
from services.gateway.bodies import (
    AppName,
    AssetId,
    IdempotencyKey,
    JobId,
    SubjectName,
    SubmitBody,
)
from services.gateway.core import Core
from services.gateway.download import Download, headers
from services.gateway.errors import BadName, LengthRequired
from services.gateway.events import EventStream
from services.gateway.guard import guard
from services.gateway.openapi import SubmitOperation, UploadOperation
from services.gateway.render import route as render
from services.gateway.tenants import Tenant
from services.gateway.upload import upload as take_upload
from stream.agents.api import (
    AssetView,
    DeleteAsset,
    DeleteJob,
    DeleteSubject,
    Done,
    GetAsset,
    GetJob,
    GetReceipt,
    JobView,
    ReceiptReply,
    Submit,
)
from stream.events.rows import Lane
from stream.ids import Kind, UnknownId

Call = Request[Tenant, None, State]
LastEventId = Annotated[int, HeaderParameter(name="Last-Event-ID", ge=-1, description="Resume after this event")]

InputNumber = Annotated[
    int, PathParameter(ge=0, le=bodies.MAX_INPUTS - 1, description="Its place in the job's `inputs`, from 0")
]

_LEAF: Final = re.compile(r"[0-9a-f]{64}")
_NO_STORE: Final = {"Cache-Control": "no-store"}


@delete(
    "/{app:str}/subjects/{subject:str}",
    name="delete_subject",
    status_code=HTTPStatus.ACCEPTED,
    summary="Erase all of a user's data",
)
async def delete_subject(request: Call, core: NamedDependency[Core], app: AppName, subject: SubjectName) -> Done:
    """Hidden when this returns, unreadable within seconds, gone soon after."""
    tenant = request.user.id
    ask = DeleteSubject(tenant, app, subject)
    return await core.client.ask(core.mint.place(tenant, subject), ask, Done)


@post(
    "/{app:str}/jobs",
    name="submit",
    operation_class=SubmitOperation,
    summary="Ask for a job; the verdict comes before any byte",
)
async def submit(
    request: Call, core: NamedDependency[Core], app: AppName, body: RawBody, idempotency_key: IdempotencyKey = None
) -> Response[JobView]:
    """201 with the job; 200 where the same Idempotency-Key had asked for the same before. Then upload its inputs."""
    told = bodies.decode(body, SubmitBody)
    tenant = request.user.id
    params = bodies.canonical(told.params)
    ask = Submit(
        tenant=tenant,
        app=app,
        subject=told.subject,
        operation=told.operation,
        params=params,
        choice=told.choice,
        inputs=told.slots(),
        # A key of our own, where the client gave none, makes our repetition of a lost call safe.
        idempotency_key=idempotency_key or f"gateway:{secrets.token_hex(16)}",
        fingerprint=bodies.fingerprint(told, params),
        lane=Lane(told.lane),
        max_jobs=request.user.limits.jobs,
        max_work_s=request.user.limits.work_s,
    )
    with core.flights.submit(request.user):
        reply = await core.client.ask_fully(core.mint.place(tenant, told.subject), ask, JobView)
    return Response(
        reply.value,
        status_code=HTTPStatus.OK if reply.replayed and idempotency_key else HTTPStatus.CREATED,
        headers={"Location": f"/v1/{app}/jobs/{reply.value.id}", **_NO_STORE},
    )


@put(
    "/{app:str}/jobs/{job:str}/inputs/{n:int}",
    name="upload",
    operation_class=UploadOperation,
    summary="Upload an input",
    request_max_body_size=None,
)
async def upload(request: Call, core: NamedDependency[Core], app: AppName, job: JobId, n: InputNumber) -> JobView:
    """Looked at and sealed as it comes; what is refused is stored nowhere."""
    return await take_upload(core, request.receive, request.user, app=app, job=job, n=n, size_bytes=_length(request))


@get("/{app:str}/jobs/{job:str}", name="get_job", summary="Status of a job", response_headers=[])
async def get_job(request: Call, core: NamedDependency[Core], app: AppName, job: JobId) -> Response[JobView]:
    """State, progress, and every asset with its promise."""
    partition = core.mint.check(Kind.JOB, request.user.id, job)
    view = await core.client.ask(partition, GetJob(request.user.id, app, job), JobView)
    return Response(view, headers=_NO_STORE)


@get(
    "/{app:str}/jobs/{job:str}/events",
    name="job_events",
    media_type="text/event-stream",
    summary="Status of a job, as it changes",
)
async def job_events(
    request: Call, core: NamedDependency[Core], app: AppName, job: JobId, last_event_id: LastEventId = -1
) -> ASGIApp:
    """Server-sent events: `status` with the job's JSON, until it has ended."""
    return EventStream(core, request.user, app, job, last_event_id)


@delete(
    "/{app:str}/jobs/{job:str}",
    name="delete_job",
    status_code=HTTPStatus.ACCEPTED,
    summary="Cancel a job and erase what it holds",
)
async def delete_job(request: Call, core: NamedDependency[Core], app: AppName, job: JobId) -> Done:
    """Hidden when this returns, unreadable within seconds, gone soon after."""
    partition = core.mint.check(Kind.JOB, request.user.id, job)
    return await core.client.ask(partition, DeleteJob(request.user.id, app, job), Done)


@get("/{app:str}/assets/{asset:str}", name="get_asset", media_type="application/octet-stream", summary="The media")
async def get_asset(request: Call, core: NamedDependency[Core], app: AppName, asset: AssetId) -> ASGIApp:
    """Whole media only (no ranges). 410 once its time has come."""
    return Download(core, request.user, app, asset)


@head("/{app:str}/assets/{asset:str}", name="head_asset", summary="Is the media readable?")
async def head_asset(request: Call, core: NamedDependency[Core], app: AppName, asset: AssetId) -> Response[None]:
    """As GET, without reading: an asset that goes once returned stays."""
    partition = core.mint.check(Kind.ASSET, request.user.id, asset)
    view = await core.client.ask(partition, GetAsset(request.user.id, app, asset), AssetView)
    found = {name.decode(): value.decode() for name, value in headers(view.media_type, view.size_bytes)}
    return Response(None, media_type=MediaType.TEXT, headers=found)  # as text, nothing renders to no body


@delete("/{app:str}/assets/{asset:str}", name="delete_asset", status_code=HTTPStatus.ACCEPTED, summary="Erase an asset")
async def delete_asset(request: Call, core: NamedDependency[Core], app: AppName, asset: AssetId) -> Done:
    """Hidden when this returns, unreadable within seconds, gone soon after."""
    partition = core.mint.check(Kind.ASSET, request.user.id, asset)
    return await core.client.ask(partition, DeleteAsset(request.user.id, app, asset), Done)


@get("/receipts/{partition:int}/{leaf:str}", name="get_receipt", summary="The receipt of an erasure")
async def get_receipt(core: NamedDependency[Core], partition: FromPath[int], leaf: FromPath[str]) -> Response[bytes]:
    """The file that `mayfly receipt verify` reads; `leaf` is in a job's status."""
    if not 0 <= partition < core.mint.partitions or not _LEAF.fullmatch(leaf):
        raise UnknownId("expected a partition and the leaf of an asset, as a job's status lists them")
    reply = await core.client.ask(partition, GetReceipt(leaf), ReceiptReply)
    return Response(reply.file, media_type="application/json", headers=_NO_STORE)


def router(core: Core) -> Router:
    """Everything below /v1."""
    return Router(
        "/v1",
        guards=[guard(core.tenants, core.caught_up)],
        request_max_body_size=bodies.MAX_JSON_BYTES,
        security=[{"tenant key": []}],
        route_handlers=[
            delete_subject,
            submit,
            upload,
            get_job,
            job_events,
            delete_job,
            get_asset,
            head_asset,
            delete_asset,
            get_receipt,
            *logs.ROUTES,
            *requests.ROUTES,
            *accounts.ROUTES,
            *consents.ROUTES,
            *render.ROUTES,
        ],
    )


def _length(request: Request[Any, Any, Any]) -> int:
    text = request.headers.get("content-length")
    if text is None:
        raise LengthRequired("expected a Content-Length: its sealed size goes to the store before the first byte")
    if not text.isascii() or not text.isdigit():
        raise BadName("expected Content-Length to be a number of bytes")
    return int(text)
