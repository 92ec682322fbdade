"""Accounts, through their tenant: register, prove the address, sign in, the personal centre, leave.

A session is `name.secret`, in the header `Mayfly-Session`. It says which subject it is of, and so where to ask; the
subject's name is a keyed digest, and is what the tenant uses as the user's name for jobs and consents.
"""

from __future__ import annotations

import base64
import re
from http import HTTPStatus
from typing import Annotated, Any, Final

import msgspec
from litestar import Request, Response, get, patch, post
from litestar.datastructures import State
from litestar.di import NamedDependency
from litestar.params import HeaderParameter, QueryParameter, RawBody

from services.gateway import bodies
from services.gateway.bodies import AppName
from services.gateway.core import Core
from services.gateway.openapi import (
    AddressOperation,
    AmendOperation,
    CodeOperation,
    ConfirmOperation,
    LeaveOperation,
    LoginOperation,
    RegisterOperation,
)
from services.gateway.tenants import Tenant
from stream.agents import api_accounts as asks
from stream.agents.accounts import NotSignedIn
from stream.agents.api import Done
from stream.agents.api_rights import RequestView
from stream.errors import MayflyError
from stream.policies.accounts import ADDRESS_OF, normalised
from stream.policies.obligations import Channel

Call = Request[Tenant, None, State]
SessionHeader = Annotated[
    str, HeaderParameter(name="Mayfly-Session", max_length=200, description="As a sign-in answered")
]

Everywhere = Annotated[bool, QueryParameter(name="everywhere", description="All sessions of this account")]

_NO_STORE: Final = {"Cache-Control": "no-store"}
_SESSION: Final = re.compile(r"([0-9a-f]{32})\.([A-Za-z0-9_-]{43})")


class SessionView(msgspec.Struct, frozen=True):
    """Signed in: `session` goes into the header of what follows, `subject` is the user's name for jobs."""

    subject: str
    session: str
    until: float


@post(
    "/{app:str}/accounts",
    name="register",
    operation_class=RegisterOperation,
    status_code=HTTPStatus.ACCEPTED,
    summary="Register, or set a forgotten password: a code is sent",
)
async def register(request: Call, core: NamedDependency[Core], app: AppName, body: RawBody) -> asks.Sent:
    """The answer is the same whether or not there is an account. Nothing is kept until the code has come back."""
    told = bodies.decode(body, bodies.RegisterBody)
    handle = _handle(core, request, app, told.channel, told.fields)
    name = await _name(core, request, app, handle)
    ask = asks.Register(request.user.id, app, name, handle, told.fields, told.password, told.channel)
    return await core.ask(request.user.id, name, ask, asks.Sent)


@post(
    "/{app:str}/accounts/confirm",
    name="confirm",
    operation_class=ConfirmOperation,
    status_code=HTTPStatus.CREATED,
    summary="Prove the address with the code",
)
async def confirm(request: Call, core: NamedDependency[Core], app: AppName, body: RawBody) -> Response[SessionView]:
    """The account is there, and signed in. The password ties the code to who registered: others may use an address."""
    told = bodies.decode(body, bodies.ConfirmBody)
    handle = core.mint.login(request.user.id, app, _normal(told.address))
    name = await _name(core, request, app, handle)
    ask = asks.Confirm(request.user.id, app, name, handle, told.code, told.password)
    return _signed_in(await core.ask(request.user.id, name, ask, asks.Session))


@post(
    "/{app:str}/sessions",
    name="login",
    operation_class=LoginOperation,
    status_code=HTTPStatus.CREATED,
    summary="Sign in",
)
async def login(request: Call, core: NamedDependency[Core], app: AppName, body: RawBody) -> Response[SessionView]:
    """By address and password."""
    told = bodies.decode(body, bodies.LoginBody)
    handle = core.mint.login(request.user.id, app, _normal(told.address))
    name = await _name(core, request, app, handle)
    ask = asks.Login(request.user.id, app, name, handle, told.password)
    return _signed_in(await core.ask(request.user.id, name, ask, asks.Session))


@post("/{app:str}/sessions/end", name="logout", status_code=HTTPStatus.OK, summary="Sign out")
async def logout(
    request: Call,
    core: NamedDependency[Core],
    app: AppName,
    session: SessionHeader = "",
    *,
    everywhere: Everywhere = False,
) -> Done:
    """This session, or with `?everywhere=true` all of them."""
    name, secret = _session(session)
    ask = asks.Logout(request.user.id, app, name, secret, everywhere)
    return await core.ask(request.user.id, name, ask, Done)


@get("/{app:str}/account", name="centre", summary="The personal centre: everything that is held")
async def centre(
    request: Call, core: NamedDependency[Core], app: AppName, session: SessionHeader = ""
) -> Response[asks.CentreView]:
    """Fields, consents, jobs, media, records."""
    name, secret = _session(session)
    return Response(await _centre(core, request, app, name, secret), headers=_NO_STORE)


@patch("/{app:str}/account", name="amend", operation_class=AmendOperation, summary="Correct fields, change a password")
async def amend(
    request: Call, core: NamedDependency[Core], app: AppName, body: RawBody, session: SessionHeader = ""
) -> Response[asks.CentreView]:
    """An address is changed by proving the new one: POST …/account/address."""
    told = bodies.decode(body, bodies.AmendBody)
    name, secret = _session(session)
    ask = asks.Amend(request.user.id, app, name, secret, told.fields, told.password, told.old_password)
    view = await core.ask(request.user.id, name, ask, asks.CentreView)
    return Response(view, headers=_NO_STORE)


@post(
    "/{app:str}/account/address",
    name="new_address",
    operation_class=AddressOperation,
    status_code=HTTPStatus.ACCEPTED,
    summary="Another address: a code is sent to it",
)
async def new_address(
    request: Call, core: NamedDependency[Core], app: AppName, body: RawBody, session: SessionHeader = ""
) -> asks.Sent:
    """Then POST …/account/address/confirm with the code."""
    told = bodies.decode(body, bodies.AddressBody)
    name, secret = _session(session)
    ask = asks.NewAddress(request.user.id, app, name, secret, told.channel, told.address)
    return await core.ask(request.user.id, name, ask, asks.Sent)


@post(
    "/{app:str}/account/address/confirm",
    name="confirm_address",
    operation_class=CodeOperation,
    status_code=HTTPStatus.OK,
    summary="Prove the other address",
)
async def confirm_address(
    request: Call, core: NamedDependency[Core], app: AppName, body: RawBody, session: SessionHeader = ""
) -> Response[asks.CentreView]:
    """From then on it signs in, and the one before does not."""
    told = bodies.decode(body, bodies.CodeBody)
    name, secret = _session(session)
    tenant = request.user.id
    before = await _handles(core, request, app, name, secret)
    handle = core.mint.login(tenant, app, _normal(told.address))
    ask = asks.ConfirmAddress(tenant, app, name, secret, handle, told.code)
    look = msgspec.structs.replace(ask, only_look=True)
    await core.ask(tenant, name, look, asks.CentreView)  # who has no code moves no alias
    if handle != name and handle not in before:  # first the way there: until the account agrees, it opens nothing
        await _alias(core, request, app, handle, name)
    try:
        view = await core.ask(tenant, name, ask, asks.CentreView)
    except MayflyError:
        if handle != name and handle not in before:
            await _alias(core, request, app, handle, "", mine=name)
        raise
    for old in before - _of(core, request, app, view.fields) - {name}:
        await _alias(core, request, app, old, "", mine=name)
    return Response(view, headers=_NO_STORE)


@post(
    "/{app:str}/account/cancel",
    name="leave",
    operation_class=LeaveOperation,
    status_code=HTTPStatus.OK,
    summary="Cancel the account, for good",
)
async def leave(
    request: Call, core: NamedDependency[Core], app: AppName, body: RawBody, session: SessionHeader = ""
) -> RequestView:
    """Media, records and account go at once. The password proves who asks."""
    told = bodies.decode(body, bodies.LeaveBody)
    name, secret = _session(session)
    aliases = await _handles(core, request, app, name, secret) - {name}
    ask = asks.Leave(request.user.id, app, name, secret, told.password)
    view = await core.ask(request.user.id, name, ask, RequestView)
    for handle in aliases:
        await _alias(core, request, app, handle, "", mine=name)
    return view


ROUTES: Final[list[Any]] = [
    register,
    confirm,
    login,
    logout,
    centre,
    amend,
    new_address,
    confirm_address,
    leave,
]


def _normal(address: str) -> str:
    try:
        return normalised(address)
    except UnicodeError:
        return address


def _handle(core: Core, request: Call, app: str, channel: str, fields: dict[str, str]) -> str:
    name = ADDRESS_OF.get(Channel(channel)) if channel in tuple(Channel) else None
    return core.mint.login(request.user.id, app, _normal(fields.get(name or "", "")))


async def _name(core: Core, request: Call, app: str, handle: str) -> str:
    ask = asks.Resolve(request.user.id, app, handle)
    return (await core.ask(request.user.id, handle, ask, asks.Resolved)).name


async def _alias(core: Core, request: Call, app: str, handle: str, name: str, *, mine: str = "") -> None:
    ask = asks.PutAlias(request.user.id, app, handle, name, mine)
    await core.ask(request.user.id, handle, ask, Done)


async def _centre(core: Core, request: Call, app: str, name: str, secret: bytes) -> asks.CentreView:
    ask = asks.Centre(request.user.id, app, name, secret)
    return await core.ask(request.user.id, name, ask, asks.CentreView)


async def _handles(core: Core, request: Call, app: str, name: str, secret: bytes) -> set[str]:
    return _of(core, request, app, (await _centre(core, request, app, name, secret)).fields)


def _of(core: Core, request: Call, app: str, fields: dict[str, str]) -> set[str]:
    found = {fields[field] for field in ADDRESS_OF.values() if field in fields}
    return {core.mint.login(request.user.id, app, address) for address in found}


def _session(text: str) -> tuple[str, bytes]:
    found = _SESSION.fullmatch(text)
    if found is None:
        raise NotSignedIn("expected a session in the header Mayfly-Session: sign in")
    return found[1], base64.urlsafe_b64decode(found[2] + "=")


def _signed_in(session: asks.Session) -> Response[SessionView]:
    secret = base64.urlsafe_b64encode(session.secret).decode().rstrip("=")
    view = SessionView(session.subject, f"{session.subject}.{secret}", session.until)
    return Response(view, status_code=HTTPStatus.CREATED, headers=_NO_STORE)
