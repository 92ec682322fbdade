"""What is announced before it takes effect: changes, transfers, a service's end; and who is still to be told. Pure."""

from __future__ import annotations

from typing import ClassVar

import msgspec

from stream.errors import BadRequest
from stream.policies import notices
from stream.policies.calendar import Holidays
from stream.policies.model import Policy
from stream.policies.notices import Due, TooSoon
from stream.policies.obligations import Occasion, Transfer

ANNOUNCED = frozenset({Occasion.POLICY_CHANGE, Occasion.PRACTICE_CHANGE, Occasion.TERMINATION, Occasion.TRANSFER})


class NotAnnounced(BadRequest):
    """Nobody announces this, or this policy forbids it."""

    kind: ClassVar[str] = "not-announceable"
    status: ClassVar[int] = 422


class NotPending(BadRequest):
    """This audience was told, or need not be."""

    kind: ClassVar[str] = "notice-not-pending"
    status: ClassVar[int] = 409


class Announcement(msgspec.Struct, frozen=True, tag="announcement", omit_defaults=True):
    """Something that takes effect on its day. `told`: audience → when it was told."""

    app: str
    of: Occasion
    at: float
    effective: float
    told: dict[str, float] = {}


def announce(policy: Policy, of: Occasion, now: float, effective: float, calendar: Holidays) -> Announcement:
    """Raises NotAnnounced, NoNotice, TooSoon."""
    if of not in ANNOUNCED:
        raise NotAnnounced(f"expected one of {', '.join(sorted(ANNOUNCED))}: others are told when they happen")
    rule = policy.sharing
    if of is Occasion.TRANSFER and (rule is None or rule.transfer is Transfer.NEVER):
        clause = rule.clause if rule is not None else f"{policy.source} silent"
        raise NotAnnounced(f"{policy.app} transfers nothing, whoever takes over ({clause})")
    notices.plan(policy, of, now, effective, calendar)
    return Announcement(policy.app, of, now, effective)


def pending(policy: Policy, made: Announcement, calendar: Holidays) -> tuple[Due, ...]:
    """Who is still to be told of it."""
    return tuple(one for one in notices.due(policy, made.of, made.effective, calendar) if one.to not in made.told)


def told(policy: Policy, made: Announcement, calendar: Holidays, audience: str, now: float) -> Announcement:
    """An audience was told. Raises NotPending, or TooSoon where that was too late for its day."""
    due = next((one for one in pending(policy, made, calendar) if one.to == audience), None)
    if due is None:
        raise NotPending("expected an audience that is still to be told of this")
    if now > due.by:
        raise TooSoon("expected it to be told in time: withdraw this announcement, and announce a later day")
    return msgspec.structs.replace(made, told=made.told | {audience: now})


def ended(policy: Policy, made: Announcement, calendar: Holidays, now: float) -> bool:
    """Whether the service has ended: its day has come, and all were told before (T20)."""
    return made.of is Occasion.TERMINATION and made.effective <= now and not pending(policy, made, calendar)
