"""What a policy must also be, besides well spelt: without gaps, without contradictions, every row with its clause.

Each check yields what is wrong and where: (table, index, key, sentence).
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import product

from stream.policies.model import Consent, Operation, Policy, Promise
from stream.policies.vocabulary import (
    CERTAIN_CLOCKS,
    MAY_HAVE_FLOOR,
    MEDIA,
    OPEN_ENDED,
    RESULTS,
    TEST_ONLY_OPERATIONS,
    WITHOUT_CLOCK,
    Bound,
    Choice,
    DataClass,
    Features,
)

Finding = tuple[str, int, str, str]

_READING = re.compile(r"(R([1-9]|1[0-6])|[GTBXP][1-9]\d?)(, (R([1-9]|1[0-6])|[GTBXP][1-9]\d?))*")


def clauses(policy: Policy) -> Iterator[Finding]:
    """Every row cites the text it keeps, and readings are those of the rule book."""
    if not policy.clause.startswith(policy.source + " "):
        yield "", 0, "clause", f"expected a clause that begins with {policy.source!r}, got {policy.clause!r}"
    tables: tuple[tuple[str, Sequence[Operation | Promise | Consent]], ...] = (
        ("operation", policy.operations),
        ("promise", policy.promises),
        ("consent", policy.consents),
    )
    for table, rows in tables:
        for index, row in enumerate(rows):
            if not row.clause.startswith(policy.source + " "):
                said = f"expected a clause that begins with {policy.source!r}, got {row.clause!r}"
                yield table, index, "clause", f"{said}: cite the passage, or say '{policy.source} silent'"
            if row.reading and not _READING.fullmatch(row.reading):
                yield table, index, "reading", f"expected readings such as 'G1, R11', got {row.reading!r}"


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
        for data_class in one.outputs:
            if data_class not in RESULTS:
                yield "operation", index, "outputs", f"{data_class} is no result: expected one of {_list(RESULTS)}"
        if one.features is Features.STEP and policy.ram_only(DataClass.FACE_FEATURE):
            yield (
                "operation",
                index,
                "features",
                'face_feature is promised to be RAM only: say features = "heap", so that no step stores any',
            )


def bounds(policy: Policy) -> Iterator[Finding]:
    """A promise's parts agree with one another."""
    for index, one in enumerate(policy.promises):
        for key, wrong in _bound(one):
            yield "promise", index, key, f"{one.data_class}: {wrong} (clause {one.clause})"


def _bound(one: Promise) -> Iterator[tuple[str, str]]:
    if not one.clocks and one.at_most not in WITHOUT_CLOCK:
        yield "clock", "expected a clock for this to count from, got none"
    if one.at_most in (Bound.UNDECIDED, Bound.NO_LIMIT) and one.data_class in MEDIA:
        yield "at_most", f"media never waits for a decision or lives without limit, got {one.at_most!s}"
    if one.at_most is Bound.ON_RETURN and one.data_class not in RESULTS:
        yield "at_most", "only results are returned; did you mean 'immediately'?"
    if one.at_least_s and one.data_class not in MAY_HAVE_FLOOR:
        yield "at_least", f"R2 knows floors only of {_list(MAY_HAVE_FLOOR)}: delete at_least"
    ceiling_s = one.at_most if isinstance(one.at_most, int) else 0
    if one.at_least_s > ceiling_s and one.at_most not in OPEN_ENDED:
        yield "at_least", f"floor above ceiling: at least {one.at_least_s} s, but at most {ceiling_s} s"


def gaps(policy: Policy) -> Iterator[Finding]:
    """Whatever a job may bring into being has a promise, whatever the user chose and the picture shows, that must end.

    R3: at least one of its clocks must start; "until the user's choice" and "with the account" are ends too.
    """
    seen: set[DataClass] = set()
    for index, operation in enumerate(policy.operations):
        for data_class in (*operation.classes, DataClass.PROCESSING_RECORD):
            if data_class in seen:
                continue
            seen.add(data_class)
            cases = list(_uncovered(policy, data_class))
            if cases:
                said = f"{operation.name} makes {data_class}, which nothing bounds when {'; '.join(cases)}"
                hint = f"add a [[promise]] of {data_class} with a clock that must start, such as upload_received"
                yield "operation", index, "", f"{said} (clause {operation.clause}): {hint}"


def _uncovered(policy: Policy, data_class: DataClass) -> Iterator[str]:
    rows = policy.promises_of(data_class)
    for choice, face in product((*policy.choices, Choice.NONE), (True, False)):
        if not any(_must_end(one) for one in rows if one.when.holds(choice, face=face)):
            yield f"choice = {choice}, face = {str(face).lower()}"


def _must_end(one: Promise) -> bool:
    return one.at_most in OPEN_ENDED or one.at_most is Bound.RAM_ONLY or not CERTAIN_CLOCKS.isdisjoint(one.clocks)


def holds(policy: Policy) -> Iterator[Finding]:
    """A hold cites what allows it, and never covers what is not stored (R15)."""
    hold = policy.hold
    if hold is None:
        return
    if not hold.clause.startswith(policy.source + " "):
        yield "hold", 0, "clause", f"expected a clause that begins with {policy.source!r}, got {hold.clause!r}"
    if hold.reading and not _READING.fullmatch(hold.reading):
        yield "hold", 0, "reading", f"expected readings such as 'G1, R11', got {hold.reading!r}"
    if not hold.basis or not hold.of:
        yield "hold", 0, "", "a hold without a basis or without classes holds nothing: delete the table"
    for data_class in hold.of:
        if policy.ram_only(data_class):
            yield "hold", 0, "of", f"{data_class} is promised to be RAM only: no hold may have it stored"
        elif not policy.promises_of(data_class):
            yield "hold", 0, "of", f"{data_class} has no promise here, so there is none to hold"


def published(policy: Policy) -> Iterator[Finding]:
    """A published policy offers nothing that exists only for tests."""
    for index, one in enumerate(policy.operations):
        if one.name in TEST_ONLY_OPERATIONS:
            yield "operation", index, "name", f"{one.name} is for tests only: no published policy offers it"


CHECKS: tuple[Callable[[Policy], Iterable[Finding]], ...] = (clauses, operations, bounds, gaps, holds)


def suggest(word: str, known: Iterable[str]) -> str:
    """`; did you mean 'x'?`, or nothing where no known word is close."""
    close = difflib.get_close_matches(word, list(known), n=1)
    return f"; did you mean '{close[0]}'?" if close else ""


def _list(words: Iterable[str]) -> str:
    return ", ".join(sorted(words))
