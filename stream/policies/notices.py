"""Who must be told of what, how, and by when; and what a service's end makes due. Pure; times are epoch seconds.

Before something takes effect, or within a while after it was confirmed. Where working days are counted, what binds is
the stricter of the calendar's date and as many days (R6): a notice before comes earlier, one after no later.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar

import msgspec

from stream.errors import BadRequest
from stream.policies import durations
from stream.policies.calendar import Holidays, add_months
from stream.policies.durations import Months
from stream.policies.model import Policy
from stream.policies.obligations import Audience, Channel, DutyName, Notice, Occasion, Window
from stream.policies.vocabulary import Bound, Clock, DataClass


class NoNotice(BadRequest):
    """The policy says nothing of such an occasion."""

    kind: ClassVar[str] = "no-notice"
    status: ClassVar[int] = 422


class TooSoon(BadRequest):
    """It would take effect before everybody could have been told in time."""

    kind: ClassVar[str] = "too-soon"
    status: ClassVar[int] = 422


class Due(msgspec.Struct, frozen=True):
    """One audience to be told, by `by` at the latest. `clause`: who promised it."""

    app: str
    of: Occasion
    to: Audience
    via: tuple[Channel, ...]
    by: float
    clause: str

    @property
    def name(self) -> str:
        """By which it is recorded as given."""
        return f"{self.app}/{self.to}"


class Ending(msgspec.Struct, frozen=True):
    """A service's end: told by, stopped at, and when the last of each class is gone."""

    told_by: float
    stops_at: float
    gone_by: dict[DataClass, float]
    clause: str


def before(effective: float, window: Window, calendar: Holidays) -> float:
    """The last moment that is so long before."""
    length = window.length
    if isinstance(length, Months):
        return add_months(effective, -length.months) - length.plus_s
    early = effective - length
    return min(early, calendar.before(effective, window.working_days)) if window.working_days else early


def after(start: float, window: Window) -> float:
    """The last moment within the window, in calendar days: never later than the working days shown."""
    return durations.after(start, window.length)


def due(policy: Policy, occasion: Occasion, at: float, calendar: Holidays) -> tuple[Due, ...]:
    """All who must be told. `at`: when an incident was confirmed, or when anything else takes effect."""
    return tuple(
        Due(policy.app, occasion, audience, rule.via, _by(rule, at, calendar), rule.clause)
        for rule in policy.notices_of(occasion)
        for audience in rule.to
    )


def of_incident(policies: Iterable[Policy], confirmed_at: float, calendar: Holidays) -> tuple[Due, ...]:
    """All whom the policies of the apps concerned promise to tell, the most urgent first."""
    found = [one for policy in policies for one in due(policy, Occasion.INCIDENT, confirmed_at, calendar)]
    return tuple(sorted(found, key=lambda one: (one.by, one.name)))


def plan(policy: Policy, occasion: Occasion, now: float, effective: float, calendar: Holidays) -> tuple[Due, ...]:
    """Who must be told before it takes effect. Raises NoNotice, TooSoon."""
    found = due(policy, occasion, effective, calendar)
    if not found:
        raise NoNotice(f"expected an occasion of which {policy.app} promises to tell; of this one it says nothing")
    late = [one for one in found if one.by < now]
    if late:
        raise TooSoon(f"expected it to take effect later: {late[0].clause} promises to tell earlier than now")
    return found


def ending(policy: Policy, effective: float, calendar: Holidays) -> Ending:
    """Advance notice, then stop, then delete all: what the policy promises of a service's end. Raises NoNotice."""
    rules = policy.notices_of(Occasion.TERMINATION)
    if not rules:
        raise NoNotice(f"expected a policy that promises something of its service's end; {policy.app}'s is silent")
    duty = policy.duty(DutyName.STOP_ON_TERMINATION)
    gone = {
        one.data_class: effective if isinstance(one.at_most, Bound) else durations.after(effective, one.at_most)
        for one in policy.promises
        if Clock.SERVICE_TERMINATED in one.clocks
    }
    told_by = min(_by(rule, effective, calendar) for rule in rules)
    return Ending(told_by, effective, gone, duty.clause if duty is not None else rules[0].clause)


def _by(rule: Notice, at: float, calendar: Holidays) -> float:
    if rule.within is not None:
        return after(at, rule.within)
    return before(at, rule.before, calendar) if rule.before is not None else at
