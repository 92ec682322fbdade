"""A task of many items: an attempt at each, one after the other, so that no more than one is in clear at a time."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable

import msgspec

from ray_cluster.engines.interface import Report
from ray_cluster.leases import Task
from stream.events.bus import ItemOutcome, Outcome
from stream.events.lease import SHARED

Attempt = Callable[[Task, Report], Awaitable[Outcome]]
"""One attempt at a task of one item, which is not to raise."""

_SEED_STEP = 0x9E3779B1  # odd, so that no two items have the same seed
_SEEDS = 1 << 32


def parts(task: Task) -> tuple[Task, ...]:
    """The task, item by item: each with its own pieces and those that all share, and a seed of its own."""
    numbers = dict.fromkeys(piece.item for piece in task.outputs)
    if len(numbers) <= 1:
        return (task,)
    return tuple(
        msgspec.structs.replace(
            task,
            inputs=tuple(piece for piece in task.inputs if piece.item in {n, SHARED}),
            outputs=tuple(piece for piece in task.outputs if piece.item == n),
            seed=(task.seed + n * _SEED_STEP) % _SEEDS,
        )
        for n in numbers
    )


async def attempts(task: Task, one: Attempt, report: Report, begun: Callable[[int], None]) -> Outcome:
    """Attempt each item with `one`. An item that fails does not stop the others; a lease taken back does.

    It has succeeded if any item has. An item whose failure may pass leaves it to the owner whether all are tried again.
    `begun` hears of each item of a batch before anything of it is fetched: should this process die, it may be why.
    """
    todo = parts(task)
    if len(todo) == 1:
        return await one(todo[0], report)
    began = time.monotonic()
    told: list[ItemOutcome] = []
    wiped = True
    for at, part in enumerate(todo):
        begun(part.outputs[0].item)
        outcome = await one(part, _share(report, at, len(todo)))
        wiped = wiped and outcome.wiped
        if outcome.status == "cancelled":
            return msgspec.structs.replace(outcome, seconds=time.monotonic() - began, wiped=wiped)
        told.append(_item(part.outputs[0].item, outcome))
    made = [item for item in told if item.output is not None]
    first = next((item for item in told if item.output is None), None)
    return Outcome(
        "succeeded" if made else "failed",
        kind="" if made or first is None else first.kind,
        reason="" if made or first is None else first.reason,
        seconds=time.monotonic() - began,
        wiped=wiped,
        engine_s=sum(item.engine_s for item in told),
        items=tuple(told),
    )


def _item(n: int, outcome: Outcome) -> ItemOutcome:
    if outcome.status != "succeeded":
        return ItemOutcome(n, kind=outcome.kind, reason=outcome.reason)
    (output,) = outcome.outputs
    return ItemOutcome(n, output, facts=outcome.facts, engine_s=outcome.engine_s)


def _share(report: Report, at: int, of: int) -> Report:
    """`report`, for one of so many items: the step says which, the fraction is of all."""
    return lambda step, fraction: report(f"{step} ({at + 1} of {of})", (at + fraction) / of)
