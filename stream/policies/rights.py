"""What becomes of a request: which right it uses, by when it is answered, what may happen to it next. Pure.

    pending ─ identity verified ─► in progress ─► completed | refused, with its ground

A request waits for proof of who asks only where the policy says so, and nothing that cannot be undone happens before.
Its due date is set when it arrives, counts from then (R3), and never moves.
"""

from __future__ import annotations

from typing import ClassVar

import msgspec

from stream.errors import BadRequest
from stream.events.records import Request, RequestState
from stream.policies import durations
from stream.policies.calendar import Holidays
from stream.policies.checks import suggest
from stream.policies.model import Policy
from stream.policies.obligations import Right, RightName
from stream.policies.vocabulary import DataClass

CLASSES = {RightName.COMPLAINT: DataClass.COMPLAINT, RightName.QUESTION: DataClass.SUPPORT_TICKET}
"""Of the record of a request; all others are rights_request."""

ERASING = frozenset({RightName.DELETE, RightName.WITHDRAW, RightName.CANCEL_ACCOUNT})
ANSWERED_BY_DOING = ERASING | {RightName.ACCESS}
"""Nobody says that these are done: they are completed by what was done."""


class UnknownRight(BadRequest):
    """The app's policy gives no such right."""

    kind: ClassVar[str] = "unknown-right"
    status: ClassVar[int] = 404


class NotPending(BadRequest):
    """The request waits for no proof of identity."""

    kind: ClassVar[str] = "not-pending"
    status: ClassVar[int] = 409


class IdentityUnproven(BadRequest):
    """Who asks must be verified before this is answered."""

    kind: ClassVar[str] = "identity-unproven"
    status: ClassVar[int] = 409


class AlreadyAnswered(BadRequest):
    """The request has ended; another needs another request."""

    kind: ClassVar[str] = "already-answered"
    status: ClassVar[int] = 409


class AnsweredByDoing(BadRequest):
    """What it asks for completes it, and what was erased cannot be refused any more."""

    kind: ClassVar[str] = "answered-by-doing"
    status: ClassVar[int] = 409


class NoGround(BadRequest):
    """A refusal names the legal ground on which it rests."""

    kind: ClassVar[str] = "no-ground"
    status: ClassVar[int] = 422


def right_of(policy: Policy, name: str) -> Right:
    """The right by its name. Raises UnknownRight."""
    right = policy.right(name)
    if right is None:
        names = [one.name for one in policy.rights]
        raise UnknownRight(f"expected a right that {policy.app} gives: {', '.join(names)}{suggest(name, names)}")
    return right


def class_of(name: str) -> DataClass:
    """The data class of the record of such a request."""
    return CLASSES.get(RightName(name), DataClass.RIGHTS_REQUEST)


def receive(right: Right, now: float, calendar: Holidays) -> Request:
    """The request as it arrives. `due`: calendar days, so never later than the working days shown (R6)."""
    within = right.within
    due = now if within is None else durations.after(now, within.length)
    shown = calendar.after(now, within.working_days) if within is not None and within.working_days else due
    state = RequestState.PENDING if right.identity else RequestState.IN_PROGRESS
    return Request(
        right=right.name, state=state, received_at=now, due=due, shown_due=max(due, shown), clause=right.clause
    )


def verify(request: Request, method: str, now: float) -> Request:
    """Who asks is who they say. Raises NotPending."""
    if request.state is not RequestState.PENDING:
        raise NotPending("expected a request that waits for proof of who asks: this one does not")
    return msgspec.structs.replace(request, state=RequestState.IN_PROGRESS, verified_at=now, verified_by=method)


def complete(request: Request, now: float, answer: str = "") -> Request:
    """It is done. Raises IdentityUnproven, AlreadyAnswered."""
    _open(request)
    if request.state is RequestState.PENDING:
        raise IdentityUnproven("expected who asks to be verified first: POST …/verify")
    return msgspec.structs.replace(request, state=RequestState.COMPLETED, ended_at=now, answer=answer)


def refuse(request: Request, now: float, ground: str, answer: str = "") -> Request:
    """It is refused, and why. Raises NoGround, AlreadyAnswered."""
    _open(request)
    if not ground:
        raise NoGround("expected `ground`: the law, or the clause, on which the refusal rests")
    return msgspec.structs.replace(request, state=RequestState.REFUSED, ended_at=now, ground=ground, answer=answer)


def answer(request: Request, now: float, *, refused: bool, ground: str = "", said: str = "") -> Request:
    """As whoever answers for the app says. Raises AnsweredByDoing where that would not be so, and as those above."""
    if may_act(request) and request.right in (ERASING if refused else ANSWERED_BY_DOING):
        raise AnsweredByDoing("expected a request that people answer: this one is completed by what it asks for")
    return refuse(request, now, ground, said) if refused else complete(request, now, said)


def may_act(request: Request) -> bool:
    """Whether what it asks for may be done now."""
    return request.state is RequestState.IN_PROGRESS


def _open(request: Request) -> None:
    if request.state.ended:
        raise AlreadyAnswered("expected a request that is open: this one was answered")
