"""To whom data may go, by the policy alone: to nobody unless it says so. Values in, values out.

Nothing in this system sends anything to third parties; an operator who wants to asks here first (`mayfly sharing`).
"""

from __future__ import annotations

from collections.abc import Collection
from typing import ClassVar

import msgspec

from stream.errors import BadRequest
from stream.policies.model import Policy
from stream.policies.obligations import Purpose, Sharing, Transfer, Use
from stream.policies.vocabulary import MEDIA, Bound

CONSENT = "sharing"
"""The purpose of a consent to it. A policy without such a text has nobody's consent (R14)."""


class Granted(msgspec.Struct, frozen=True):
    """It may go, by this clause."""

    clause: str


class Refused(msgspec.Struct, frozen=True):
    """It may not, and which clause, or its absence, says so. `kind` is stable."""

    kind: str
    clause: str
    message: str


class SharingRefused(BadRequest):
    """The policy does not let this be shared, disclosed or transferred so."""

    kind: ClassVar[str] = "sharing-refused"
    status: ClassVar[int] = 403


def may(
    policy: Policy, data_class: str, recipient: str, *, consents: Collection[str] = (), anonymous: bool = False
) -> Granted | Refused:
    """Whether this class may go to this recipient. `consents`: purposes to which the subject's consent stands.

    What identifies nobody is free (R12), but only of a class that the policy keeps for no time's sake because it is so:
    a claim makes no picture anonymous.
    """
    promises = policy.promises_of(data_class)
    if anonymous and promises and all(one.at_most is Bound.NO_LIMIT for one in promises):
        return Granted(promises[0].clause)
    rule = policy.sharing
    if rule is None or rule.use is Use.NEVER:
        clause = rule.clause if rule else f"{policy.source} silent"
        return Refused("sharing-forbidden", clause, f"{policy.app} shares nothing with anybody")
    listed = ", ".join(rule.recipients) or "nobody"
    obstacles = (
        (_stays(rule, data_class), "never-shared", f"{policy.app} never shares this class, whoever agrees"),
        (rule.use is Use.ANONYMOUS, "not-anonymous", f"{policy.app} shares only what identifies nobody"),
        (recipient not in rule.recipients, "not-a-recipient", f"expected a recipient that the policy lists: {listed}"),
        (
            rule.use is Use.CONSENT and CONSENT not in consents,
            "no-consent",
            "expected the subject's consent to sharing to stand",
        ),
    )
    found = next(((kind, message) for stands, kind, message in obstacles if stands), None)
    return Granted(rule.clause) if found is None else Refused(found[0], rule.clause, found[1])


def transfer(policy: Policy, data_class: str, *, announced: bool, opted_out: bool, bound: bool) -> Granted | Refused:
    """Whether this class of a subject's data may go along when the business changes hands. Media never do: they go."""
    rule = policy.sharing
    clause = rule.clause if rule else f"{policy.source} silent"
    if rule is None or rule.transfer is Transfer.NEVER:
        return Refused("transfer-forbidden", clause, f"{policy.app} transfers nothing, whoever takes over")
    if _stays(rule, data_class):
        return Refused("never-shared", clause, "expected no media in a transfer: they are deleted instead")
    if not announced:
        return Refused("not-announced", clause, "expected the transfer to be told before: see `mayfly notices`")
    if rule.transfer is Transfer.BOUND and not bound:
        return Refused("not-bound", clause, "expected the new holder to be bound by this policy, or to ask again")
    if rule.transfer is Transfer.OPT_OUT and opted_out:
        return Refused("opted-out", clause, "expected only subjects who did not opt out")
    return Granted(clause)


def _stays(rule: Sharing, data_class: str) -> bool:
    return data_class in rule.never or data_class in MEDIA


class Shared(msgspec.Struct, frozen=True, tag="sharing", omit_defaults=True):
    """A line of the sharing register: who gets which classes, for what, on which legal ground, since when."""

    app: str
    recipient: str
    purpose: str
    classes: tuple[str, ...]
    ground: str
    at: float
    clause: str
    anonymous: bool = False


def register(
    policy: Policy,
    recipient: str,
    purpose: Purpose,
    classes: tuple[str, ...],
    *,
    ground: str,
    now: float,
    anonymous: bool,
) -> Shared:
    """The line, where the policy lets each of the classes go. Raises SharingRefused with the clause.

    Each subject's consent is asked of their ledger when their data go; here its text must at least exist.
    """
    if not classes or not ground or not recipient:
        raise SharingRefused("expected a recipient, at least one class, and the legal ground on which it may have them")
    texts = [one.purpose for one in policy.consents]
    clauses = []
    for data_class in classes:
        found = may(policy, data_class, recipient, consents=texts, anonymous=anonymous)
        if isinstance(found, Refused):
            raise SharingRefused(f"{found.message} ({found.kind}, {found.clause})")
        if not anonymous and policy.use_of(data_class, purpose) is Use.NEVER:
            raise SharingRefused(f"expected a purpose for which {policy.app} lets this class be used, not {purpose}")
        clauses.append(found.clause)
    return Shared(policy.app, recipient, purpose.value, classes, ground, now, clauses[0], anonymous=anonymous)
