"""What a policy must also be, besides well spelt: without gaps, without contradictions, every row with its clause.

Each check yields what is wrong and where: (table, index, key, sentence).
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import product
from typing import Any

from stream.policies import deadlines, durations
from stream.policies.model import Operation, Policy, Promise
from stream.policies.vocabulary import (
    MAY_HAVE_FLOOR,
    MEDIA,
    NEVER_STORED,
    OPEN_ENDED,
    RESULTS,
    TEST_ONLY_OPERATIONS,
    WITHOUT_CLOCK,
    Bound,
    Choice,
    DataClass,
    Features,
    MediaKind,
    Place,
    birth,
)

Finding = tuple[str, int, str, str]

_RULES = frozenset(f"R{n}" for n in range(1, 17))
_READING = re.compile(r"[A-Z]\d{1,2}(, [A-Z]\d{1,2})*")


def clauses(policy: Policy) -> Iterator[Finding]:
    """Every row cites the text it keeps; readings are rules of the rule book, or contradictions that are stated."""
    if not policy.clause.startswith(policy.source + " "):
        yield "", 0, "clause", f"expected a clause that begins with {policy.source!r}, got {policy.clause!r}"
    known = _RULES | {one.id for one in policy.contradictions}
    for table, rows in _tables(policy):
        for index, row in enumerate(rows):
            if not row.clause.startswith(policy.source + " "):
                said = f"expected a clause that begins with {policy.source!r}, got {row.clause!r}"
                yield table, index, "clause", f"{said}: cite the passage, or say '{policy.source} silent'"
            if row.reading and not _READING.fullmatch(row.reading):
                yield table, index, "reading", f"expected readings such as 'G1, R11', got {row.reading!r}"
            elif strange := sorted(set(row.reading.split(", ")) - known - {""}):
                hint = "add a [[contradiction]] with this id, both clauses and the reading taken"
                yield (
                    table,
                    index,
                    "reading",
                    f"nothing here is called {strange[0]!r}{suggest(strange[0], known)}: {hint}",
                )


def contradictions(policy: Policy) -> Iterator[Finding]:
    """Both sides of each are cited, and no two rows differ of which nothing says how they are read."""
    ids = [one.id for one in policy.contradictions]
    for index, one in enumerate(policy.contradictions):
        if not re.fullmatch(r"[A-Z]\d{1,2}", one.id) or one.id in _RULES:
            yield "contradiction", index, "id", f"expected a letter and a number, other than R1 to R16, got {one.id!r}"
        if one.id in ids[:index]:
            yield "contradiction", index, "id", f"{one.id} is stated twice: keep one"
        for side in (one.a, one.b):
            if not side.clause.startswith(policy.source + " "):
                said = f"expected both clauses to begin with {policy.source!r}, got {side.clause!r}"
                yield "contradiction", index, "a", said
    for index, row in enumerate(policy.promises):
        for other in policy.promises[:index]:
            if _disagree(row, other) and not (row.reading or other.reading):
                said = f"{row.data_class} has two ceilings from one clock (clauses {other.clause} and {row.clause})"
                yield "promise", index, "at_most", f"{said}: say in `reading` which rule or contradiction decides"


def _disagree(one: Promise, other: Promise) -> bool:
    same = one.data_class == other.data_class and set(one.clocks) == set(other.clocks)
    return same and one.at_most != other.at_most and _meet(one, other)


def _meet(one: Promise, other: Promise) -> bool:
    """Whether both may apply to the same thing."""
    return any(
        one.when.holds(choice, face=face) and other.when.holds(choice, face=face)
        for choice, face in product(Choice, (True, False))
    )


def decisions(policy: Policy) -> Iterator[Finding]:
    """What is left to a person has a name of its own, and a rule that follows it."""
    names = [one.name for one in policy.decisions]
    for index, one in enumerate(policy.decisions):
        if one.name in names[:index]:
            yield "decision", index, "name", f"{one.name!r} is asked twice: keep one"
        if one.name not in policy.used:
            yield "decision", index, "name", f'no rule follows {one.name!r}: use it as "@{one.name}", or delete it'


def _tables(policy: Policy) -> Iterator[tuple[str, Sequence[Any]]]:
    yield "operation", policy.operations
    yield "promise", policy.promises
    yield "consent", policy.consents
    yield "right", policy.rights
    yield "notice", policy.notices
    yield "purpose", policy.purposes
    yield "duty", policy.duties
    yield "decision", policy.decisions
    yield "hold", [policy.hold] if policy.hold else []
    yield "age", [policy.age] if policy.age else []
    yield "account", [policy.account] if policy.account else []
    yield "residency", [policy.residency] if policy.residency else []
    yield "sharing", [policy.sharing] if policy.sharing else []
    yield "disclosure", [policy.disclosure] if policy.disclosure else []


def operations(policy: Policy) -> Iterator[Finding]:
    """Operations are told apart, and name consents that exist."""
    names = [one.name for one in policy.operations]
    purposes = [one.purpose for one in policy.consents]
    for index, one in enumerate(policy.operations):
        if one.name in names[:index]:
            yield "operation", index, "name", f"{one.name} is offered twice: keep one (clause {one.clause})"
        for purpose in one.consents:
            if purpose not in purposes:
                yield (
                    "operation",
                    index,
                    "consents",
                    f"no consent has the purpose {purpose!r}{suggest(purpose, purposes)}",
                )
        if not one.inputs or len({slot.role for slot in one.inputs}) < len(one.inputs):
            yield "operation", index, "inputs", "expected one input or more, each with a role of its own"
        elif not one.required or one.inputs[: len(one.required)] != one.required:
            yield "operation", index, "inputs", "expected what it needs first, and then what is optional"
        if any(slot.video_class is not None and MediaKind.VIDEO not in slot.accepts for slot in one.inputs):
            yield "operation", index, "inputs", 'a video_class is of videos: say accepts = ["image", "video"]'
        for data_class in one.outputs:
            if data_class not in RESULTS:
                yield "operation", index, "outputs", f"{data_class} is no result: expected one of {_list(RESULTS)}"
        yield from _place(policy, index, one)


def _place(policy: Policy, index: int, one: Operation) -> Iterator[Finding]:
    """What may not be stored runs where nothing is."""
    if one.features is Features.STEP and policy.never_stored(DataClass.FACE_FEATURE):
        said = 'face_feature is promised never to be stored: say features = "heap", so that no step stores any'
        yield "operation", index, "features", said
    never = [data_class for data_class in (*_put_in(one), *one.outputs) if policy.never_stored(data_class)]
    if never and one.runs is Place.SERVER:
        yield "operation", index, "runs", f'{never[0]} is never to be stored: say runs = "memory" or "device"'
    if not never and one.runs is Place.MEMORY:
        yield "operation", index, "runs", 'nothing of it is promised to be in memory only: say runs = "server"'


def _put_in(one: Operation) -> Iterator[DataClass]:
    return (found for slot in one.inputs for found in (slot.data_class, slot.video_class) if found is not None)


def bounds(policy: Policy) -> Iterator[Finding]:
    """A promise's parts agree with one another."""
    for index, one in enumerate(policy.promises):
        for key, wrong in _bound(one):
            yield "promise", index, key, f"{one.data_class}: {wrong} (clause {one.clause})"


def cases(policy: Policy) -> Iterator[Finding]:
    """A case is one that a user can choose."""
    for index, one in enumerate(policy.promises):
        for choice in one.when.choice:
            if choice not in (*policy.choices, Choice.NONE):
                yield "promise", index, "when", f"nobody can choose {choice!s} here: add it to `choices`, or delete it"


def _bound(one: Promise) -> Iterator[tuple[str, str]]:
    if not one.clocks and one.at_most not in WITHOUT_CLOCK:
        yield "clock", "expected a clock for this to count from, got none"
    if one.at_most is Bound.NO_LIMIT and one.data_class in MEDIA:
        yield "at_most", f"media never lives without limit, got {one.at_most!s}"
    if one.at_most is Bound.ON_RETURN and one.data_class not in RESULTS:
        yield "at_most", "only results are returned; did you mean 'immediately'?"
    if one.at_least is not None and one.data_class not in MAY_HAVE_FLOOR:
        yield "at_least", f"R2 knows floors only of {_list(MAY_HAVE_FLOOR)}: delete at_least"
    if one.at_least is not None and one.at_most in NEVER_STORED:
        yield "at_least", f"floor above ceiling: at least {durations.words(one.at_least)}, but {one.at_most!s}"


def floors(policy: Policy) -> Iterator[Finding]:
    """No ceiling of a class is below its floor, and there is room between them for a bucket of deadlines and a lead."""
    for index, low in enumerate(policy.promises):
        if low.at_least is None or low.data_class not in MAY_HAVE_FLOOR:
            continue
        room_s = deadlines.LEAD_S + deadlines.bucket_width_s(policy, low.data_class)
        for high in policy.promises_of(low.data_class):
            if high.at_most in OPEN_ENDED or high.at_most in NEVER_STORED or not _meet(low, high):
                continue
            ceiling = 0 if isinstance(high.at_most, Bound) else high.at_most
            slack_s = durations.slack_s(low.at_least, ceiling)
            floor = durations.words(low.at_least)
            if slack_s < 0:
                most = high.at_most if isinstance(high.at_most, Bound) else durations.words(high.at_most)
                said = f"floor above ceiling: at least {floor} (clause {low.clause}), but {most} (clause {high.clause})"
                yield "promise", index, "at_least", f"{low.data_class}: {said}: see R2"
            elif slack_s < room_s:
                said = f"expected {room_s} s between floor and ceiling, to act in, got {slack_s} s"
                yield "promise", index, "at_least", f'{low.data_class}: {said}: say at_most = "{floor} + 1 d"'


def gaps(policy: Policy) -> Iterator[Finding]:
    """Whatever a job may bring into being has a promise, whatever the user chose and the picture shows, that must end.

    R3: at least one of its clocks must start; "until the user's choice" and "with the account" are ends too.
    """
    seen: set[DataClass] = set()
    for index, operation in enumerate(policy.operations):
        if operation.runs is Place.DEVICE:  # nothing of it reaches us
            continue
        for data_class in (*operation.classes, DataClass.PROCESSING_RECORD):
            if data_class in seen:
                continue
            seen.add(data_class)
            cases = list(_uncovered(policy, data_class))
            if cases:
                said = f"{operation.name} makes {data_class}, which nothing must end when {'; '.join(cases)}"
                hint = (
                    f"a [[promise]] of {data_class} needs {birth(data_class)} among its clocks, the one that must start"
                )
                yield "operation", index, "", f"{said} (clause {operation.clause}): {hint}"


def _uncovered(policy: Policy, data_class: DataClass) -> Iterator[str]:
    rows = policy.promises_of(data_class)
    for choice, face in product((*policy.choices, Choice.NONE), (True, False)):
        if not any(must_end(one) for one in rows if one.when.holds(choice, face=face)):
            yield f"choice = {choice}, face = {str(face).lower()}"


def must_end(one: Promise) -> bool:
    """Whether this row ends the thing for certain: by its own clock, or by whoever it is for."""
    return one.at_most in OPEN_ENDED or one.at_most in NEVER_STORED or birth(one.data_class) in one.clocks


def holds(policy: Policy) -> Iterator[Finding]:
    """A hold cites what allows it, and never covers what is not stored (R15)."""
    hold = policy.hold
    if hold is None:
        return
    if not hold.basis or not hold.of:
        yield "hold", 0, "", "a hold without a basis or without classes holds nothing: delete the table"
    for data_class in hold.of:
        if policy.never_stored(data_class):
            yield "hold", 0, "of", f"{data_class} is promised never to be stored: no hold may have it stored"
        elif not policy.promises_of(data_class):
            yield "hold", 0, "of", f"{data_class} has no promise here, so there is none to hold"


def published(policy: Policy) -> Iterator[Finding]:
    """A published policy offers nothing that exists only for tests, and follows every reading that it states."""
    for index, one in enumerate(policy.operations):
        if one.name in TEST_ONLY_OPERATIONS:
            yield "operation", index, "name", f"{one.name} is for tests only: no published policy offers it"
    for index, stated in enumerate(policy.contradictions):
        if not any(stated.id in row.reading.split(", ") for _, rows in _tables(policy) for row in rows):
            yield "contradiction", index, "id", f"no row's reading names {stated.id}: name it where it was decided"


def suggest(word: str, known: Iterable[str]) -> str:
    """`; did you mean 'x'?`, or nothing where no known word is close."""
    close = difflib.get_close_matches(word, list(known), n=1)
    return f"; did you mean '{close[0]}'?" if close else ""


def _list(words: Iterable[str]) -> str:
    return ", ".join(sorted(words))
