"""The consent ledger: what was agreed to stands only as long as its own words say. Values in, values out.

A ledger is every grant and withdrawal of one subject in one app, in order. Nothing is presumed (R14): a purpose stands
if the last entry that bears on it is a grant, of the very text in force, by the person whose consent counts. Below the
policy's age that is a guardian, above it the subject; the other's grant does not bear on it, while a withdrawal by
either ends both. Where no text exists for a purpose, nobody can have agreed to it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable
from enum import StrEnum

import msgspec

from stream.events.rows import Consent as Entry
from stream.events.rows import SubjectBody
from stream.policies import ages, verdict
from stream.policies.model import Consent, Policy
from stream.policies.obligations import Purpose, Use
from stream.policies.refusals import ConsentLedgerFull, ConsentMissing, GuardianNotAsked, PurposeNotAllowed, Refusal
from stream.policies.verdict import Refused
from stream.policies.vocabulary import Bound, DataClass

MAX_GRANTS = 500
"""Of one subject in one app: a row of Kafka has a limit, and a withdrawal must always find room."""

PROOF = r"(sha256:[0-9a-f]{64}|[A-Za-z0-9._-]{1,64})?"
"""A digest, or a tenant's own reference: no room for an address or a sentence."""

Standing = frozenset[tuple[str, str]]
"""(purpose, version) of what stands."""


class How(StrEnum):
    """Which way a consent came."""

    TENANT_API = "tenant_api"  # the tenant says so, and no more
    APP = "app"
    WEB = "web"
    DEVICE_PROMPT = "device_prompt"
    PERSONAL_CENTRE = "personal_centre"
    EMAIL = "email"
    PHONE = "phone"
    PAPER = "paper"
    RIGHTS_REQUEST = "rights_request"
    RESTORE = "restore"  # ours: a backup cannot say that nothing was withdrawn since


OURS = frozenset({How.RIGHTS_REQUEST, How.RESTORE})
"""No caller may say these."""


class Why(StrEnum):
    """Why a consent does not stand, and is to be asked for."""

    NEW = "new"  # nobody was asked, or nobody agreed
    WITHDRAWN = "withdrawn"
    CHANGED = "changed"  # it was given to another text
    GUARDIAN = "guardian"  # the subject agreed, and a guardian must
    OWN = "own"  # a guardian agreed, and the subject has outgrown that


class Allowed(msgspec.Struct, frozen=True):
    """Data may serve the purpose, by this clause."""

    clause: str


class Ask(msgspec.Struct, frozen=True):
    """A text that does not stand, and why."""

    text: Consent
    why: Why


def ledger_of(body: SubjectBody) -> tuple[Entry, ...]:
    """The subject's ledger, with what an earlier version of ours kept of it."""
    return (*sorted(body.consents.values(), key=lambda one: one.at), *body.history)


def digest(text: str) -> str:
    """Hex SHA-256 of a text, by which an entry says what was agreed to."""
    return hashlib.sha256(text.encode()).hexdigest()


def entry(policy: Policy, said: Entry, *, band: str) -> Entry:
    """What is written down of what was said: with the text and the policy in force.

    Raises UnknownPurpose, WrongConsentVersion, GuardianNotAsked where nobody needs a guardian.
    """
    text = verdict.consent(policy, said.purpose, said.version, granted=said.granted)
    if not said.granted:
        return msgspec.structs.replace(said, text="", policy=policy.hash)
    if said.guardian:
        _guardian_asked(policy, band)
    return msgspec.structs.replace(said, text=digest(text.text), policy=policy.hash)


def repeats(ledger: Iterable[Entry], new: Entry) -> Entry | None:
    """The entry that says the same already: a lost answer is asked for again, and must not be written twice."""
    of_purpose = [one for one in ledger if one.purpose == new.purpose]
    if not of_purpose:
        return None
    if not new.granted:  # whoever granted last, one of them would still count
        return None if of_purpose[-1].granted else of_purpose[-1]
    last = _last(of_purpose, new.purpose, guardian=new.guardian)
    same = msgspec.structs.replace(new, at=last.at, policy=last.policy) if last is not None else None
    return last if last == same else None


def add(ledger: tuple[Entry, ...], new: Entry) -> tuple[Entry, ...]:
    """The ledger with one entry more. Raises ConsentLedgerFull, but never for a withdrawal."""
    if new.granted and sum(one.granted for one in ledger) >= MAX_GRANTS:
        raise ConsentLedgerFull(f"expected at most {MAX_GRANTS} grants of one subject: record each consent once")
    return (*ledger, new)


def standing(policy: Policy, ledger: Iterable[Entry], *, band: str = "") -> tuple[Entry, ...]:
    """The entries by which a consent stands, for a subject of this age band (empty: not known)."""
    ledger, guardian = tuple(ledger), ages.guarded(policy.age, band)
    last = ((text, _last(ledger, text.purpose, guardian=guardian)) for text in policy.consents)
    return tuple(one for text, one in last if one is not None and _to(one, text))


def versions(entries: Iterable[Entry]) -> Standing:
    """As a verdict asks for it."""
    return frozenset((one.purpose, one.version) for one in entries)


def asks(policy: Policy, ledger: Iterable[Entry], *, band: str = "") -> tuple[Ask, ...]:
    """Every text that does not stand, and why: what a client has to ask, or to ask again."""
    ledger = tuple(ledger)
    stands = {one.purpose for one in standing(policy, ledger, band=band)}
    guarded = ages.guarded(policy.age, band)
    return tuple(
        Ask(text, _why(ledger, text, guarded=guarded)) for text in policy.consents if text.purpose not in stands
    )


def withdraw_all(ledger: tuple[Entry, ...], *, at: float, how: How) -> tuple[tuple[Entry, ...], int]:
    """The ledger with a withdrawal of each purpose whose last entry is a grant, and how many those are."""
    last = {one.purpose: one for one in ledger}
    gone = tuple(Entry(one.purpose, one.version, granted=False, at=at, how=how) for one in last.values() if one.granted)
    return (*ledger, *gone), len(gone)


def may_use(
    policy: Policy, data_class: DataClass, purpose: Purpose, consents: Collection[tuple[str, str]]
) -> Allowed | Refused:
    """May data of this class serve the purpose, with these consents standing? No rule: never.

    "Anonymous" allows only what the policy keeps without limit because it identifies nobody (R12). "Consent" needs the
    text of this very purpose: while a policy has none, nothing can be agreed to, so the answer is no.
    """
    use = policy.use_of(data_class, purpose)
    rules = [one for one in policy.purposes if one.name is purpose and (not one.of or data_class in one.of)]
    clause = next((one.clause for one in rules if one.use is use), policy.clause)
    try:
        if use is Use.CONSENT:
            _agreed(policy, purpose, consents, clause)
        elif use is Use.ANONYMOUS:
            _nobody(policy, data_class, purpose, clause)
        elif use is Use.NEVER:
            raise PurposeNotAllowed(
                f"expected a purpose that {policy.app} allows {data_class} to serve, got another", clause
            )
    except Refusal as refusal:
        return Refused(refusal.kind, refusal.status, refusal.clause, str(refusal))
    return Allowed(clause)


def _last(ledger: Iterable[Entry], purpose: str, *, guardian: bool) -> Entry | None:
    """The last entry that bears on the consent that this person gives: of theirs, and of all withdrawals."""
    of_purpose = [one for one in ledger if one.purpose == purpose]
    bearing = [one for one in of_purpose if not one.granted or one.guardian == guardian]
    return bearing[-1] if bearing else None


def _to(one: Entry, text: Consent) -> bool:
    """Whether it is a grant, to this very text: an earlier version of ours did not keep the digest."""
    return one.granted and one.version == text.version and one.text in {"", digest(text.text)}


def _why(ledger: tuple[Entry, ...], text: Consent, *, guarded: bool) -> Why:
    """Why a text does not stand."""
    said = [one for one in ledger if one.purpose == text.purpose]
    if not said:
        return Why.NEW
    if not said[-1].granted:
        return Why.WITHDRAWN
    last = _last(ledger, text.purpose, guardian=guarded)
    if last is not None and last.granted:
        return Why.CHANGED
    return Why.GUARDIAN if guarded else Why.OWN  # only the other has agreed


def _guardian_asked(policy: Policy, band: str) -> None:
    asked = ages.bands(policy.age)
    grown = ages.find(policy.age, band)
    if policy.age is None:
        raise GuardianNotAsked(f"{policy.app} asks no guardian: record the subject's own consent")
    if grown is not None and grown == asked[-1]:
        raise GuardianNotAsked(
            "expected the subject's own consent: at their age nobody agrees for them", policy.age.clause
        )


def _agreed(policy: Policy, purpose: Purpose, consents: Collection[tuple[str, str]], clause: str) -> None:
    text = policy.consent(purpose)
    if text is None:
        raise PurposeNotAllowed(
            f"{policy.app} has no text by which anybody could agree to {purpose}: add a [[consent]]", clause
        )
    if (text.purpose, text.version) not in consents:
        raise ConsentMissing(f"expected a consent to version {text.version!r} of the text on {purpose}", clause)


def _nobody(policy: Policy, data_class: DataClass, purpose: Purpose, clause: str) -> None:
    rows = policy.promises_of(data_class)
    if not rows or any(one.at_most is not Bound.NO_LIMIT for one in rows):
        raise PurposeNotAllowed(f"{purpose} takes only what identifies nobody: {data_class} is not that", clause)
