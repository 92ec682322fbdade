"""Which input of a request is what: a role for each, and how many items the request has. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import repeat

from stream.policies.checks import suggest
from stream.policies.model import Operation
from stream.policies.refusals import TooManyItems, WrongInputs


def assigned(operation: Operation, asked: Sequence[str], *, max_items: int) -> tuple[str, ...]:
    """The role of each input, in the order of the request. `asked`: the roles that it names, '' where it names none.

    Where an operation needs one thing, inputs without a role are that thing, as often as there are: a batch of up to
    `max_items`. Where it needs several, they are those that nobody named, in order. Raises WrongInputs, TooManyItems.
    """
    known = [one.role for one in operation.inputs]
    strange = [role for role in asked if role not in known and role]
    if strange:
        raise WrongInputs(
            f"expected roles among {', '.join(known)} for {operation.name}{suggest(strange[0], known)}",
            operation.clause,
        )
    needed = [one.role for one in operation.required]
    unnamed: Iterator[str] = (
        repeat(needed[0]) if len(needed) == 1 else iter([role for role in needed if role not in asked])
    )
    roles = tuple(role or next(unnamed, "") for role in asked)
    count = Counter(roles)
    items = count[needed[0]] if len(needed) == 1 else 1
    if 1 < max_items < items:
        raise TooManyItems(f"expected at most {max_items} items in one job, got {items}: send several jobs")
    once = [role for role in known if role not in needed] + (needed if len(needed) > 1 or max_items == 1 else [])
    if not all(count[role] for role in needed) or any(count[role] > 1 for role in once) or count[""]:
        raise WrongInputs(f"expected {_wanted(operation, max_items)}; got {len(asked)}", operation.clause)
    return roles


def _wanted(operation: Operation, max_items: int) -> str:
    count = f"{len(operation.required)}"
    if len(operation.required) == 1 and max_items > 1:
        count = f"1 to {max_items}"
    listed = ", ".join(f"{one.role} ({' or '.join(one.accepts)})" for one in operation.required)
    more = ", ".join(f"{one.role} ({' or '.join(one.accepts)})" for one in operation.inputs if one.optional)
    return f"{count} inputs for {operation.name}: {listed}{f'; and, if wanted, one each of {more}' if more else ''}"
