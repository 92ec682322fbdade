"""What changes from one policy to the next, for whom, and what must be said before it takes effect.

R16: each thing keeps the promise under which it was collected. A later policy may shorten a life, never lengthen it,
and a purpose that is new needs a new consent. So a longer life is for what comes after, a shorter one for all.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import product

import msgspec

from stream.policies import change_duties, deadlines, durations, notices
from stream.policies.calendar import DAY_S, Holidays
from stream.policies.deadlines import NoPromise
from stream.policies.difference import Changed, Effect
from stream.policies.model import Policy
from stream.policies.obligations import Channel, Occasion, Purpose, Use, Window
from stream.policies.vocabulary import Bound, Choice, Clock, DataClass

NEVER = "never"
_PROBE_S = 1_764_201_600.0


class Telling(msgspec.Struct, frozen=True):
    """A notice that the change needs: over which channels, and how long before it takes effect."""

    of: Occasion
    via: tuple[Channel, ...]
    before: Window | None
    clause: str


def diff(old: Policy, new: Policy) -> list[Changed]:
    """All differences that matter to a user."""
    lives = (*_lives(old, new), *_floors(old, new))
    return [*lives, *_consents(old, new), *_uses(old, new), *change_duties.diff(old, new)]


def tellings(old: Policy, new: Policy, found: list[Changed]) -> list[Telling]:
    """What must be said, by the policy in force: of any change, and more of one of scope, use or storage."""
    occasions = {Occasion.POLICY_CHANGE} if found or old.hash != new.hash else set()
    if found:
        occasions.add(Occasion.PRACTICE_CHANGE)
    return [
        Telling(notice.of, notice.via, notice.before, notice.clause)
        for occasion in sorted(occasions)
        for notice in old.notices_of(occasion)
    ]


def effective(published: float, said: list[Telling], calendar: Holidays) -> float:
    """The first day, 00:00 UTC, on which it may be in force, if all is said at `published` (epoch seconds)."""
    day = math.ceil(published / DAY_S) * float(DAY_S)
    while any(one.before is not None and notices.before(day, one.before, calendar) < published for one in said):
        day += DAY_S
    return day


def _lives(old: Policy, new: Policy) -> Iterator[Changed]:
    """Each class, in each case, by each clock alone."""
    for data_class in DataClass:
        clocks = {clock for one in (old, new) for row in one.promises_of(data_class) for clock in row.clocks}
        told: set[tuple[str, str, str]] = set()
        for clock, choice, face in product(sorted(clocks) or [Clock.COLLECTED], Choice, (True, False)):
            was, then = (_life(one, data_class, clock, choice, face=face) for one in (old, new))
            key = (clock, was[1], then[1])
            if was[0] == then[0] or key in told:
                continue
            told.add(key)
            effect = Effect.SHORTER if then[0] < was[0] else Effect.LONGER
            yield Changed(f"{data_class}, from {clock}", was[1], then[1], effect, was[2], then[2])


def _life(policy: Policy, data_class: str, clock: Clock, choice: str, *, face: bool) -> tuple[float, str, str]:
    """(how long, in words, clause): negative where it is never stored, infinite where this clock ends nothing."""
    try:
        found = deadlines.ceiling(policy, data_class, choice=choice, has_face=face, clocks={clock: _PROBE_S})
    except NoPromise:
        never = policy.never_stored(data_class)
        return -1.0, str(never.at_most) if never else "not kept", never.clause if never else ""
    most = found.promise.at_most
    words = str(most) if isinstance(most, Bound) else durations.words(most)
    length = found.at - _PROBE_S
    return length, words if length != float("inf") else NEVER, found.clause


def _floors(old: Policy, new: Policy) -> Iterator[Changed]:
    """How long a thing is kept at least, whoever asks. A longer floor is for what comes after (R16)."""
    for data_class in DataClass:
        (least, was, before), (then_least, then, after) = (_floor(one, data_class) for one in (old, new))
        if least != then_least:
            effect = Effect.SHORTER if then_least < least else Effect.LONGER
            yield Changed(f"{data_class}, at least", was, then, effect, before, after)


def _floor(policy: Policy, data_class: str) -> tuple[int, str, str]:
    """(seconds at least, in words, clause)."""
    rows = [(one.at_least, one.clause) for one in policy.promises_of(data_class) if one.at_least is not None]
    found = ((durations.at_least_s(least), durations.words(least), clause) for least, clause in rows)
    return max(found, default=(0, "no time", ""))


def _consents(old: Policy, new: Policy) -> Iterator[Changed]:
    for consent in new.consents:
        before = old.consent(consent.purpose)
        if before is None or before.version != consent.version:
            was, clause = (f"version {before.version}", before.clause) if before else ("none", "")
            yield Changed(
                f"consent {consent.purpose}",
                was,
                f"version {consent.version}",
                Effect.ASK_AGAIN,
                clause,
                consent.clause,
            )
        elif before.text != consent.text:
            yield Changed(
                f"consent {consent.purpose}",
                "another text under this version",
                f"version {consent.version}",
                Effect.ASK_AGAIN,
                before.clause,
                consent.clause,
            )

    for consent in old.consents:
        if new.consent(consent.purpose) is None:
            was = f"version {consent.version}"
            yield Changed(f"consent {consent.purpose}", was, "not asked for", Effect.TELL, consent.clause)


def _uses(old: Policy, new: Policy) -> Iterator[Changed]:
    order = [Use.NEVER, Use.CONSENT, Use.ANONYMOUS, Use.ALWAYS]
    for purpose in Purpose:
        changed = {
            (old.use_of(data_class, purpose), new.use_of(data_class, purpose))
            for data_class in DataClass
            if old.use_of(data_class, purpose) is not new.use_of(data_class, purpose)
        }
        for was, then in sorted(changed):
            wider = order.index(then) > order.index(was)
            yield Changed(f"use for {purpose}", was, then, Effect.ASK_AGAIN if wider else Effect.NARROWER)
