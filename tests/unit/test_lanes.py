"""Who is next: fairness between lanes and tenants, order within, and no job lost or doubled."""

from __future__ import annotations

import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ray_cluster.lanes import LANE_WEIGHTS, QUANTUM_S, BadWork, Lanes, charge_s
from ray_cluster.leases import Place, Work

works = st.lists(
    st.builds(
        Work,
        job=st.uuids().map(str),
        worker=st.sampled_from(["w1", "w2"]),
        pool=st.sampled_from(["p", "q"]),
        lane=st.sampled_from(list(LANE_WEIGHTS)),
        tenant=st.sampled_from(["a", "b", "c"]),
        cost_s=st.floats(0, 100),
        deadline=st.floats(0, 1e6),
    ),
    max_size=40,
    unique_by=lambda work: work.job,
)


def work(job: str, *, lane: str = "standard", tenant: str = "t", cost_s: float = 1.0, deadline: float = 0.0) -> Work:
    return Work(job, "w1", "p", lane, tenant, cost_s=cost_s, deadline=deadline)


def filled(queue: list[Work]) -> Lanes:
    lanes = Lanes()
    for item in queue:
        lanes.add(item)
    return lanes


def drain(lanes: Lanes, pool: str = "p") -> list[Work]:
    popped = []
    while item := lanes.pop(pool):
        popped.append(item)
    return popped


@given(works)
def test_every_job_comes_out_once_and_as_foretold(queue: list[Work]) -> None:
    lanes = filled(queue)
    foretold = {pool: list(lanes.order(pool)) for pool in ("p", "q")}
    assert {pool: drain(lanes, pool) for pool in ("p", "q")} == foretold
    assert Counter(w.job for order in foretold.values() for w in order) == Counter(w.job for w in queue)
    assert not lanes


@given(works, st.randoms())
def test_what_is_withdrawn_never_comes_out(queue: list[Work], rng: random.Random) -> None:
    lanes = filled(queue)
    gone = {w.job for w in queue if rng.random() < 0.5}
    for job in gone:
        assert lanes.withdraw(job) is not None
        assert lanes.withdraw(job) is None
    left = {w.job for pool in ("p", "q") for w in drain(lanes, pool)}
    assert left == {w.job for w in queue} - gone


@given(works)
def test_a_tenants_jobs_keep_deadline_order_within_a_lane(queue: list[Work]) -> None:
    popped = drain(filled(queue))
    for key in {(w.lane, w.tenant) for w in popped}:
        deadlines = [w.deadline for w in popped if (w.lane, w.tenant) == key]
        assert deadlines == sorted(deadlines)


@given(works)
def test_adding_again_changes_nothing(queue: list[Work]) -> None:
    assert list(filled(queue + queue).order("p")) == list(filled(queue).order("p"))


def test_batch_never_starves_under_endless_interactive_work() -> None:
    lanes = Lanes()
    lanes.add(work("batch", lane="batch"))
    for i in range(200):
        lanes.add(work(f"i{i}", lane="interactive"))
        lanes.add(work(f"j{i}", lane="interactive"))
        item = lanes.pop("p")
        assert item
        if item.job == "batch":
            break
    assert i <= LANE_WEIGHTS["interactive"] / LANE_WEIGHTS["batch"]


def test_lanes_share_seconds_by_weight() -> None:
    lanes = filled([work(f"{lane}{i}", lane=lane) for lane in LANE_WEIGHTS for i in range(600)])
    served = Counter(item.lane for _ in range(340) if (item := lanes.pop("p")))
    assert served == {"interactive": 240, "standard": 80, "batch": 20}


def test_a_lane_that_slept_does_not_catch_up() -> None:
    lanes = filled([work(f"s{i}") for i in range(50)])
    for _ in range(40):
        lanes.pop("p")
    for i in range(50):
        lanes.add(work(f"b{i}", lane="batch"))
    served = Counter(item.lane for _ in range(10) if (item := lanes.pop("p")))
    assert served["standard"] >= 7


def test_tenants_share_seconds_not_jobs() -> None:
    short = [work(f"short{i}", tenant="short", cost_s=1) for i in range(300)]
    long = [work(f"long{i}", tenant="long", cost_s=10) for i in range(30)]
    lanes = filled(short + long)
    seconds = Counter[str]()
    for _ in range(110):
        item = lanes.pop("p")
        assert item
        seconds[item.tenant] += int(item.cost_s)
    assert abs(seconds["short"] - seconds["long"]) <= 10 + QUANTUM_S


def test_one_tenants_thousand_jobs_do_not_delay_anothers_one() -> None:
    lanes = filled([work(f"many{i}", tenant="many", cost_s=1) for i in range(1000)])
    lanes.add(work("one", tenant="one", deadline=1e9))
    place = lanes.position("one")
    assert place
    assert place.position <= QUANTUM_S


def test_places_count_jobs_and_seconds_ahead() -> None:
    lanes = filled([work("a", cost_s=4, deadline=1), work("b", cost_s=6, deadline=2), work("c", deadline=3)])
    assert lanes.places("p", actors=2, remaining_s=2) == {"a": Place(0, 1.0), "b": Place(1, 3.0), "c": Place(2, 6.0)}
    assert lanes.position("c") == Place(2, 10.0)
    assert lanes.position("unknown") is None
    assert lanes.places("no such pool") == {}


def test_a_workers_jobs_leave_together() -> None:
    lanes = filled([work("a"), Work("b", "w2", "q", "batch", "t", cost_s=1, deadline=1)])
    assert [w.job for w in lanes.withdraw_of("w2")] == ["b"]
    assert "a" in lanes
    assert "b" not in lanes


@pytest.mark.parametrize(
    "bad", [{"lane": "fast"}, {"cost_s": -1.0}, {"cost_s": float("nan")}, {"deadline": float("nan")}]
)
def test_work_that_could_never_be_served_is_refused(bad: dict[str, float]) -> None:
    with pytest.raises(BadWork):
        Lanes().add(work("a", **bad))


def test_charges_are_bounded_so_that_turns_end() -> None:
    lanes = filled([work("huge", cost_s=float("inf")), work("nothing", cost_s=0, tenant="u")])
    assert {w.job for w in drain(lanes)} == {"huge", "nothing"}
    assert charge_s(work("x", cost_s=float("inf"))) < float("inf")


@given(works, st.randoms(), st.floats(0, 1e6))
def test_with_time_and_without_spare_actors_every_job_still_comes_out_once(
    queue: list[Work], rng: random.Random, now: float
) -> None:
    lanes = filled(queue)
    wanted = Counter(w.job for w in queue if w.pool == "p")
    popped = Counter[str]()
    while lanes.waiting("p"):
        item = lanes.pop("p", now=now, spare=rng.random() < 0.5)
        popped.update([item.job] if item else [])
        if item and rng.random() < 0.2:
            now += 10
    assert popped == wanted
    assert lanes.due("p", now) == ()


def test_a_job_that_can_no_longer_be_in_time_makes_no_other_late() -> None:
    lanes = filled([work(f"gone{i}", cost_s=5, deadline=10 + i / 100) for i in range(20)])
    lanes.add(work("hopeful", cost_s=5, deadline=20))
    first = lanes.pop("p", now=12)
    assert first
    assert first.job == "hopeful"
    assert {w.job for w in drain(lanes)} == {f"gone{i}" for i in range(20)}


def test_late_jobs_move_while_others_wait() -> None:
    lanes = filled([work(f"gone{i}", cost_s=1, deadline=0) for i in range(9)])
    for i in range(200):
        lanes.add(work(f"good{i}", cost_s=1, deadline=1e9))
    served = [item.job for _ in range(100) if (item := lanes.pop("p", now=5))]
    assert 15 >= sum(job.startswith("gone") for job in served) >= 5


def test_a_late_job_can_be_withdrawn() -> None:
    lanes = filled([work("gone", deadline=0), work("other", deadline=0), work("good", deadline=1e9)])
    assert lanes.pop("p", now=5)
    assert lanes.withdraw("other")
    assert [w.job for w in drain(lanes)] == ["gone"]


def test_without_spare_actors_batch_gets_what_it_is_owed_and_no_more() -> None:
    lanes = filled([work(f"b{i}", lane="batch", deadline=1e9) for i in range(100)])
    assert lanes.pop("p", now=0, spare=False) is None
    served = Counter[str]()
    for i in range(120):
        lanes.add(work(f"i{i}", lane="interactive", deadline=1e9))
        while item := lanes.pop("p", now=i, spare=False):
            served[item.lane] += 1
    assert served["interactive"] == 120
    assert 2 <= served["batch"] <= 3  # a quarter of a twelfth


def test_headroom_is_the_root_of_the_interactive_work_that_arrives() -> None:
    lanes = Lanes()
    for second in range(600):
        lanes.add(work(str(second), lane="interactive", cost_s=9, deadline=second + 30), now=second)
        assert lanes.pop("p", now=second)
    ((rate, within_s),) = lanes.arriving("p", 600)
    assert rate == pytest.approx(9, rel=0.05)
    assert within_s == pytest.approx(30)
    assert lanes.headroom("p", 600) == 5  # 1.5 × √9, rounded up
    assert lanes.arriving("p", 2000) == ()
    assert lanes.headroom("p", 2000) == 0
    assert lanes.headroom("no such pool", 0) == 0


def test_what_is_queued_again_has_not_arrived() -> None:
    lanes = Lanes()
    lanes.add(work("a", cost_s=100))
    assert lanes.arriving("p", 0) == ()


def test_a_job_in_haste_does_not_care_about_headroom() -> None:
    lanes = Lanes()
    lanes.add(work("b", lane="batch", cost_s=100, deadline=1100), now=0)  # a thousand seconds to spare, of 1,100
    assert lanes.pop("p", now=400, spare=False) is None
    assert lanes.pop("p", now=460, spare=False)


def test_long_jobs_do_not_turn_one_by_one() -> None:
    lanes = filled([work(f"{t}{i}", tenant=t, cost_s=3000) for t in ("a", "b") for i in range(4)])
    assert Counter(item.tenant for item in drain(lanes)[:4]) == {"a": 2, "b": 2}
