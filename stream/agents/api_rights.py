"""Requests by which users' rights are used: what a gateway asks the owner, and what it hears."""

from __future__ import annotations

import msgspec


class OpenRequest(msgspec.Struct, frozen=True, omit_defaults=True):
    """A right is used. → RequestView."""

    tenant: str
    app: str
    subject: str
    right: str
    purpose: str = ""  # of a consent that is withdrawn
    asset: str = ""  # what is to be deleted: one asset,
    data_class: str = ""  # a class, or, where both are empty, everything
    correction: dict[str, str] = {}
    text: str = ""
    public_key: bytes = b""  # to whom an export is sealed


class ListRequests(msgspec.Struct, frozen=True):
    """→ RequestsView."""

    tenant: str
    app: str
    subject: str


class GetRequest(msgspec.Struct, frozen=True):
    """→ RequestView."""

    tenant: str
    app: str
    request: str


class VerifyRequest(msgspec.Struct, frozen=True):
    """The tenant attests that it verified who asks, and how. → RequestView."""

    tenant: str
    app: str
    request: str
    method: str


class AnswerRequest(msgspec.Struct, frozen=True, omit_defaults=True):
    """Completed, or refused on a ground. → RequestView."""

    tenant: str
    app: str
    request: str
    state: str
    ground: str = ""
    answer: str = ""


class ExportRequest(msgspec.Struct, frozen=True):
    """Everything held of the subject, sealed to the key that came with the request. → Export."""

    tenant: str
    app: str
    request: str


class RequestView(msgspec.Struct, frozen=True, omit_defaults=True):
    """A request as it is now."""

    id: str
    right: str
    state: str
    received_at: float
    due: float
    shown_due: float
    clause: str
    kept_until: float = 0.0  # when the request itself goes
    left_s: float = 0.0  # until due; negative once it is late
    stops: str = ""
    reversible: bool = False
    verified_at: float = 0.0
    verified_by: str = ""
    ended_at: float = 0.0
    ground: str = ""
    answer: str = ""
    receipts: tuple[str, ...] = ()  # where those of what it erased are, as soon as they are


class RequestsView(msgspec.Struct, frozen=True):
    """All that live, oldest first."""

    requests: tuple[RequestView, ...]


class Export(msgspec.Struct, frozen=True):
    """An HPKE envelope of canonical JSON."""

    sealed: bytes


VERBS: dict[str, tuple[type[msgspec.Struct], type[msgspec.Struct]]] = {
    "open_request": (OpenRequest, RequestView),
    "list_requests": (ListRequests, RequestsView),
    "get_request": (GetRequest, RequestView),
    "verify_request": (VerifyRequest, RequestView),
    "answer_request": (AnswerRequest, RequestView),
    "export_request": (ExportRequest, Export),
}
