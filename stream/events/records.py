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


Value = Request | Note | Profile | Secret | Alias

_encoder = msgspec.msgpack.Encoder()
_decoder: msgspec.msgpack.Decoder[Value] = msgspec.msgpack.Decoder(Value)


def encode(value: Value) -> bytes:
    """As `decode` reads it."""
    return _encoder.encode(value)


def decode(data: bytes) -> Value:
    """Raises msgspec.ValidationError."""
    return _decoder.decode(data)
