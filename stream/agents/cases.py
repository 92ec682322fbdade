"""A legal hold's case: what it says, who signed it, and whether that is enough. Pure.

Two distinct approvers must sign the same bytes, the proposer being one of them if they sign. Their public keys are
registered with the owners, so nobody who holds only one key, or none but the internal token, can hold anything.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Annotated, ClassVar

import msgspec
import rfc8785

from stream.audit.signer import key_id, signed_by
from stream.errors import BadRequest

APPROVERS = 2
MAX_HOLD_S = 366 * 86_400
APPROVED_WITHIN_S = 14 * 86_400
"""A signed case is good for so long after it was proposed."""
NONCE_DIGITS = 32

Text = Annotated[str, msgspec.Meta(min_length=1, max_length=200)]


class BadCase(BadRequest):
    """The case cannot be a hold; the message says which part, and not what it said."""

    kind: ClassVar[str] = "bad-case"
    status: ClassVar[int] = 422


class NotApproved(BadRequest):
    """Fewer than two registered approvers signed exactly this case."""

    kind: ClassVar[str] = "hold-not-approved"
    status: ClassVar[int] = 403


class Case(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is held, why, and until when. One of `subject` and `asset`. Times are whole epoch seconds."""

    id: Text
    basis: Text
    app: Text
    tenant: Text
    subject: str = ""
    asset: str = ""
    until: int
    proposed_at: int
    proposed_by: Text
    nonce: Annotated[str, msgspec.Meta(pattern=f"^[0-9a-f]{{{NONCE_DIGITS}}}$")]


def signed_part(case: Case) -> bytes:
    """What an approver signs to open it."""
    return b"mayfly hold 1\n" + rfc8785.dumps(msgspec.to_builtins(case))


def commitment(case: Case) -> bytes:
    """32 bytes that name the case to nobody who does not have it."""
    return hashlib.sha256(signed_part(case)).digest()


def release_part(case: bytes) -> bytes:
    """What an approver signs to release the case of this commitment."""
    return b"mayfly hold release 1\n" + case.hex().encode()


def check(case: Case, now: float) -> None:
    """Raises BadCase for a scope, an end or an age that no hold may have."""
    if bool(case.subject) == bool(case.asset):
        raise BadCase("expected either a subject or an asset in the case's scope")
    if case.until <= now:
        raise BadCase("expected the hold to end in the future: a hold that is over holds nothing")
    if case.until > now + MAX_HOLD_S:
        raise BadCase(f"expected the hold to end within {MAX_HOLD_S // 86_400} days: propose a new case when it ends")
    if not now - APPROVED_WITHIN_S <= case.proposed_at <= now + APPROVED_WITHIN_S:
        raise BadCase(f"expected a case proposed within {APPROVED_WITHIN_S // 86_400} days: propose it anew")


def approvers(message: bytes, signatures: Mapping[str, bytes], registered: Mapping[str, bytes]) -> list[str]:
    """The ids of the distinct registered keys that signed, in order. `registered`: name → public key."""
    valid = {
        key_id(public)
        for name, signature in signatures.items()
        if (public := registered.get(name)) is not None and signed_by(public, signature, message)
    }
    return sorted(valid)


def approved(case: Case, signatures: Mapping[str, bytes], registered: Mapping[str, bytes]) -> list[str]:
    """The ids of the keys that approved it. Raises NotApproved."""
    found = approvers(signed_part(case), signatures, registered)
    if len(found) < APPROVERS:
        raise NotApproved(f"expected {APPROVERS} registered approvers to have signed this case, got {len(found)}")
    return found
