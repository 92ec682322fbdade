"""When a thing must be gone: from a policy, what is known of the thing, and the clocks that have started.

A ceiling is a promise: at that moment the thing is no longer readable. `due` is when we act, earlier by a lead that
covers a takeover and retries. Times are float seconds since the epoch, UTC; `math.inf` is "no clock runs yet".
"""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping
from typing import ClassVar

import msgspec

from stream.errors import BrokenPromise
from stream.policies import durations
from stream.policies.model import Policy, Promise
from stream.policies.vocabulary import OPEN_ENDED, Bound, Choice, Clock, DataClass

LEAD_S = 60
"""Default of the platform's setting: at least a takeover and its retries."""
RETURNED_WITHIN_S = 600
"""Default of the platform's setting: how long a result that goes once returned waits for that after the job's end."""
MIN_BUCKET_S = 60
BUCKETS_PER_LIFETIME = 256
NEVER = b"\xff" * 8
"""The bucket of what has no deadline: it sorts after all others and never comes due."""

_BUCKET = struct.Struct(">Q")


class NoPromise(BrokenPromise):
    """The policy says nothing that would let us keep this at all."""

    kind: ClassVar[str] = "no-promise"


class Ceiling(msgspec.Struct, frozen=True):
    """The earliest of what binds now, and the row that says so.

    `awaits`: rows whose clock may yet start. `on_return`: the thing goes with the last byte of its first complete GET.
    """

    at: float
    promise: Promise
    awaits: tuple[Promise, ...] = ()
    on_return: bool = False

    @property
    def clause(self) -> str:
        """Of the row that binds."""
        return self.promise.clause


class Deadline(msgspec.Struct, frozen=True):
    """What a row and its page need. `bucket`: 8 bytes that sort like `due`, the page's label."""

    ceiling: float
    due: float
    bucket: bytes
    clause: str


def ceiling(
    policy: Policy,
    data_class: str,
    *,
    choice: str,
    has_face: bool | None,
    clocks: Mapping[Clock, float],
    returned_within_s: float = RETURNED_WITHIN_S,
) -> Ceiling:
    """The earliest ceiling (R1) among the rows that apply.

    `choice`: save, discard, none or empty. `has_face`: None where nobody has looked, which presumes one (R11). Of a
    thing made from several others, `clocks` holds the earliest start among them (R10), and `has_face` is true if any
    has one; re-use and retries never restart a clock (R4). Clocks that have not started are left out: they bind once
    they do, so ask again then. Raises NoPromise where the class has no row, or may never be stored.
    """
    chosen = Choice.of(choice)
    rows = [one for one in policy.promises_of(data_class) if one.when.holds(chosen, face=has_face is not False)]
    if not rows:
        raise NoPromise(f"expected a promise of {policy.app} for {data_class}, found none: it must not be kept")
    if (never := policy.never_stored(data_class)) is not None:
        raise NoPromise(
            f"{policy.app} promises of {data_class} ({never.clause}): {never.at_most}; it must not be stored"
        )
    if Clock.PROCESSING_FAILED in clocks and any(Clock.PROCESSING_FAILED in one.clocks for one in rows):
        clocks = {clock: at for clock, at in clocks.items() if clock is not Clock.JOB_ENDED}  # R8: its own clock
    ends = [_end(one, clocks, returned_within_s) for one in rows]
    first = min(range(len(rows)), key=ends.__getitem__)
    if math.isinf(ends[first]):  # nothing counts down: name the row that lets it stay, not one that waits for a right
        first = next((n for n, one in enumerate(rows) if one.at_most in OPEN_ENDED), first)
    awaits = tuple(one for n, one in enumerate(rows) if n != first and math.isinf(ends[n]))
    on_return = any(one.at_most is Bound.ON_RETURN for one in rows)
    return Ceiling(ends[first], rows[first], awaits, on_return)


def binding(
    policy: Policy,
    data_class: str,
    *,
    collected_at: float,
    choice: str,
    has_face: bool | None,
    clocks: Mapping[Clock, float],
    returned_within_s: float = RETURNED_WITHIN_S,
) -> Ceiling:
    """The earliest ceiling of all policies that bind a thing collected then: a successor lengthens nothing (R16).

    A clock may start long after the policy changed, so what the earlier text says of that clock is asked, too. Where
    it knew no such class it adds nothing. Raises NoPromise for what the policy in force does not let be kept.
    """
    found: list[Ceiling] = []
    for one in policy.binding(collected_at):
        try:
            reading = ceiling(
                one,
                data_class,
                choice=choice,
                has_face=has_face,
                clocks=clocks,
                returned_within_s=returned_within_s,
            )
        except NoPromise:
            if one is policy:
                raise
        else:
            found.append(reading)
    first = min(found, key=lambda one: one.at)
    return msgspec.structs.replace(first, on_return=any(one.on_return for one in found))


def floor(policy: Policy, data_class: str, clocks: Mapping[Clock, float]) -> float:
    """Until when such a thing must be kept, whoever asks for its erasure; 0 where nothing says so (R2)."""
    ends = [
        durations.after(clocks[clock], one.at_least)
        for one in policy.promises_of(data_class)
        if one.at_least is not None
        for clock in one.clocks
        if clock in clocks
    ]
    return max(ends, default=0.0)


def deadline(of: Ceiling, *, lead_s: float = LEAD_S, width_s: int = 1) -> Deadline:
    """When to act on a ceiling: due = floor((ceiling - lead) / width) * width, so never later than the lead allows.

    With the class's `bucket_width_s` it is the page's deadline; with the default, of one second, that of a row whose
    own deadline is shorter than its page's. Where a ceiling is nearer than the lead, `due` is already past: such a
    thing is refused rather than kept with less time to destroy it than a takeover may need. "Immediately" has no
    lead, because it is a step and not a moment to wait for: the caller acts first and then announces (R7).
    """
    due = of.at if math.isinf(of.at) else float(max(math.floor(of.at - lead_s) // width_s * width_s, 0))
    return Deadline(of.at, due, bucket_of(due), of.clause)


def bucket_of(due: float) -> bytes:
    """The label of the bucket that comes due at `due`, in seconds since the epoch."""
    return NEVER if math.isinf(due) else _BUCKET.pack(max(math.floor(due), 0))


def bucket_width_s(policy: Policy, data_class: str) -> int:
    """How far apart the deadlines of a class's pages are: a 256th of its lifetime, at least a minute."""
    lifetime_s = max_lifetime_s(policy, data_class)
    return MIN_BUCKET_S if lifetime_s is None else max(MIN_BUCKET_S, lifetime_s // BUCKETS_PER_LIFETIME)


def max_lifetime_s(policy: Policy, data_class: str = DataClass.PROCESSING_RECORD) -> int | None:
    """The longest that a thing of this class lives by any numbered row; None where no row has a number."""
    return max(_numbered(policy, data_class), default=None)


def event_lifetime_s(policy: Policy) -> int | None:
    """How long events about jobs may stay readable in a topic: the shortest number promised of a job's record."""
    return min(_numbered(policy, DataClass.PROCESSING_RECORD), default=None)


def _numbered(policy: Policy, data_class: str) -> list[int]:
    return [
        durations.at_most_s(one.at_most) for one in policy.promises_of(data_class) if not isinstance(one.at_most, Bound)
    ]


def _end(one: Promise, clocks: Mapping[Clock, float], returned_within_s: float) -> float:
    starts = [clocks[clock] for clock in one.clocks if clock in clocks]
    if Clock.GENERATION_COMPLETED in one.clocks and Clock.JOB_ENDED in clocks:
        starts.append(clocks[Clock.JOB_ENDED])  # R8: however the job ended
    if one.at_most is Bound.ON_RETURN and Clock.JOB_ENDED in clocks:
        starts.append(clocks[Clock.JOB_ENDED] + returned_within_s)  # R3: the return may never come
    start = min(starts, default=math.inf)
    if isinstance(one.at_most, Bound) or math.isinf(start):
        return start
    return durations.after(start, one.at_most)
