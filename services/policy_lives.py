"""How long each class of data lives, case by case: what a timeline draws."""

from __future__ import annotations

import math
from itertools import product

from services.policy_tables import cited, length
from stream.policies import deadlines, durations
from stream.policies.deadlines import NoPromise
from stream.policies.model import Policy
from stream.policies.vocabulary import Bound, Choice, Clock, DataClass, birth

JOB_S = 60.0
"""How long the job of a timeline takes: long enough to be told apart from its upload."""

_FACES = ((True, ", face"), (False, ", no face"))
_ENDS = frozenset({Clock.GENERATION_COMPLETED, Clock.JOB_ENDED, Clock.PROCESSING_FAILED})
_WAYS: tuple[tuple[str, dict[Clock, float]], ...] = (
    ("", {Clock.GENERATION_COMPLETED: JOB_S, Clock.JOB_ENDED: JOB_S}),
    ("job failed", {Clock.PROCESSING_FAILED: JOB_S, Clock.JOB_ENDED: JOB_S}),
    ("unused", {}),
)
Case = tuple[Choice, bool]
End = tuple[float, str, str]
"""When, in words, and the clause."""


def lives(policy: Policy, data_class: DataClass) -> list[dict[str, object]]:
    """One life for each case that differs from others; of what is uploaded also where no job succeeds with it."""
    if (never := policy.never_stored(data_class)) is not None:
        return [_life(data_class, "", (0.0, length(never), cited(never)))]
    choices = (*policy.choices, Choice.NONE)
    usual = _ends(policy, data_class, _WAYS[0][1])
    found = [_life(data_class, case, end) for case, end in _grouped(usual, len(choices))]
    for way, clocks in _WAYS[1:] if _taken_in(policy, data_class) else ():
        ends = _ends(policy, data_class, clocks)
        if not clocks:  # no job, so nobody has looked: a face is presumed (R11)
            ends = {(choice, face): ends[choice, True] for choice, face in ends}
        differ = {case: end for case, end in ends.items() if end != usual[case]}
        for case, end in _grouped(ends if len(set(ends.values())) == 1 and differ else differ, len(choices)):
            found.append(_life(data_class, "; ".join(filter(None, (way, case))), end))
    return found


def span(seconds: float) -> str:
    """`3 d`, `11 min`: in the largest unit that says it well."""
    for unit_s, unit in ((86_400.0, "d"), (3600.0, "h"), (60.0, "min")):
        if seconds >= unit_s and (seconds % unit_s == 0 or unit == "min" or seconds > 10 * unit_s):
            return f"{seconds / unit_s:.4g} {unit}"
    return f"{seconds:.0f} s"


def _taken_in(policy: Policy, data_class: DataClass) -> bool:
    """Whether users upload it and what becomes of it hangs on a job."""
    slots = [slot for operation in policy.operations for slot in operation.inputs]
    classes = {DataClass.FACE_IMAGE, *(one.data_class for one in slots), *(one.video_class for one in slots)}
    return data_class in classes and any(_ENDS.intersection(row.clocks) for row in policy.promises_of(data_class))


def _ends(policy: Policy, data_class: DataClass, job: dict[Clock, float]) -> dict[Case, End]:
    rows = policy.promises_of(data_class)
    clocks = {birth(data_class): 0.0} | job
    if not any(birth(data_class) in row.clocks for row in rows):
        clocks |= {clock: 0.0 for row in rows for clock in row.clocks if clock is Clock.ACCOUNT_CANCELLED}
    ends: dict[Case, End] = {}
    for choice, face in product((*policy.choices, Choice.NONE), (True, False)):
        try:
            found = deadlines.ceiling(policy, data_class, choice=choice, has_face=face, clocks=clocks)
        except NoPromise:
            continue
        limitless = found.promise.at_most is Bound.NO_LIMIT
        least = f", not before {durations.words(found.promise.at_least)}" if found.promise.at_least else ""
        ends[choice, face] = (found.at, ("no limit" if limitless else _gone(found.at)) + least, found.clause)
    return ends


def _grouped(ends: dict[Case, End], choices: int) -> list[tuple[str, End]]:
    """Cases that end alike, together."""
    by_end: dict[End, list[Case]] = {}
    for case, end in ends.items():
        by_end.setdefault(end, []).append(case)
    return [(_cases(cases, choices), end) for end, cases in by_end.items()]


def _cases(cases: list[Case], choices: int) -> str:
    """`discard or none`; `save, face`; empty where it is all of them."""
    both = [choice for choice, face in cases if face and (choice, False) in cases]
    one = [(choice, face) for choice, face in cases if choice not in both]
    if len(both) == choices:
        return ""
    parts = [(both, "")]
    parts += [([choice for choice, shown in one if shown is face], words) for face, words in _FACES]
    return "; ".join(" or ".join(some) + words for some, words in parts if some)


def _life(data_class: str, case: str, end: End) -> dict[str, object]:
    at, gone, clause = end
    return {"data_class": data_class, "case": case, "seconds": at, "gone": gone, "clause": clause}


def _gone(at: float) -> str:
    if math.isinf(at):
        return "when ended"
    if not at:
        return "with the account"
    return "with its job" if at == JOB_S else f"after {span(at)}"
