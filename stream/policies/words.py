"""A promise in words, for tables and job status."""

from __future__ import annotations

from stream.policies import durations
from stream.policies.model import Policy, Promise
from stream.policies.vocabulary import Bound, Choice, Clock

_RIGHTS = frozenset({Clock.DELETION_REQUESTED, Clock.CONSENT_WITHDRAWN, Clock.ACCOUNT_CANCELLED})
_BOUNDS = {
    Bound.IMMEDIATELY: "immediately after",
    Bound.ON_RETURN: "gone once returned, at the latest minutes after the job's end",
    Bound.USER_CHOICE: "until",
    Bound.WITH_ACCOUNT: "until",
    Bound.RAM_ONLY: "in memory only",
    Bound.PURPOSE: "until",
    Bound.ON_DEVICE: "on the user's device only",
    Bound.NOT_COLLECTED: "not collected",
    Bound.NO_LIMIT: "no limit, as it identifies nobody",
}


def explain(promise: Promise) -> str:
    """`at most 72 h after upload_received (000 §4.1 Facial Data; G2)`."""
    most = promise.at_most
    bound = _BOUNDS[most] if isinstance(most, Bound) else f"at most {durations.words(most)} after"
    clocks = "" if most is Bound.ON_RETURN else " or ".join(promise.clocks)
    cited = "; ".join(part for part in (promise.clause, promise.reading) if part)
    return f"{bound} {clocks}".rstrip() + f" ({cited})"


def promised(policy: Policy, data_class: str, *, choice: str, has_face: bool | None) -> str:
    """All rows that bind such a thing, but for the user's right to end it at any time; the earliest wins."""
    chosen = Choice.of(choice)
    rows = [
        one
        for one in policy.promises_of(data_class)
        if one.when.holds(chosen, face=has_face is not False)
        and not (one.at_most is Bound.IMMEDIATELY and _RIGHTS.issuperset(one.clocks))
    ]
    return "; ".join(explain(one) for one in rows)
