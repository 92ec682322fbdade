"""What changes from one policy to the next, for whom, and what must be said before it takes effect.

R16: each thing keeps the promise under which it was collected. A later policy may shorten a life, never lengthen it,
and a purpose that is new needs a new consent. So a longer life is for what comes after, a shorter one for all.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum
from itertools import product

import msgspec

from stream.policies import deadlines, durations
from stream.policies.deadlines import NoPromise
from stream.policies.model import Policy
from stream.policies.obligations import Channel, Notice, Occasion, Purpose, Use
from stream.policies.vocabulary import Bound, Choice, Clock, DataClass

NEVER = "never"
_PROBE_S = 1_764_201_600.0


class Effect(StrEnum):
    """What a change means for what is stored, and for whom."""

    SHORTER = "shorter at once, also for what is stored"
    LONGER = "only for what is collected from then on (R16)"
    ASK_AGAIN = "everybody is asked again before anything new"
    TELL = "those concerned are told before it takes effect"


class Changed(msgspec.Struct, frozen=True):
    """One difference. `before`, `after`: in words; clauses of both texts, empty where there is none."""

    what: str
    before: str
    after: str
    effect: Effect
    clause_before: str = ""
    clause_after: str = ""


class Telling(msgspec.Struct, frozen=True):
    """A notice that the change needs: over which channels, and how long before it takes effect (seconds)."""

    of: Occasion
    via: tuple[Channel, ...]
    before_s: float
    clause: str


def diff(old: Policy, new: Policy) -> list[Changed]:
    """All differences that matter to a user."""
    return [*_lives(old, new), *_consents(old, new), *_uses(old, new), *_rights(old, new), *_operations(old, new)]


def tellings(old: Policy, new: Policy, found: list[Changed]) -> list[Telling]:
    """What must be said, by the policy in force: of any change, and more of one of scope, use or storage."""
    occasions = {Occasion.POLICY_CHANGE} if found or old.hash != new.hash else set()
    if found:
        occasions.add(Occasion.PRACTICE_CHANGE)
    return [
        Telling(notice.of, notice.via, _before_s(notice), notice.clause)
        for occasion in sorted(occasions)
        for notice in old.notices_of(occasion)
    ]


def effective(published: float, said: list[Telling]) -> float:
    """When the new policy may take effect at the earliest, if all is said at `published` (epoch seconds)."""
    return published + max((one.before_s for one in said), default=0.0)


def _before_s(notice: Notice) -> float:
    return float(durations.at_most_s(notice.before.length)) if notice.before is not None else 0.0


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
            yield Changed(f"use for {purpose}", was, then, Effect.ASK_AGAIN if wider else Effect.SHORTER)
    was_shared, then_shared = (one.sharing.use if one.sharing else Use.NEVER for one in (old, new))
    if was_shared is not then_shared:
        clauses = tuple(one.sharing.clause if one.sharing else "" for one in (old, new))
        yield Changed("sharing", was_shared, then_shared, Effect.ASK_AGAIN, *clauses)


def _rights(old: Policy, new: Policy) -> Iterator[Changed]:
    for name in dict.fromkeys(one.name for one in (*old.rights, *new.rights)):
        was, then = old.right(name), new.right(name)
        words = [
            "none" if right is None else durations.words(right.within.length) if right.within else "at once"
            for right in (was, then)
        ]
        if words[0] != words[1]:
            clauses = [right.clause if right else "" for right in (was, then)]
            yield Changed(f"right {name}", words[0], words[1], Effect.TELL, *clauses)


def _operations(old: Policy, new: Policy) -> Iterator[Changed]:
    for name in dict.fromkeys(one.name for one in (*old.operations, *new.operations)):
        was, then = old.operation(name), new.operation(name)
        words = [f"on {one.runs}" if one else "not offered" for one in (was, then)]
        if words[0] != words[1]:
            clauses = [one.clause if one else "" for one in (was, then)]
            yield Changed(f"operation {name}", words[0], words[1], Effect.TELL, *clauses)
