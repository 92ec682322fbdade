"""Deadlines in buckets: nothing lost, nothing told late, and early only by a little."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from ray_cluster.autoscaler import Demand, needed
from ray_cluster.horizon import AHEAD, EXACT, WIDTHS_S, Horizon

jobs = st.lists(st.tuples(st.floats(0, 1e5), st.floats(0, 100)), max_size=300)


def filled(work: list[tuple[float, float]]) -> Horizon:
    horizon = Horizon()
    for deadline, cost_s in work:
        horizon.add(deadline, cost_s)
    return horizon


@given(jobs, st.floats(0, 1e5))
def test_every_job_is_told_and_none_late(work: list[tuple[float, float]], now: float) -> None:
    due = filled(work).due(now)
    assert sum(count for _, _, count in due) == len(work)
    assert abs(sum(seconds for _, seconds, _ in due) - sum(cost_s for _, cost_s in work)) < 1e-3
    assert list(due) == sorted(due, key=lambda d: d[0])
    told = [left for left, _, count in due for _ in range(count)]
    true = sorted(deadline - now for deadline, _ in work)
    for early, left in zip(told, true, strict=True):
        if left >= 0:
            assert left - max(left / AHEAD, WIDTHS_S[0]) - 1e-6 <= early <= left + 1e-6
        else:
            assert early <= 0


@given(jobs, st.randoms())
def test_what_left_is_not_told(work: list[tuple[float, float]], rng: object) -> None:
    horizon = filled([*work, *work])
    for deadline, cost_s in work:
        horizon.remove(deadline, cost_s)
    assert [(d[0], d[2]) for d in horizon.due(0.0)] == [(d[0], d[2]) for d in filled(work).due(0.0)]
    for deadline, cost_s in work:
        horizon.remove(deadline, cost_s)
    assert horizon.due(0.0) == ()
    assert len(horizon) == 0


def test_deadlines_that_never_come_or_have_long_gone_are_counted() -> None:
    horizon = filled([(float("inf"), 1.0), (float("-inf"), 2.0)])
    (gone, never) = horizon.due(0.0)
    assert (gone[0] < 0, gone[1:], never[1:]) == (True, (2.0, 1), (1.0, 1))


def test_many_deadlines_need_about_as_many_actors_as_they_do_one_by_one() -> None:
    work = [(30.0 + i / 2, 4.0) for i in range(4 * EXACT)]
    exact = needed(Demand("p", 1000, queued=tuple((left_s, cost_s, 1) for left_s, cost_s in work)), 0.8)
    told = needed(Demand("p", 1000, queued=filled(work).due(0.0)), 0.8)
    assert exact <= told <= 1.15 * exact + 1
