"""The items of a job: what is made one by one, each of an input of its own. Pure.

Of a batch each has its own result, or the kind of its failure. All other jobs have one item, made of all their inputs.
An item bears the number of the input that makes it one, and so do its features and its result.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import msgspec

from stream.events.bus import ItemOutcome, Outcome
from stream.events.rows import JobBody
from stream.policies.model import Operation

UNTOLD = "item-untold"
"""The reason of an item of which an attempt said nothing: an actor of before there were batches."""

LASTING = "permanent"


class Item(msgspec.Struct, frozen=True):
    """`inputs`: numbers of all that it is made of, in the order in which its engine takes them, its own first."""

    n: int
    inputs: tuple[int, ...]


def roles(operation: Operation, body: JobBody) -> tuple[str, ...]:
    """Of the job's inputs, in their order."""
    return body.roles or tuple(one.role for one in operation.inputs[: len(body.inputs)])


def of(operation: Operation, body: JobBody) -> tuple[Item, ...]:
    """All items of a job."""
    places: dict[str, list[int]] = {}
    for n, role in enumerate(roles(operation, body)):
        places.setdefault(role, []).append(n)
    own = places.get(operation.required[0].role, [0])
    if len(operation.required) > 1:
        own = own[:1]
    others = tuple(n for one in operation.inputs[1:] for n in places.get(one.role, ()))
    return tuple(Item(n, (n, *others)) for n in own)


def count(operation: Operation, roles: Sequence[str]) -> int:
    """How many items a job with inputs of these roles has."""
    return list(roles).count(operation.required[0].role) if len(operation.required) == 1 else 1


def open_(operation: Operation, body: JobBody, refused: Mapping[int, str]) -> tuple[Item, ...]:
    """Those that may still give something."""
    return tuple(item for item in of(operation, body) if item.n not in refused)


def told(items: Sequence[Item], outcome: Outcome) -> dict[int, ItemOutcome]:
    """What the outcome says of each item; nothing where it is about the attempt as a whole.

    An item of which it says nothing, or what cannot be, has failed as if a next attempt may tell.
    """
    if outcome.status != "succeeded" and not outcome.items:
        return {}
    said = {one.n: one for one in reversed(outcome.items)}  # of two words the first counts
    if not outcome.items and len(items) == 1 and outcome.outputs:
        (item,) = items
        said = {item.n: ItemOutcome(item.n, outcome.outputs[0], facts=outcome.facts, engine_s=outcome.engine_s)}
    untold = ItemOutcome(-1, kind="transient", reason=UNTOLD)
    found = {item.n: said.get(item.n, untold) for item in items}
    return {n: one if one.output is not None or one.kind else untold for n, one in found.items()}


def passing(told: Mapping[int, ItemOutcome], *, wiped: bool) -> Outcome | None:
    """The failure of an item that a next attempt may not have: of memory first, for that one has a remedy."""
    failures = [one for one in told.values() if one.output is None and one.kind != LASTING]
    failures.sort(key=lambda one: one.kind != "resource")
    return Outcome("failed", kind=failures[0].kind, reason=failures[0].reason, wiped=wiped) if failures else None


def refused(told: Mapping[int, ItemOutcome]) -> dict[int, str]:
    """Item → kind of its failure."""
    return {n: one.reason or one.kind for n, one in told.items() if one.output is None}


def facts(told: Iterable[ItemOutcome]) -> dict[str, float]:
    """Of all items together: numbers add up."""
    total: dict[str, float] = {}
    for one in told:
        for name, value in one.facts.items():
            total[name] = total.get(name, 0.0) + value
    return total
