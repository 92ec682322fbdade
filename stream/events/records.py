"""What a record says: everything personal that is no media. Sealed in the body of its row, under the record's own key.

Fields are added, never changed. A record's class, and with it how long it is kept, is that of its row.
"""

from __future__ import annotations

from enum import StrEnum

import msgspec


class RequestState(StrEnum):
    """Where a request is. Only the first waits for proof of who asks."""

    PENDING = "pending"
    IN_PROGRESS = "in_progress"
    COMPLETED = "completed"
    REFUSED = "refused"

    @property
    def ended(self) -> bool:
        """Answered."""
        return self in (RequestState.COMPLETED, RequestState.REFUSED)


class Request(msgspec.Struct, frozen=True, tag="request", omit_defaults=True):
    """A right that somebody used. Times are epoch seconds on the promise clock."""

    right: str
    state: RequestState
    received_at: float
    due: float  # it is answered, and what it asks for done, by then
    shown_due: float  # as the calendar of working days has it (R6); never before `due`
    clause: str
    verified_at: float = 0.0
    verified_by: str = ""  # method, as the tenant attests it
    ended_at: float = 0.0
    ground: str = ""  # on which a refusal rests
    answer: str = ""
    purpose: str = ""
    asset: str = ""
    data_class: str = ""
    correction: dict[str, str] = {}
    text: str = ""
    public_key: bytes = b""  # to whom an export is sealed
    erased: tuple[str, ...] = ()  # leaves of what it erased: their receipts are looked up by them


class Note(msgspec.Struct, frozen=True, tag="note", omit_defaults=True):
    """A line of text about somebody, or about nobody: a log entry, an incident."""

    text: str
    fields: dict[str, str] = {}


class Profile(msgspec.Struct, frozen=True, tag="profile", omit_defaults=True):
    """What an account holds of its user: the fields that the policy names."""

    fields: dict[str, str]
    verified_at: float = 0.0

    def __repr__(self) -> str:
        return "<Profile>"


class Secret(msgspec.Struct, frozen=True, tag="secret", omit_defaults=True):
    """What opens an account: an argon2id hash, and digests of the sessions that live (hex → until)."""

    hash: str
    sessions: dict[str, float] = {}

    def __repr__(self) -> str:
        return "<Secret>"


class Alias(msgspec.Struct, frozen=True, tag="alias"):
    """At the place of an address that an account took up later: which account that is."""

    name: str


class Disclosed(msgspec.Struct, frozen=True, tag="disclosure", omit_defaults=True):
    """That a case handed something out, to whom and on what paper. It names nobody whom it was about."""

    case: str  # hex of its commitment
    authority: str
    document: str
    document_sha256: str
    items: dict[str, int]  # class → how many
    at: float
    clause: str
    tell: bool = False  # the subject must be told, as far as law allows
    told_at: float = 0.0
    ground: str = ""  # on which the subject may not be told


class IncidentState(StrEnum):
    """Where an incident is. Notices are due from its confirmation on."""

    SUSPECTED = "suspected"
    CONFIRMED = "confirmed"
    CLOSED = "closed"


class Line(msgspec.Struct, frozen=True):
    """What was found, or done, and when it was written down."""

    at: float
    text: str


class Told(msgspec.Struct, frozen=True):
    """An audience of an app was told."""

    app: str
    to: str
    via: str
    at: float


class Incident(msgspec.Struct, frozen=True, tag="incident", omit_defaults=True):
    """A security incident. It names apps and classes, and no user."""

    grade: int  # 1 is the worst
    state: IncidentState
    apps: tuple[str, ...]
    classes: tuple[str, ...]
    opened_at: float
    confirmed_at: float = 0.0
    closed_at: float = 0.0
    facts: tuple[Line, ...] = ()
    measures: tuple[Line, ...] = ()
    told: tuple[Told, ...] = ()


Value = Request | Note | Profile | Secret | Alias | Disclosed | Incident

_encoder = msgspec.msgpack.Encoder()
_decoder: msgspec.msgpack.Decoder[Value] = msgspec.msgpack.Decoder(Value)


def encode(value: Value) -> bytes:
    """As `decode` reads it."""
    return _encoder.encode(value)


def decode(data: bytes) -> Value:
    """Raises msgspec.ValidationError."""
    return _decoder.decode(data)
