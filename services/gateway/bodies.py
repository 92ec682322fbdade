"""JSON bodies and path parameters of the public API: decoding is validation, unknown fields are refused."""

from __future__ import annotations

import hashlib
import re
from typing import Annotated, Any, Final, Literal, TypeVar

import msgspec
import rfc8785
from litestar.params import HeaderParameter, PathParameter

from services.gateway.errors import BadBody
from stream.agents.api import InputSlot
from stream.events.rows import Lane
from stream.policies.consents import OURS, PROOF, How

MAX_JSON_BYTES: Final = 64 * 1024

AppName = Annotated[str, PathParameter(description="One of the tenant's apps")]
SubjectName = Annotated[
    str,
    PathParameter(
        min_length=1, max_length=200, pattern=r"^[^\x00-\x1f\x7f]+$", description="The tenant's own name for a user"
    ),
]
PurposeName = Annotated[str, PathParameter(pattern=r"^[a-z][a-z0-9_]{0,63}$", description="Purpose of the consent")]
AssetId = Annotated[str, PathParameter(max_length=80, description="As a job's status lists it")]
JobId = Annotated[str, PathParameter(max_length=80, description="As `POST …/jobs` returned it")]
IdempotencyKey = Annotated[
    str | None,
    HeaderParameter(
        name="Idempotency-Key",
        max_length=200,
        description="Scoped to the subject: the same key and body return the same job, another body is refused",
    ),
]

_Subject = Annotated[str, msgspec.Meta(min_length=1, max_length=200, pattern=r"^[^\x00-\x1f\x7f]+$")]
_Word = Annotated[str, msgspec.Meta(max_length=64, pattern=r"^[a-z0-9_-]*$")]
_Version = Annotated[str, msgspec.Meta(min_length=1, max_length=64, pattern=r"^[\x21-\x7e]+$")]
_END: Final = r"$(?!\n)"  # to Python alone `$` lets one more line feed pass
_How = Annotated[  # by its pattern: msgspec would repeat an unknown word of an enumeration
    str,
    msgspec.Meta(
        pattern=f"^({'|'.join(how for how in How if how not in OURS)}){_END}", description="Which way it came"
    ),
]
_Proof = Annotated[
    str,
    msgspec.Meta(
        pattern=rf"^{PROOF}{_END}", description="Your own reference, or `sha256:` and a digest; no words, no address"
    ),
]
_Lane = Annotated[
    str,
    msgspec.Meta(pattern=f"^({'|'.join(Lane)}){_END}", description="How urgent it is: who waits for it, and how long"),
]
MAX_INPUTS: Final = 128
"""Of one request, whatever a deployment lets one job have."""


class ConsentBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A consent as the tenant's app obtained it."""

    granted: bool
    version: _Version
    how: _How = How.TENANT_API.value
    proof: _Proof = ""
    guardian: bool = False


class AgeBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The age band of a user, of those that the app tells apart: nothing more precise is taken."""

    band: _Word


_Text = Annotated[str, msgspec.Meta(max_length=8000)]
_Kind = Annotated[str, msgspec.Meta(min_length=1, max_length=64, pattern=r"^[a-z0-9_-]+$")]


class RequestBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A right that a user uses. `public_key`: hex, 1,216 bytes, to whom an export is sealed (`mayfly export key`)."""

    right: _Kind
    purpose: _Word = ""
    asset: Annotated[str, msgspec.Meta(max_length=80)] = ""
    data_class: _Word = ""
    correction: dict[_Word, Annotated[str, msgspec.Meta(max_length=500)]] = {}
    text: _Text = ""
    public_key: Annotated[str, msgspec.Meta(max_length=4096, pattern=r"^([0-9a-f]{2})*$")] = ""

    def key(self) -> bytes:
        """The public key's bytes."""
        return bytes.fromhex(self.public_key)


class VerifyBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How you verified who asks, such as `email_code` or `id_document`."""

    method: _Kind


class AnswerBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """The answer to a request; a refusal names its legal ground."""

    state: Literal["completed", "refused"]
    ground: Annotated[str, msgspec.Meta(max_length=500)] = ""
    answer: _Text = ""


_Private = Annotated[str, msgspec.Meta(max_length=1000)]
_Fields = dict[Annotated[str, msgspec.Meta(max_length=64, pattern=r"^[a-z_]+$")], _Private]


class _Quiet(msgspec.Struct, frozen=True):
    """Holds what is nobody else's, and does not show it."""

    def __repr__(self) -> str:
        return f"<{type(self).__name__}>"


class RegisterBody(_Quiet, frozen=True, forbid_unknown_fields=True):
    """What the policy's `[account]` names, a password, and over which channel the code is sent: `email` or `sms`."""

    fields: _Fields
    password: _Private
    channel: Annotated[str, msgspec.Meta(max_length=16)] = "email"


class CodeBody(_Quiet, frozen=True, forbid_unknown_fields=True):
    """The address, and the code that came to it."""

    address: _Private
    code: Annotated[str, msgspec.Meta(max_length=16)]


class ConfirmBody(_Quiet, frozen=True, forbid_unknown_fields=True):
    """The address, the code that came to it, and the password that the registration gave."""

    address: _Private
    code: Annotated[str, msgspec.Meta(max_length=16)]
    password: _Private


class LoginBody(_Quiet, frozen=True, forbid_unknown_fields=True):
    """Email address or telephone number, and the password."""

    address: _Private
    password: _Private


class AddressBody(_Quiet, frozen=True, forbid_unknown_fields=True):
    """Another address, and the channel that reaches it."""

    address: _Private
    channel: Annotated[str, msgspec.Meta(max_length=16)] = "email"


class AmendBody(_Quiet, frozen=True, forbid_unknown_fields=True):
    """Fields to correct; or another password, with the one before."""

    fields: _Fields = {}
    password: _Private = ""
    old_password: _Private = ""


class LeaveBody(_Quiet, frozen=True, forbid_unknown_fields=True):
    """The password, which proves who asks."""

    password: _Private


class Input(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """One input: `{}` to upload it, `{"asset": id}` for a saved one; `role` where it is not what most inputs are."""

    asset: Annotated[str, msgspec.Meta(max_length=80)] = ""
    role: _Word = ""


class SubmitBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A job, asked for."""

    subject: _Subject
    operation: _Word
    inputs: Annotated[tuple[Input, ...], msgspec.Meta(min_length=1, max_length=MAX_INPUTS)]
    params: dict[str, Any] = {}
    choice: _Word = ""
    lane: _Lane = Lane.INTERACTIVE.value

    def slots(self) -> tuple[InputSlot, ...]:
        """The inputs as the owner takes them."""
        return tuple(InputSlot(asset=one.asset, role=one.role) for one in self.inputs)


T = TypeVar("T", bound=msgspec.Struct)

_UNKNOWN_FIELD: Final = re.compile(r"unknown field `.*?`", re.DOTALL)


def decode(body: bytes, kind: type[T]) -> T:
    """The body as `kind`. Raises BadBody, whose message names the field and never repeats a value or name sent."""
    try:
        return msgspec.json.decode(body, type=kind, strict=True)
    except msgspec.ValidationError as error:
        told = _UNKNOWN_FIELD.sub(f"an unknown field; expected only {', '.join(kind.__struct_fields__)}", str(error))
        raise BadBody(f"expected the documented JSON body: {told}") from None
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        what = "nested too deeply" if isinstance(error, RecursionError) else "no JSON object"
        raise BadBody(f"expected a JSON object in UTF-8, got {len(body)} bytes that are {what}") from None


def canonical(params: dict[str, Any]) -> bytes:
    """RFC 8785 JSON. Raises BadBody for numbers that I-JSON (RFC 7493) cannot hold."""
    try:
        return rfc8785.dumps(params)
    except (rfc8785.CanonicalizationError, RecursionError, UnicodeEncodeError):
        raise BadBody("expected `$.params` to be I-JSON: integers below 2^53, no lone surrogates") from None


def fingerprint(body: SubmitBody, params: bytes) -> bytes:
    """SHA-256 of what a job asks for, so that one idempotency key cannot mean two things."""
    asked: tuple[Any, ...] = (body.subject, body.operation, body.choice, [one.asset for one in body.inputs])
    if body.lane != Lane.INTERACTIVE:  # else it is what it was before there were lanes to choose
        asked = (*asked, body.lane)
    if any(one.role for one in body.inputs):  # likewise
        asked = (*asked, [one.role for one in body.inputs])
    rest = msgspec.msgpack.encode(asked)
    return hashlib.sha256(len(rest).to_bytes(4, "big") + rest + params).digest()
