"""Requests by which users' rights are used, through their tenant."""

from __future__ import annotations

from http import HTTPStatus
from typing import Annotated, Any, Final

from litestar import Request, Response, get, post
from litestar.datastructures import State
from litestar.di import NamedDependency
from litestar.params import PathParameter, RawBody

from services.gateway import bodies
from services.gateway.bodies import AppName, SubjectName
from services.gateway.core import Core
from services.gateway.openapi import AnswerOperation, RequestOperation, VerifyOperation
from services.gateway.tenants import Tenant
from stream.agents.api_rights import (
    AnswerRequest,
    Export,
    ExportRequest,
    GetRequest,
    ListRequests,
    OpenRequest,
    RequestsView,
    RequestView,
    VerifyRequest,
)
from stream.ids import Kind

Call = Request[Tenant, None, State]
RequestId = Annotated[str, PathParameter(max_length=80, description="As `POST …/requests` returned it")]

_NO_STORE: Final = {"Cache-Control": "no-store"}


@post(
    "/{app:str}/subjects/{subject:str}/requests",
    name="open_request",
    operation_class=RequestOperation,
    status_code=HTTPStatus.CREATED,
    summary="Use a right on behalf of a user",
)
async def open_request(
    request: Call, core: NamedDependency[Core], app: AppName, subject: SubjectName, body: RawBody
) -> Response[RequestView]:
    """What may be done at once is done, and waited for a while; 410 later on means that it is done and gone with it."""
    told = bodies.decode(body, bodies.RequestBody)
    ask = OpenRequest(
        tenant=request.user.id,
        app=app,
        subject=subject,
        right=told.right,
        purpose=told.purpose,
        asset=told.asset,
        data_class=told.data_class,
        correction=told.correction,
        text=told.text,
        public_key=told.key(),
    )
    view = await core.ask(request.user.id, subject, ask, RequestView)
    headers = {**_NO_STORE, "Location": f"/v1/{app}/requests/{view.id}"}
    return Response(view, status_code=HTTPStatus.CREATED, headers=headers)


@get("/{app:str}/subjects/{subject:str}/requests", name="list_requests", summary="Requests of a user")
async def list_requests(
    request: Call, core: NamedDependency[Core], app: AppName, subject: SubjectName
) -> Response[RequestsView]:
    """Those that live, oldest first."""
    ask = ListRequests(request.user.id, app, subject)
    view = await core.ask(request.user.id, subject, ask, RequestsView)
    return Response(view, headers=_NO_STORE)


@get("/{app:str}/requests/{request_id:str}", name="get_request", summary="One request")
async def get_request(
    request: Call, core: NamedDependency[Core], app: AppName, request_id: RequestId
) -> Response[RequestView]:
    """State, due date, what is left until then."""
    view = await core.client.ask(
        _of(core, request, request_id), GetRequest(request.user.id, app, request_id), RequestView
    )
    return Response(view, headers=_NO_STORE)


@post(
    "/{app:str}/requests/{request_id:str}/verify",
    name="verify_request",
    operation_class=VerifyOperation,
    status_code=HTTPStatus.OK,
    summary="Say that you verified who asks",
)
async def verify_request(
    request: Call,
    core: NamedDependency[Core],
    *,
    app: AppName,
    request_id: RequestId,
    body: RawBody,
) -> RequestView:
    """What waited for it is done."""
    told = bodies.decode(body, bodies.VerifyBody)
    ask = VerifyRequest(request.user.id, app, request_id, told.method)
    return await core.client.ask(_of(core, request, request_id), ask, RequestView)


@post(
    "/{app:str}/requests/{request_id:str}/answer",
    name="answer_request",
    operation_class=AnswerOperation,
    status_code=HTTPStatus.OK,
    summary="Answer a request, or refuse it on a ground",
)
async def answer_request(
    request: Call,
    core: NamedDependency[Core],
    *,
    app: AppName,
    request_id: RequestId,
    body: RawBody,
) -> RequestView:
    """For what people answer: complaints, questions, corrections, and what is refused."""
    told = bodies.decode(body, bodies.AnswerBody)
    ask = AnswerRequest(request.user.id, app, request_id, told.state, told.ground, told.answer)
    return await core.client.ask(_of(core, request, request_id), ask, RequestView)


@get(
    "/{app:str}/requests/{request_id:str}/export",
    name="export_request",
    media_type="application/octet-stream",
    summary="Everything that is held of a user, sealed to whoever asked",
)
async def export_request(
    request: Call, core: NamedDependency[Core], app: AppName, request_id: RequestId
) -> Response[bytes]:
    """An HPKE envelope of JSON: `mayfly export open` opens it."""
    ask = ExportRequest(request.user.id, app, request_id)
    reply = await core.client.ask(_of(core, request, request_id), ask, Export)
    return Response(reply.sealed, media_type="application/octet-stream", headers=_NO_STORE)


ROUTES: Final[list[Any]] = [open_request, list_requests, get_request, verify_request, answer_request, export_request]


def _of(core: Core, request: Call, request_id: str) -> int:
    return core.mint.check(Kind.ASSET, request.user.id, request_id)
