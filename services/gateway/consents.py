"""What users agreed to, and how old they are said to be: an app's texts, a user's ledger, the band of their age."""

from __future__ import annotations

from typing import Final

from litestar import Request, Response, get, put
from litestar.datastructures import State
from litestar.di import NamedDependency
from litestar.params import RawBody

from services.gateway import bodies
from services.gateway.bodies import AgeBody, AppName, ConsentBody, PurposeName, SubjectName
from services.gateway.core import Core
from services.gateway.openapi import AgeOperation, ConsentOperation
from services.gateway.tenants import Tenant
from stream.agents.api import (
    AgeView,
    ConsentsView,
    ConsentView,
    GetConsents,
    GetTexts,
    PutAge,
    PutConsent,
    TextsView,
)
from stream.policies.consents import How

Call = Request[Tenant, None, State]

_NO_STORE: Final = {"Cache-Control": "no-store"}


@get("/{app:str}/consents", name="get_texts", summary="The texts that an app asks consent to")
async def get_texts(request: Call, core: NamedDependency[Core], app: AppName) -> Response[TextsView]:
    """Word for word, each with its version and clause: show exactly this."""
    partition = core.mint.place(request.user.id, app)  # any owner has the policies
    return Response(await core.client.ask(partition, GetTexts(app), TextsView), headers=_NO_STORE)


@get("/{app:str}/subjects/{subject:str}/consents", name="get_consents", summary="A user's consents")
async def get_consents(
    request: Call, core: NamedDependency[Core], app: AppName, subject: SubjectName
) -> Response[ConsentsView]:
    """What stands, what does not and why, and everything that was ever said."""
    tenant = request.user.id
    ask = GetConsents(tenant, app, subject)
    return Response(await core.ask(tenant, subject, ask, ConsentsView), headers=_NO_STORE)


@put(
    "/{app:str}/subjects/{subject:str}/consents/{purpose:str}",
    name="put_consent",
    operation_class=ConsentOperation,
    summary="Record or withdraw a consent",
)
async def put_consent(
    request: Call,
    core: NamedDependency[Core],
    *,
    app: AppName,
    subject: SubjectName,
    purpose: PurposeName,
    body: RawBody,
) -> ConsentView:
    """A job of an operation that needs this consent is refused without it, and ends when it is withdrawn."""
    told = bodies.decode(body, ConsentBody)
    tenant = request.user.id
    ask = PutConsent(
        tenant=tenant,
        app=app,
        subject=subject,
        purpose=purpose,
        version=told.version,
        granted=told.granted,
        how=How(told.how),
        proof=told.proof,
        guardian=told.guardian,
    )
    return await core.ask(tenant, subject, ask, ConsentView)


@put(
    "/{app:str}/subjects/{subject:str}/age",
    name="put_age",
    operation_class=AgeOperation,
    summary="Record a user's age band",
)
async def put_age(
    request: Call, core: NamedDependency[Core], app: AppName, subject: SubjectName, body: RawBody
) -> AgeView:
    """Only where the app's policy asks for an age; which bands it tells apart, `GET /v1/{app}/consents` says."""
    tenant = request.user.id
    ask = PutAge(tenant, app, subject, bodies.decode(body, AgeBody).band)
    return await core.ask(tenant, subject, ask, AgeView)


ROUTES: Final = [get_texts, get_consents, put_consent, put_age]
