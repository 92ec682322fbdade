"""A task of many items in an actor: item by item, each with its own seed, and no failure stops the others."""

from __future__ import annotations

import asyncio

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ray_cluster import batch
from ray_cluster.engines.interface import Report
from ray_cluster.leases import Piece, Task
from stream.events.bus import ItemOutcome, Outcome, OutputFacts
from stream.events.lease import SHARED

FACTS = OutputFacts("result", 3, "image/png", 1, 1)
GOOD = Outcome("succeeded", outputs=(FACTS,), facts={"faces": 1.0}, engine_s=2.0, wiped=True)
REFUSED = Outcome("failed", kind="permanent", reason="no-face", wiped=True)
PASSING = Outcome("failed", kind="transient", reason="engine-fault", wiped=True)
CANCELLED = Outcome("cancelled", reason="cancelled", wiped=True)


def piece(item: int, role: str = "input") -> Piece:
    return Piece(role, f"{role}-{item}", "", b"", item=item)


def a_task(*items: int, shared: bool = False) -> Task:
    inputs = [piece(n) for n in items] + ([piece(SHARED)] if shared else []) + [piece(n, "feature") for n in items]
    return Task("job", 1, "app", "noop", 1, tuple(inputs), tuple(piece(n, "result") for n in items), b"", seed=7)


def attempted(task: Task, *outcomes: Outcome) -> tuple[Outcome, list[Task], list[tuple[str, float]]]:
    """What becomes of it when its items end so; what was attempted, and reported."""
    left, tried, reported = list(outcomes), list[Task](), list[tuple[str, float]]()

    async def one(part: Task, report: Report) -> Outcome:
        tried.append(part)
        report("run", 0.5)
        return left.pop(0)

    begun: list[int] = []
    ended = asyncio.run(
        batch.attempts(task, one, lambda step, fraction: reported.append((step, fraction)), begun.append)
    )
    assert begun == ([part.outputs[0].item for part in tried] if len(task.outputs) > 1 else [])
    return ended, tried, reported


class TestParts:
    def test_one_item_is_the_task_as_it_is(self) -> None:
        task = a_task(0)
        assert batch.parts(task) == (task,)
        left_over = a_task(3)  # of a batch whose other items were refused
        assert batch.parts(left_over) == (left_over,)

    def test_each_has_its_own_pieces_and_what_all_share_in_the_order_of_the_task(self) -> None:
        parts = batch.parts(a_task(0, 2, shared=True))
        assert [[p.asset for p in part.inputs] for part in parts] == [
            ["input-0", "input--1", "feature-0"],
            ["input-2", "input--1", "feature-2"],
        ]
        assert [[p.asset for p in part.outputs] for part in parts] == [["result-0"], ["result-2"]]

    @given(st.sets(st.integers(0, 10_000), min_size=2, max_size=40), st.integers(0, 2**32 - 1))
    def test_no_two_have_the_same_seed(self, items: set[int], seed: int) -> None:
        parts = batch.parts(msgspec.structs.replace(a_task(*sorted(items)), seed=seed))
        assert len({part.seed for part in parts}) == len(items)
        assert all(0 <= part.seed < 2**32 for part in parts)
        assert 0 not in items or parts[0].seed == seed


class TestAttempts:
    def test_one_item_ends_as_it_does(self) -> None:
        assert attempted(a_task(0), REFUSED)[0] == REFUSED

    def test_what_fails_does_not_stop_the_others(self) -> None:
        ended, tried, reported = attempted(a_task(0, 1, 2), GOOD, REFUSED, GOOD)
        assert len(tried) == 3
        assert (ended.status, ended.kind, ended.reason, ended.outputs, ended.engine_s) == ("succeeded", "", "", (), 4.0)
        assert ended.items == (
            ItemOutcome(0, FACTS, facts={"faces": 1.0}, engine_s=2.0),
            ItemOutcome(1, kind="permanent", reason="no-face"),
            ItemOutcome(2, FACTS, facts={"faces": 1.0}, engine_s=2.0),
        )
        assert [step for step, _ in reported] == ["run (1 of 3)", "run (2 of 3)", "run (3 of 3)"]
        assert [fraction for _, fraction in reported] == pytest.approx([1 / 6, 3 / 6, 5 / 6])

    def test_where_none_succeeds_the_first_failure_is_named(self) -> None:
        ended, _, _ = attempted(a_task(0, 1), PASSING, REFUSED)
        assert (ended.status, ended.kind, ended.reason) == ("failed", "transient", "engine-fault")
        assert [item.n for item in ended.items] == [0, 1]

    def test_a_lease_taken_back_stops_all(self) -> None:
        ended, tried, _ = attempted(a_task(0, 1, 2), GOOD, CANCELLED)
        assert (len(tried), ended.status, ended.items) == (2, "cancelled", ())

    def test_one_that_was_not_wiped_is_told_of_all(self) -> None:
        assert attempted(a_task(0, 1), GOOD, msgspec.structs.replace(REFUSED, wiped=False))[0].wiped is False

    @given(st.lists(st.sampled_from([GOOD, REFUSED, PASSING]), min_size=2, max_size=12))
    def test_every_item_is_told_once(self, outcomes: list[Outcome]) -> None:
        ended, _, reported = attempted(a_task(*range(len(outcomes))), *outcomes)
        assert [item.n for item in ended.items] == list(range(len(outcomes)))
        assert [item.output is not None for item in ended.items] == [one.status == "succeeded" for one in outcomes]
        assert all(item.output is not None or item.kind for item in ended.items)
        fractions = [fraction for _, fraction in reported]
        assert fractions == sorted(fractions)
        assert all(0 <= fraction <= 1 for fraction in fractions)
