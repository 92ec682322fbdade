"""How many actors: need from deadlines, bounds that always hold, room shared between pools."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ray_cluster.autoscaler import GIVE_WAY_S, Decision, Demand, decide, needed
from ray_cluster.horizon import Due

jobs = st.lists(st.tuples(st.floats(-100, 1e6), st.floats(0, 1000)), max_size=12).map(tuple)

groups = st.lists(st.tuples(st.floats(-1, 1e6), st.floats(0, 1000), st.integers(1, 20)), max_size=4).map(tuple)


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
                queued=draw(groups),
                floor=draw(st.integers(0, 7)),
                price_per_hour=draw(st.sampled_from([0.0, 1.5, 4.0])),
                grown_s=draw(st.floats(0, 100)),
            )
        )
    return drawn


def waiting(*work: tuple[float, float]) -> tuple[Due, ...]:
    """Jobs one by one: (seconds left, predicted seconds)."""
    return tuple((left_s, cost_s, 1) for left_s, cost_s in work)


def one(demand: Demand, *, max_actors: int = 100, **limits: float) -> Decision:
    return decide([demand], max_actors=max_actors, idle_s=60, **limits)[demand.pool]


@given(demands(), st.integers(1, 8), st.sampled_from([0.0, 30.0]), st.sampled_from([6.0, float("inf")]))
def test_bounds_hold_whatever_comes(given_demands: list[Demand], limit: int, cooldown: float, ceiling: float) -> None:
    decisions = decide(given_demands, max_actors=limit, idle_s=60, cooldown_s=cooldown, ceiling_per_hour=ceiling)
    leased = sum(d.leased for d in given_demands)
    assert sum(decision.desired for decision in decisions.values()) <= max(limit, leased)
    paid = sum(decisions[d.pool].desired * d.price_per_hour for d in given_demands)
    assert paid <= max(ceiling, sum(d.leased * d.price_per_hour for d in given_demands))
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


@given(jobs, jobs, st.tuples(st.floats(1, 1e6), st.floats(0, 1000)))
def test_more_work_never_needs_fewer(
    running: tuple[tuple[float, float], ...], queued: tuple[tuple[float, float], ...], more: tuple[float, float]
) -> None:
    before = needed(Demand("a", 1000, jobs=running, queued=waiting(*queued)), 0.8)
    assert needed(Demand("a", 1000, jobs=(*running, more), queued=waiting(*queued)), 0.8) >= before
    assert needed(Demand("a", 1000, jobs=running, queued=waiting(*queued, more)), 0.8) >= before


@pytest.mark.parametrize(
    ("work", "actors"),
    [
        ((), 0),
        (((3600.0, 1.0),), 1),  # from zero: any work brings one
        (((10.0, 2.0), (10.0, 2.0)), 1),  # 4 s in half of 10 s at 0.8 is exactly one
        (((10.0, 2.0), (10.0, 2.1)), 2),
        (((10.0, 2.7), (10.0, 2.7), (10.0, 2.7)), 3),
        (((10.0, 8.1),), 1),  # one job runs on one actor, however urgent it is
        (((1000.0, 8.0), (4.0, 1.6)), 1),  # the near deadline alone decides nothing that one cannot do
        (((1000.0, 8.0), (4.0, 1.0), (4.0, 1.0)), 2),
        (((2.0, 4.0),), 1),  # it cannot be in time any more
        (((-50.0, 40.0), (-1.0, 9.6)), 2),  # what is late counts as due in a minute: 49.6 s in half of that
    ],
)
def test_need_is_seconds_due_by_each_deadline(work: tuple[tuple[float, float], ...], actors: int) -> None:
    assert needed(Demand("a", 100, queued=waiting(*work)), 0.8) == actors


def test_a_pool_keeps_its_maximum() -> None:
    assert one(Demand("a", 3, queued=((20.0, 750.0, 50),))).desired == 3


def test_up_at_once_down_after_idleness() -> None:
    assert one(Demand("a", 4, queued=((4.0, 6.4, 4),))).desired == 4
    assert one(Demand("a", 4, actors=3, idle_s=(1.0, 59.0, 61.0))).desired == 2
    assert one(Demand("a", 4, actors=3, idle_s=(61.0, 90.0, 99.0))).desired == 0


def test_a_warm_actor_gives_way_to_another_pools_work() -> None:
    warm = Demand("a", 2, actors=2, idle_s=(1.0, 1.0))
    wants = Demand("b", 2, queued=((60.0, 1.0, 1),))
    decisions = decide([warm, wants], max_actors=2, idle_s=60)
    assert (decisions["a"].desired, decisions["b"].desired) == (1, 1)


def test_busy_pools_let_one_go_when_another_starves() -> None:
    busy = Demand("a", 2, jobs=((5.0, 100.0),) * 2, actors=2, leased=2)
    patient = decide([busy, Demand("b", 2, queued=((60.0, 1.0, 1),), starved_s=1.0)], max_actors=2, idle_s=60)
    assert (patient["a"].desired, patient["a"].feed, patient["b"].desired) == (2, 2, 0)
    starving = decide([busy, Demand("b", 2, queued=((60.0, 1.0, 1),), starved_s=GIVE_WAY_S)], max_actors=2, idle_s=60)
    assert (starving["a"].desired, starving["a"].feed, starving["b"].desired) == (2, 1, 0)
    # and when a lease has ended, the room is the starving pool's, however urgent the other is
    freed = Demand("a", 2, jobs=((5.0, 100.0),) * 2, actors=2, leased=1, idle_s=(0.0,))
    after = decide([freed, Demand("b", 2, queued=((60.0, 1.0, 1),), starved_s=GIVE_WAY_S)], max_actors=2, idle_s=60)
    assert (after["a"].desired, after["b"].desired) == (1, 1)


def test_a_pool_that_cannot_start_wants_nothing_meanwhile() -> None:
    decision = one(Demand("a", 2, queued=((5.0, 1.0, 1),), blocked=True))
    assert decision == Decision(0, 0, "waits after a failed start", "blocked")


def test_a_warm_minimum_is_kept_and_zero_is_reached_without_one() -> None:
    resting = Demand("a", 4, actors=2, idle_s=(61.0, 99.0))
    assert one(resting).desired == 0
    kept = one(msgspec.structs.replace(resting, floor=1))
    assert (kept.desired, kept.cause) == (1, "floor")
    assert one(Demand("a", 4, floor=9)).desired == 4


def test_nothing_is_let_go_while_its_pool_cools_down() -> None:
    grown = Demand("a", 4, actors=3, idle_s=(61.0, 90.0, 99.0), grown_s=20.0)
    assert one(grown, cooldown_s=30).desired == 3
    assert one(grown, cooldown_s=10).desired == 0


def test_the_ceiling_buys_work_before_floors_and_never_takes_a_leased_actor() -> None:
    floor = Demand("floor", 4, floor=2, price_per_hour=1.0)
    work = Demand("work", 4, queued=((5.0, 12.0, 3),), price_per_hour=3.0)
    decisions = decide([floor, work], max_actors=9, idle_s=60, ceiling_per_hour=7.0)
    assert (decisions["work"].desired, decisions["work"].cause) == (2, "ceiling")
    assert (decisions["floor"].desired, decisions["floor"].cause) == (1, "ceiling")
    assert "cost ceiling" in decisions["work"].reason
    leased = msgspec.structs.replace(work, actors=3, leased=3)
    assert decide([leased], max_actors=9, idle_s=60, ceiling_per_hour=0.0)["work"].desired == 3


def test_a_pool_without_a_price_is_under_no_ceiling() -> None:
    assert one(Demand("a", 4, queued=((5.0, 12.0, 3),)), ceiling_per_hour=0.0).desired == 3


def test_late_work_does_not_buy_what_cannot_save_it() -> None:
    late = Demand("a", 100, queued=((-0.25, 480.0, 100),))
    assert one(late).desired == 20  # 480 s in half a minute, at 0.8
    hopeless = Demand("a", 100, queued=((2.0, 480.0, 100),))  # 4.8 s each, 2 s left
    assert one(hopeless).desired == 20
    assert one(msgspec.structs.replace(hopeless, queued=((5.0, 480.0, 100),))).desired == 100  # they can be saved


def test_what_runs_has_its_actor_to_itself_whatever_is_due_before_it_ends() -> None:
    videos = Demand("a", 100, jobs=((600.0, 40.0),) * 3, actors=3, leased=3)
    assert one(videos).desired == 3
    image = ((30.0, 3.0, 1),)  # which one actor could do after the videos, were it only for seconds due
    assert one(msgspec.structs.replace(videos, queued=image)).desired == 4
    assert one(msgspec.structs.replace(videos, queued=((3600.0, 3.0, 1),))).desired == 3  # no hurry: after one of them
    ending = msgspec.structs.replace(videos, jobs=((600.0, 1.0),) * 3)
    assert one(msgspec.structs.replace(ending, queued=image)).desired == 3


def test_what_keeps_arriving_is_reckoned_with_where_it_will_be_due_first() -> None:
    later = Demand("a", 100, queued=((1200.0, 480.0, 100),))
    assert one(later).desired == 1  # 480 s in 600 s at 0.8
    assert one(msgspec.structs.replace(later, arriving=((4.0, 30.0),))).desired == 6  # and 4 × 570 s before them
    assert one(msgspec.structs.replace(later, arriving=((4.0, 7200.0),))).desired == 1
    assert one(Demand("a", 100, arriving=((4.0, 30.0),))).desired == 0  # nothing is there
