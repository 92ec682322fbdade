"""Accounts: what a gateway asks the owner, and what it hears. Personal fields do not show in a repr."""

from __future__ import annotations

from typing import Any

import msgspec


class _Quiet(msgspec.Struct, frozen=True):
    """Says what it is and nothing of what it holds."""

    def __repr__(self) -> str:
        return f"<{type(self).__name__}>"


class Resolve(_Quiet, frozen=True):
    """Which account an address leads to. → Resolved."""

    tenant: str
    app: str
    handle: str  # of the address (Mint.login)


class PutAlias(_Quiet, frozen=True):
    """From now on this address leads to that account; with an empty name, to `mine` no more. → Done."""

    tenant: str
    app: str
    handle: str
    name: str
    mine: str = ""  # whose alias is taken back; another account's stays


class NewAddress(_Quiet, frozen=True):
    """Another address for an account: a code goes to it. → Sent."""

    tenant: str
    app: str
    name: str
    secret: bytes
    channel: str
    address: str


class ConfirmAddress(_Quiet, frozen=True):
    """The code that came to the new address. → CentreView."""

    tenant: str
    app: str
    name: str
    secret: bytes
    handle: str
    code: str
    only_look: bool = False  # is it the right one? It stays good, and nothing changes


class Register(_Quiet, frozen=True):
    """A registration, or a forgotten password: a code goes to the address. → Sent."""

    tenant: str
    app: str
    name: str  # of the subject that the account is, or will be
    handle: str
    fields: dict[str, str]
    password: str
    channel: str


class Confirm(_Quiet, frozen=True):
    """The code that came, and the password that was given with the registration. → Session."""

    tenant: str
    app: str
    name: str
    handle: str
    code: str
    password: str = ""


class Login(_Quiet, frozen=True):
    """→ Session."""

    tenant: str
    app: str
    name: str
    handle: str
    password: str


class Logout(_Quiet, frozen=True):
    """This session ends, or all of them. → Done."""

    tenant: str
    app: str
    name: str
    secret: bytes
    everywhere: bool = False


class Centre(_Quiet, frozen=True):
    """Everything that is held of whoever's session this is. → CentreView."""

    tenant: str
    app: str
    name: str
    secret: bytes


class Amend(_Quiet, frozen=True):
    """Correct fields, or set another password (the old one proves it). → CentreView."""

    tenant: str
    app: str
    name: str
    secret: bytes
    fields: dict[str, str] = {}
    password: str = ""
    old_password: str = ""


class Leave(_Quiet, frozen=True):
    """Cancel the account, for good: the password proves who asks. → RequestView."""

    tenant: str
    app: str
    name: str
    secret: bytes
    password: str


class Resolved(msgspec.Struct, frozen=True):
    """The name of the account's subject: the address's own, unless it was taken up later."""

    name: str


class Sent(msgspec.Struct, frozen=True):
    """A code is on its way, whether or not the address had an account before."""

    until: float


class Session(_Quiet, frozen=True):
    """Signed in. `secret`: what the client sends from now on; only its digest is kept."""

    subject: str
    secret: bytes
    until: float


class CentreView(_Quiet, frozen=True):
    """What is held: fields, consents, jobs, media, records."""

    fields: dict[str, str]
    held: dict[str, Any]


def verbs(done: type[msgspec.Struct], request: type[msgspec.Struct]) -> dict[str, Any]:
    """Verb → (what is asked, what is heard)."""
    return {
        "resolve": (Resolve, Resolved),
        "put_alias": (PutAlias, done),
        "new_address": (NewAddress, Sent),
        "confirm_address": (ConfirmAddress, CentreView),
        "register": (Register, Sent),
        "confirm": (Confirm, Session),
        "login": (Login, Session),
        "logout": (Logout, done),
        "centre": (Centre, CentreView),
        "amend": (Amend, CentreView),
        "leave": (Leave, request),
    }
