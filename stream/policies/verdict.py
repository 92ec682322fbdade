"""May this request begin? Asked before any byte is taken, from the policy and what the owner knows.

The order of the checks is part of the contract: what the app offers, where it runs, whether its data may lie here,
whether we can do it; then the caller's own mistakes (inputs, parameters, choice); then the subject's age and
consent; the quota last, so that a request that could never be right costs nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

import msgspec

from stream.policies import ages, inputs
from stream.policies.checks import suggest
from stream.policies.model import Consent, Operation, Policy
from stream.policies.obligations import DutyName
from stream.policies.refusals import (
    AgeUnknown,
    BadChoice,
    ConsentMissing,
    GuardianConsentMissing,
    InMemoryOnly,
    JobsOnly,
    NoReuse,
    OnDeviceOnly,
    OperationNotAvailable,
    OperationNotOffered,
    QuotaExceeded,
    Refusal,
    UnknownParams,
    UnknownPurpose,
    WrongConsentVersion,
    WrongInputs,
    WrongRegion,
)
from stream.policies.vocabulary import Choice, Place


class JobRequest(msgspec.Struct, frozen=True):
    """What of a request the policy judges. `params`: the names only; values are nobody's business here.

    `reuse`: whether an input is a picture that is already here. `roles`: those of the inputs, in order, '' where an
    input names none; none at all: of as many inputs, none does.
    """

    operation: str
    choice: str
    n_inputs: int
    params: frozenset[str] = frozenset()
    reuse: bool = False
    roles: tuple[str, ...] = ()


class Quota(msgspec.Struct, frozen=True):
    """Jobs of this subject that have not ended, and how many may be."""

    used: int
    limit: int
    retry_after_s: float = 1.0


class Granted(msgspec.Struct, frozen=True, tag="granted"):
    """Begin. `policy_hash` goes into the job's receipts (R16). `roles`: of the inputs, in the order of the request."""

    operation: Operation
    choice: Choice
    policy_hash: str
    roles: tuple[str, ...] = ()


class Refused(msgspec.Struct, frozen=True, tag="refused"):
    """Do not. `kind` and `status` are the refusal's; `clause` is empty where no clause decided."""

    kind: str
    status: int
    clause: str
    message: str
    retry_after_s: float = 0.0


Available = Mapping[str, Collection[str]]
"""Operations that an engine here performs → the names of the parameters that it knows."""


def decide(
    policy: Policy,
    request: JobRequest,
    *,
    consents: Collection[tuple[str, str]],
    available: Available,
    quota: Quota | None = None,
    age: str = "",
    region: str = "",
    max_items: int = 1,
) -> Granted | Refused:
    """The verdict. `consents`: (purpose, version) of those that stand for this subject (`consents.standing`).

    `age`: the subject's band, empty where none is known. `region`: where this deployment is, empty if it does not say.
    `max_items`: pictures that one job may have, where its operation takes one.
    """
    try:
        operation = _offered(policy, request)
        at_home(policy, region)
        _available(operation, available)
        roles = _inputs(policy, operation, request, max_items)
        _params(operation, request, available[operation.name])
        choice = _choice(policy, request)
        _age(policy, age)
        _consents(policy, operation, consents, age)
        _quota(quota)
    except Refusal as refusal:
        return Refused(refusal.kind, refusal.status, refusal.clause, str(refusal), refusal.retry_after_s)
    return Granted(operation, choice, policy.hash, roles)


def decide_render(
    policy: Policy, operation: str, params: Collection[str], *, available: Available, region: str = ""
) -> Operation:
    """The verdict on pictures that are worked on in memory only. Raises a Refusal.

    Nobody is named by whom they are sent, since nothing of a user may be kept. So where the policy asks an age or a
    consent, none can stand, and the operation is refused.
    """
    offered = _named(policy, operation)
    if offered.runs is Place.SERVER:
        raise JobsOnly(
            f"{offered.name} keeps pictures for as long as the policy says: POST /v1/{policy.app}/jobs", offered.clause
        )
    at_home(policy, region)
    _available(offered, available)
    if len(offered.required) != 1:
        raise WrongInputs(
            f"{offered.name} takes {len(offered.required)} inputs together, and here each picture is one of its own",
            offered.clause,
        )
    request = JobRequest(operation, choice="", n_inputs=1, params=frozenset(params))
    _params(offered, request, available[offered.name])
    _age(policy, "")
    _consents(policy, offered, (), "")
    return offered


def consent(policy: Policy, purpose: str, version: str, *, granted: bool) -> Consent:
    """The consent that a subject gives or withdraws. Raises UnknownPurpose, WrongConsentVersion.

    Given, it must be to the text in force; withdrawn, it may be to any: nothing stands in the way of a withdrawal.
    """
    known = policy.consent(purpose)
    if known is None:
        purposes = [one.purpose for one in policy.consents]
        listed = ", ".join(purposes) or "none"
        raise UnknownPurpose(f"expected a purpose that {policy.app} asks consent for: {listed}")
    if granted and version != known.version:
        raise WrongConsentVersion(
            f"expected consent to version {known.version!r} of the text, the one in force", known.clause
        )
    return known


def at_home(policy: Policy, region: str) -> None:
    """Whether this app's data may lie in a deployment of this region (empty: it does not say). Raises WrongRegion."""
    home = policy.residency
    if home is not None and home.region != region:
        raise WrongRegion(
            f"expected a deployment in {home.region}, where data of {policy.app} stay: send nothing here", home.clause
        )


def _offered(policy: Policy, request: JobRequest) -> Operation:
    operation = _named(policy, request.operation)
    if operation.runs is Place.MEMORY:
        raise InMemoryOnly(
            f"{operation.name} works in memory only, and a job would store its pictures: POST /v1/{policy.app}/render",
            operation.clause,
        )
    return operation


def _named(policy: Policy, name: str) -> Operation:
    """What a server may do of what the app offers."""
    operation = policy.operation(name)
    if operation is None:
        names = [one.name for one in policy.operations]
        hint = suggest(name, names)
        raise OperationNotOffered(f"expected one of {', '.join(names)}{hint}", policy.clause)
    if operation.runs is Place.DEVICE:
        raise OnDeviceOnly(
            f"{operation.name} runs on the user's device only: send no pictures for it", operation.clause
        )
    return operation


def _available(operation: Operation, available: Available) -> None:
    if operation.name not in available:
        raise OperationNotAvailable(
            f"{operation.name} is offered, but no engine here performs it yet", operation.clause
        )


def _inputs(policy: Policy, operation: Operation, request: JobRequest, max_items: int) -> tuple[str, ...]:
    roles = inputs.assigned(operation, request.roles or ("",) * request.n_inputs, max_items=max_items)
    again = policy.duty(DutyName.NO_REUSE)
    if request.reuse and again is not None:
        raise NoReuse(f"{policy.app} has each picture sent again for each use: upload it to this job", again.clause)
    return roles


def _params(operation: Operation, request: JobRequest, known: Collection[str]) -> None:
    unknown = sorted(request.params - set(known))
    if unknown:
        listed = ", ".join(sorted(known)) or "none"
        raise UnknownParams(f"expected parameters among: {listed}{suggest(unknown[0], known)}", operation.clause)


def _choice(policy: Policy, request: JobRequest) -> Choice:
    given = (*policy.choices, Choice.NONE)
    try:
        choice = Choice.of(request.choice)
    except ValueError:
        choice = None
    if choice not in given:
        clause = next((one.clause for one in policy.promises if one.when.choice), policy.clause)
        raise BadChoice(f"expected a choice among {', '.join(given)}{suggest(request.choice, given)}", clause)
    return choice


def _age(policy: Policy, band: str) -> None:
    age = policy.age
    if age is not None and not age.unknown and ages.find(age, band) is None:
        listed = ", ".join(one.name for one in ages.bands(age))
        raise AgeUnknown(
            f"expected the subject's age band, one of {listed}; record it with "
            f"PUT /v1/{policy.app}/subjects/{{subject}}/age, then send this again",
            age.clause,
        )


def _consents(policy: Policy, operation: Operation, standing: Collection[tuple[str, str]], band: str) -> None:
    age, guarded = policy.age, ages.guarded(policy.age, band)
    if guarded and not operation.consents:  # R14: with no text to agree to, no guardian can have agreed
        assert age is not None
        raise GuardianConsentMissing(
            f"{operation.name} has no text that a guardian could agree to: it is not for this age", age.clause
        )
    for purpose in operation.consents:
        known = policy.consent(purpose)
        assert known is not None  # the compiler checked it
        if (purpose, known.version) in standing:
            continue
        put = f"record it with PUT /v1/{policy.app}/subjects/{{subject}}/consents/{purpose}"
        text = f"consent {purpose!r} to version {known.version!r} of its text"
        if guarded:
            assert age is not None
            raise GuardianConsentMissing(
                f'expected a guardian\'s {text}; {put} and "guardian": true, then send this again', age.clause
            )
        raise ConsentMissing(f"expected the subject's {text}; {put}, then send this again", known.clause)


def _quota(quota: Quota | None) -> None:
    if quota is not None and quota.used >= quota.limit:
        raise QuotaExceeded(
            f"expected fewer than {quota.limit} unfinished jobs of this subject: wait for one to end",
            retry_after_s=quota.retry_after_s,
        )
