"""Who is let in, who is told to come again and when, and where a job would wait: decided by what all have claimed."""

from __future__ import annotations

import random
from statistics import fmean

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ray_cluster.lanes import LANE_WEIGHTS, QUANTUM_S, Lanes
from ray_cluster.leases import Work
from stream.agents.admission import (
    LEAST_S,
    MOST_S,
    UNKNOWN_S,
    Ask,
    Limits,
    QueueFull,
    TooManyJobs,
    TooMuchWork,
    check,
    place,
    without,
)
from stream.events.lease import Claim, Standing
from stream.events.rows import Lane

POOL = "draw"
LIMITS = Limits({Lane.INTERACTIVE: 100.0, Lane.STANDARD: 1000.0, Lane.BATCH: 10_000.0}, 1000)


def claim(tenant: str, waiting: int = 0, each_s: float = 1.0, lane: str = Lane.BATCH, leased: int = 0) -> Claim:
    return Claim(POOL, lane, tenant, waiting, waiting * each_s, leased, leased * each_s)


def standing(*claims: Claim, actors: int = 1) -> Standing:
    return Standing(claims, {POOL: actors}, LANE_WEIGHTS, QUANTUM_S)


def ask(tenant: str = "a", cost_s: float = 1.0, lane: str = Lane.BATCH, jobs: int = 0, work_s: float = 0.0) -> Ask:
    return Ask(POOL, lane, tenant, cost_s, jobs, work_s)


def _shared(served_s: float, wanted: dict[str, float]) -> dict[str, float]:
    """What each gets of it: alike, and what one does not need is the others'."""
    got = dict.fromkeys(wanted, 0.0)
    while served_s > 1e-9 and (hungry := [name for name in wanted if wanted[name] - got[name] > 1e-9]):
        each_s = min(served_s / len(hungry), *(wanted[name] - got[name] for name in hungry))
        for name in hungry:
            got[name] += each_s
        served_s -= each_s * len(hungry)
    return got


class TestTenantLimits:
    def test_jobs_are_counted_wherever_they_are(self) -> None:
        now = standing(claim("a", 2), claim("a", 1, lane=Lane.INTERACTIVE, leased=1), claim("b", 9))
        check(now, ask(jobs=5), LIMITS)
        with pytest.raises(TooManyJobs) as refused:
            check(now, ask(jobs=4), LIMITS)
        assert refused.value.status == 429
        assert refused.value.retry_after_s == 2.0  # a second of work, at half of one actor
        check(now, ask("c", jobs=1), LIMITS)

    def test_seconds_are_counted_as_predicted(self) -> None:
        now = standing(claim("a", 10, 6.0), claim("b", 1), actors=4)
        check(now, ask(cost_s=40.0, work_s=100.0), LIMITS)
        with pytest.raises(TooMuchWork) as refused:
            check(now, ask(cost_s=48.0, work_s=100.0), LIMITS)
        assert refused.value.retry_after_s == pytest.approx(8.0 / 2)  # too much by 8 s, at half of four actors

    def test_what_waits_for_its_user_says_so(self) -> None:
        with pytest.raises(TooManyJobs) as refused:
            check(standing(claim("a", 3, 0.0)), ask(jobs=3), LIMITS)
        assert refused.value.retry_after_s == UNKNOWN_S

    def test_a_refusal_says_nothing_of_who_asked(self) -> None:
        with pytest.raises(TooManyJobs) as refused:
            check(standing(claim("secretive", 3)), ask("secretive", jobs=1), LIMITS)
        assert "secretive" not in str(refused.value)


class TestLanes:
    def test_a_lane_is_full_when_all_actors_would_take_too_long(self) -> None:
        check(standing(claim("a", 99), actors=100), ask(cost_s=1.0), LIMITS)
        now = standing(claim("a", 19, 1000.0), actors=2)  # of 20,000 s that two actors may take
        check(now, ask(cost_s=1000.0), LIMITS)
        with pytest.raises(QueueFull) as refused:
            check(now, ask(cost_s=1001.0), LIMITS)
        assert refused.value.retry_after_s == LEAST_S
        check(now, ask(lane=Lane.INTERACTIVE, cost_s=1001.0), LIMITS)  # another lane is not full

    def test_it_is_full_when_it_holds_too_many_jobs(self) -> None:
        check(standing(claim("a", 999, 0.001)), ask(cost_s=0.001), LIMITS)
        with pytest.raises(QueueFull):
            check(standing(claim("a", 1000, 0.001)), ask(cost_s=0.001), LIMITS)

    def test_no_flood_closes_it_to_others(self) -> None:
        now = standing(claim("flood", 1000, 10.0))
        with pytest.raises(QueueFull):
            check(now, ask("flood"), LIMITS)
        check(now, ask("b"), LIMITS)
        check(standing(claim("flood", 1000, 10.0), claim("b", 499, 10.0)), ask("b", cost_s=10.0), LIMITS)
        with pytest.raises(QueueFull) as refused:
            check(standing(claim("flood", 1000, 10.0), claim("b", 500, 10.0)), ask("b", cost_s=10.0), LIMITS)
        assert refused.value.retry_after_s == pytest.approx(10.0 * 2)

    @given(
        seed=st.integers(0, 10_000),
        tenants=st.integers(1, 12),
        actors=st.integers(1, 5),
        costs=st.sampled_from([(0.5, 2.0), (40.0, 90.0)]),
    )
    def test_what_waits_is_bounded_however_it_came(
        self, seed: int, tenants: int, actors: int, costs: tuple[float, float]
    ) -> None:
        rng, held = random.Random(seed), {str(n): [0, 0.0] for n in range(tenants)}
        limits = msgspec.structs.replace(LIMITS, max_waiting=200)
        limit_s = limits.max_wait_s[Lane.INTERACTIVE] * actors
        for name in sorted(held, key=lambda _: rng.random()):  # each floods until it is refused, one after another
            while True:
                now = standing(
                    *(Claim(POOL, Lane.INTERACTIVE, n, jobs, s) for n, (jobs, s) in held.items()), actors=actors
                )
                cost_s = rng.uniform(*costs)
                try:
                    check(now, ask(name, cost_s, Lane.INTERACTIVE), limits)
                except QueueFull:
                    break
                held[name] = [held[name][0] + 1, held[name][1] + cost_s]
        harmonic = sum(1 / n for n in range(1, tenants + 1))
        assert sum(s for _, s in held.values()) <= limit_s * harmonic + tenants * costs[1]
        assert sum(jobs for jobs, _ in held.values()) <= limits.max_waiting * harmonic + tenants
        assert all(jobs for jobs, _ in held.values())

    @given(
        jobs=st.lists(st.tuples(st.sampled_from("abc"), st.floats(0.5, 30.0)), min_size=30, max_size=80),
        actors=st.integers(1, 4),
    )
    def test_there_is_room_when_a_refusal_said_so(self, jobs: list[tuple[str, float]], actors: int) -> None:
        """With all actors at work, and tenants served alike, as the scheduler serves them."""
        held = {name: [cost_s for tenant, cost_s in jobs if tenant == name] for name in "abc"}
        limits = Limits(dict.fromkeys(Lane, 60.0), 10_000)

        def claims(served_s: float) -> Standing:
            left = _shared(served_s * actors, {name: sum(costs) for name, costs in held.items()})
            return standing(
                *(
                    Claim(POOL, Lane.BATCH, name, len(costs), max(0.0, sum(costs) - left[name]))
                    for name, costs in held.items()
                    if costs
                ),
                actors=actors,
            )

        try:
            check(claims(0.0), ask(cost_s=1.0), limits)
        except QueueFull as refused:
            if refused.retry_after_s < MOST_S:
                check(claims(refused.retry_after_s + 0.001), ask(cost_s=1.0), limits)


class TestPlaces:
    def test_nobody_there(self) -> None:
        assert place(standing(), ask()) == place(standing(claim("a", leased=1), actors=2), ask())
        assert place(standing(), ask()).eta_s == 0.0
        busy = place(standing(claim("a", leased=2, each_s=10.0), actors=2), ask())
        assert (busy.position, busy.eta_s) == (0, 5.0)

    def test_a_flood_of_batch_is_behind_an_interactive_job(self) -> None:
        now = standing(claim("flood", 10_000, 5.0))
        assert place(now, ask("b", lane=Lane.INTERACTIVE)).position == 0
        assert place(now, ask("flood", lane=Lane.BATCH)).position == 10_000
        assert place(now, ask("b", lane=Lane.BATCH)).position <= 1

    @settings(max_examples=40)
    @given(st.integers(0, 2**32), st.integers(1, 4))
    def test_it_is_no_further_off_than_the_turns_under_way(self, seed: int, actors: int) -> None:
        lane, error_s, turns_s = _foretold(seed, actors)
        assert error_s <= turns_s / actors, lane

    def test_it_is_about_where_the_scheduler_puts_it(self) -> None:
        errors: dict[str, list[float]] = {lane: [] for lane in Lane}
        for seed in range(300):
            lane, error_s, _ = _foretold(seed, actors=1)
            errors[lane].append(error_s)
        about = {Lane.INTERACTIVE: 3.0, Lane.STANDARD: 5.0, Lane.BATCH: 13.0}  # of 38, 62 and 89 s in the mean
        assert all(fmean(errors[lane]) <= most_s for lane, most_s in about.items())


def _foretold(seed: int, actors: int) -> tuple[str, float, float]:
    """Of a random queue and one more job: its lane, how far off its place was foretold, and the turns under way.

    Each rival may have had a turn, and a job, more or less than its share. A second of that in a lane with work is as
    many of another as its weight is greater: 12 of the interactive lane's before each of batch's.
    """
    rng, most_s = random.Random(seed), 4.0
    lanes, claims, number = Lanes(), [], 0
    for lane in Lane:
        for tenant in "abcd"[: rng.randint(0, 4)]:
            count, each_s = rng.randint(1, 30), rng.uniform(0.2, most_s)
            claims.append(claim(tenant, count, each_s, lane))
            for _ in range(count):
                lanes.add(Work(f"j{number}", "w", POOL, lane, tenant, each_s, float(number)))
                number += 1
    rng.shuffle(claims)
    mine = ask(rng.choice("abcde"), lane=rng.choice(list(Lane)))
    lanes.add(Work("mine", "w", POOL, mine.lane, mine.tenant, 1.0, 1e9))
    real = lanes.places(POOL, actors=actors)["mine"]
    predicted = place(standing(*claims, actors=actors), mine)
    rivals = {each.tenant for each in claims if each.lane == mine.lane} - {mine.tenant}
    own_s = len(rivals) * (QUANTUM_S + most_s) + most_s
    others = {each.lane: LANE_WEIGHTS[each.lane] / LANE_WEIGHTS[mine.lane] for each in claims if each.lane != mine.lane}
    waiting_s = {lane: sum(each.waiting_s for each in claims if each.lane == lane) for lane in others}
    turns_s = own_s + sum(min(waiting_s[lane], own_s * times) + most_s for lane, times in others.items())
    return mine.lane, abs(predicted.eta_s - real.eta_s), turns_s


def test_what_others_have_is_all_less_what_we_had_told():
    told = [claim("a", 2, 3.0), claim("b", 1)]
    heard = standing(claim("a", 5, 3.0), claim("b", 1), claim("c", 4, leased=1))
    rest = without(heard, told)
    found = {tenant: (left.waiting, left.waiting_s, left.leased) for (_, _, tenant), left in rest.items()}
    assert found == {"a": (3, 9.0, 0), "b": (0, 0.0, 0), "c": (4, 4.0, 1)}
