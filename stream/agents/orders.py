"""A disclosure's case: who may have what, on which paper, sealed to which key, and who signed it. Pure.

Two distinct approvers sign the same bytes, as for a legal hold. The paper itself stays in the operator's files; its
digest is part of what is signed, and so is the public key: an extract opens for the holder of that key alone.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Annotated, ClassVar

import msgspec
import rfc8785

from stream.agents.cases import APPROVED_WITHIN_S, APPROVERS, BadCase, NotApproved, Text, approvers
from stream.policies.obligations import Document
from stream.policies.vocabulary import DataClass
from stream.vault.envelope import PUBLIC_BYTES

MAX_ORDER_S = 90 * 86_400
MAX_ASSETS = 1000


class OrderNotApproved(NotApproved):
    """Fewer than two registered approvers signed exactly this case."""

    kind: ClassVar[str] = "disclosure-not-approved"


class Order(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is asked for, by whom, and until when it may be handed out. Either a subject or assets of one subject."""

    id: Text
    app: Text
    tenant: Text
    subject: str = ""
    assets: Annotated[tuple[Text, ...], msgspec.Meta(max_length=MAX_ASSETS)] = ()
    authority: Text
    document: Document
    document_sha256: Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$")]
    classes: Annotated[tuple[DataClass, ...], msgspec.Meta(min_length=1)]
    recipient: Annotated[str, msgspec.Meta(pattern=f"^[0-9a-f]{{{2 * PUBLIC_BYTES}}}$")]
    until: int
    proposed_at: int
    proposed_by: Text
    nonce: Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{32}$")]


def signed_part(order: Order) -> bytes:
    """What an approver signs."""
    return b"mayfly disclosure 1\n" + rfc8785.dumps(msgspec.to_builtins(order))


def commitment(order: Order) -> bytes:
    """32 bytes that name the case to nobody who does not have it."""
    return hashlib.sha256(signed_part(order)).digest()


def check(order: Order, now: float) -> None:
    """Raises BadCase for a scope, an end or an age that no disclosure may have."""
    if bool(order.subject) == bool(order.assets):
        raise BadCase("expected either a subject or assets in the case's scope")
    if not now < order.until <= now + MAX_ORDER_S:
        raise BadCase(f"expected the case to end within {MAX_ORDER_S // 86_400} days from now, and not before")
    if not now - APPROVED_WITHIN_S <= order.proposed_at <= now + APPROVED_WITHIN_S:
        raise BadCase(f"expected a case proposed within {APPROVED_WITHIN_S // 86_400} days: propose it anew")


def approved(order: Order, signatures: Mapping[str, bytes], registered: Mapping[str, bytes]) -> list[str]:
    """The ids of the keys that approved it. Raises OrderNotApproved."""
    found = approvers(signed_part(order), signatures, registered)
    if len(found) < APPROVERS:
        raise OrderNotApproved(f"expected {APPROVERS} registered approvers to have signed this case, got {len(found)}")
    return found
