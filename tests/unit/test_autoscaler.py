"""How many actors: need from deadlines, bounds that always hold, room shared between pools."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ray_cluster.autoscaler import GIVE_WAY_S, Decision, Demand, decide, needed

jobs = st.lists(st.tuples(st.floats(-100, 1e6), st.floats(0, 1000)), max_size=12).map(tuple)


@st.composite
def demands(draw: st.DrawFn) -> list[Demand]:
    drawn = []
    for pool in draw(st.lists(st.sampled_from(["a", "b", "c"]), unique=True, min_size=1)):
        leased = draw(st.integers(0, 3))
        idle = draw(st.lists(st.floats(0, 100), max_size=3).map(tuple))
        drawn.append(
            Demand(
                pool,
                max_actors=draw(st.integers(1, 6)),
                jobs=draw(jobs),
                actors=leased + len(idle),
                leased=leased,
                idle_s=idle,
                starved_s=draw(st.floats(0, 20)),
                blocked=draw(st.booleans()),
            )
        )
    return drawn


def one(demand: Demand, *, max_actors: int = 100) -> Decision:
    return decide([demand], max_actors=max_actors, idle_s=60)[demand.pool]


@given(demands(), st.integers(1, 8))
def test_bounds_hold_whatever_comes(given_demands: list[Demand], limit: int) -> None:
    decisions = decide(given_demands, max_actors=limit, idle_s=60)
    leased = sum(d.leased for d in given_demands)
    assert sum(decision.desired for decision in decisions.values()) <= max(limit, leased)
    for d in given_demands:
        decision = decisions[d.pool]
        assert decision.desired >= d.leased
        assert decision.desired <= max(d.max_actors, d.leased)
        assert decision.desired - 1 <= decision.feed <= decision.desired
        assert decision.reason


@given(demands())
def test_same_context_same_decision(given_demands: list[Demand]) -> None:
    first = decide(given_demands, max_actors=4, idle_s=60)
    assert decide(given_demands, max_actors=4, idle_s=60) == first


@given(jobs, st.tuples(st.floats(1, 1e6), st.floats(0, 1000)))
def test_more_work_never_needs_fewer(some: tuple[tuple[float, float], ...], more: tuple[float, float]) -> None:
    assert needed(Demand("a", 1000, jobs=(*some, more)), 0.8) >= needed(Demand("a", 1000, jobs=some), 0.8)


@pytest.mark.parametrize(
    ("work", "actors"),
    [
        ((), 0),
        (((3600.0, 1.0),), 1),  # from zero: any work brings one
        (((10.0, 8.0),), 1),  # 8 s in 10 s at 0.8 is exactly one
        (((10.0, 8.1),), 2),
        (((10.0, 4.0), (10.0, 4.0), (10.0, 4.0)), 2),
        (((1000.0, 8.0), (1.0, 0.4)), 1),  # the near deadline alone decides nothing that one cannot do
        (((1000.0, 8.0), (2.0, 4.0)), 3),
        (((-50.0, 1.6),), 2),  # overdue counts as due within a second
    ],
)
def test_need_is_seconds_due_by_each_deadline(work: tuple[tuple[float, float], ...], actors: int) -> None:
    assert needed(Demand("a", 100, jobs=work), 0.8) == actors


def test_a_pool_keeps_its_maximum() -> None:
    assert one(Demand("a", 3, jobs=((1.0, 1000.0),))).desired == 3


def test_up_at_once_down_after_idleness() -> None:
    assert one(Demand("a", 4, jobs=((1.0, 2.0),) * 2)).desired == 4
    assert one(Demand("a", 4, actors=3, idle_s=(1.0, 59.0, 61.0))).desired == 2
    assert one(Demand("a", 4, actors=3, idle_s=(61.0, 90.0, 99.0))).desired == 0


def test_a_warm_actor_gives_way_to_another_pools_work() -> None:
    warm = Demand("a", 2, actors=2, idle_s=(1.0, 1.0))
    wants = Demand("b", 2, jobs=((60.0, 1.0),))
    decisions = decide([warm, wants], max_actors=2, idle_s=60)
    assert (decisions["a"].desired, decisions["b"].desired) == (1, 1)


def test_busy_pools_let_one_go_when_another_starves() -> None:
    busy = Demand("a", 2, jobs=((5.0, 100.0),) * 2, actors=2, leased=2)
    patient = decide([busy, Demand("b", 2, jobs=((60.0, 1.0),), starved_s=1.0)], max_actors=2, idle_s=60)
    assert (patient["a"].desired, patient["a"].feed, patient["b"].desired) == (2, 2, 0)
    starving = decide([busy, Demand("b", 2, jobs=((60.0, 1.0),), starved_s=GIVE_WAY_S)], max_actors=2, idle_s=60)
    assert (starving["a"].desired, starving["a"].feed, starving["b"].desired) == (2, 1, 0)
    # and when a lease has ended, the room is the starving pool's, however urgent the other is
    freed = Demand("a", 2, jobs=((5.0, 100.0),) * 2, actors=2, leased=1, idle_s=(0.0,))
    after = decide([freed, Demand("b", 2, jobs=((60.0, 1.0),), starved_s=GIVE_WAY_S)], max_actors=2, idle_s=60)
    assert (after["a"].desired, after["b"].desired) == (1, 1)


def test_a_pool_that_cannot_start_wants_nothing_meanwhile() -> None:
    decision = one(Demand("a", 2, jobs=((5.0, 1.0),), blocked=True))
    assert decision == Decision(0, 0, "waits after a failed start")
