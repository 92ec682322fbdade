"""What rights, notices, accounts, ages and disclosures of a policy must also be: see `checks`."""

from __future__ import annotations

from collections.abc import Iterator

from stream.policies.checks import Finding, must_end
from stream.policies.model import Policy
from stream.policies.obligations import Audience, Occasion, RightName, Standing, Stops, Transfer, Use
from stream.policies.vocabulary import Clock, DataClass, birth

_SINGLE = frozenset({"age", "account", "residency", "sharing", "disclosure", "hold"})


def records(policy: Policy) -> Iterator[Finding]:
    """What consents, accounts, rights and disclosures bring into being has a promise too."""
    for table, data_class in _recorded(policy):
        rows = policy.promises_of(data_class)
        # R13: what an account holds stays while it exists, so a cancellation is the end that must come
        with_account = table == "account" and any(Clock.ACCOUNT_CANCELLED in one.clocks for one in rows)
        if not with_account and not any(must_end(one) for one in rows):
            named = f"[{table}]" if table in _SINGLE else f"[[{table}]]"
            said = f"a {named} makes {data_class}, which nothing must end"
            yield table, 0, "", f"{said}: add a [[promise]] of {data_class} that counts from {birth(data_class)}"


def _recorded(policy: Policy) -> Iterator[tuple[str, DataClass]]:
    if policy.consents:
        yield "consent", DataClass.CONSENT_RECORD
    if policy.age is not None:
        yield "age", DataClass.GUARDIAN_CONSENT
    if policy.account is not None and policy.account.standing is not Standing.NONE:
        yield "account", DataClass.ACCOUNT_PROFILE
        yield "account", DataClass.LOGIN_SECRET
        if policy.account.verify:
            yield "account", DataClass.VERIFICATION_CODE
    if policy.disclosure is not None:
        yield "disclosure", DataClass.DISCLOSURE_RECORD
    answered = {RightName.COMPLAINT: DataClass.COMPLAINT, RightName.QUESTION: DataClass.SUPPORT_TICKET}
    for right in policy.rights:
        yield "right", answered.get(right.name, DataClass.RIGHTS_REQUEST)


def obligations(policy: Policy) -> Iterator[Finding]:
    """Rights, notices, accounts and sharing agree with themselves."""
    yield from _rights(policy)
    yield from _notices(policy)
    yield from _account(policy)
    yield from _age(policy)
    sharing = policy.sharing
    if sharing is None or sharing.use is not Use.NEVER:
        return
    if sharing.recipients or sharing.transfer is not Transfer.NEVER:
        yield "sharing", 0, "recipients", "nothing is ever shared here: expected no recipient and no transfer"


def _rights(policy: Policy) -> Iterator[Finding]:
    names = [one.name for one in policy.rights]
    for index, right in enumerate(policy.rights):
        if right.name in names[:index]:
            yield "right", index, "name", f"{right.name} is given twice: keep one (clause {right.clause})"
        if right.stops is Stops.ACCOUNT and right.name is not RightName.CANCEL_ACCOUNT:
            yield "right", index, "stops", "only cancel_account ends the account"


def _notices(policy: Policy) -> Iterator[Finding]:
    for index, notice in enumerate(policy.notices):
        if notice.within is not None and notice.of is not Occasion.INCIDENT:
            yield "notice", index, "within", f"{notice.of} is told before it happens: say `before`"
        if notice.of is Occasion.INCIDENT and (notice.before is not None or notice.within is None):
            yield "notice", index, "within", "an incident is told after it is confirmed: say `within`, a span"
        if not notice.to or (Audience.USERS in notice.to and not notice.via):
            yield "notice", index, "via", "expected whom to tell, and by which channels"


def _account(policy: Policy) -> Iterator[Finding]:
    account = policy.account
    if account is None:
        return
    if strange := [field for field in account.required if field not in account.fields]:
        yield "account", 0, "required", f"{strange[0]} is required, but not among the fields"
    if account.standing is Standing.NONE and (account.fields or account.verify):
        yield "account", 0, "fields", "an app without accounts asks for nothing: delete fields and verify"


def _age(policy: Policy) -> Iterator[Finding]:
    age = policy.age
    if age is None:
        return
    if age.guardian_below < 0 or age.advice_below < 0 or not (age.guardian_below or age.advice_below):
        yield "age", 0, "guardian_below", "expected an age in years below which a guardian must, or should, agree"
    elif age.advice_below and age.advice_below <= age.guardian_below:
        yield "age", 0, "advice_below", "expected an age above guardian_below, or none: below it a guardian must agree"
