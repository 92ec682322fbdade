"""What is claimed of a user's day: bounds, exact epsilon, thresholds; each claim has a broken control."""

from __future__ import annotations

import gc
import math
from collections import Counter
from itertools import pairwise

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream.metrics import anonymity, budget, cells
from stream.metrics.anonymity import BUDGET, CELLS_A_DAY, EPSILON, OWNERS_A_DAY, SCALE, THRESHOLD, K, NoiseTooWeak, tail
from stream.metrics.cells import HOUR_S, HOURS_A_DAY, Kind
from stream.metrics.tally import Ask, Share, Tallies, Tally
from stream.vault.secret import Wiped

DAY = 20_000
START = DAY * HOURS_A_DAY
KINDS = [Kind("genzo", operation, outcome) for operation in ("stylization", "ai_dance") for outcome in cells.OUTCOMES]
REACH = 400  # of noise, in the sums below: what lies beyond weighs e^-100

Event = tuple[str, Kind, int, int]  # who, what, hour of the day, which owner of the partition

users = st.sampled_from(["a", "b", "c", "canary"])
events = st.lists(
    st.tuples(users, st.sampled_from(KINDS), st.integers(0, HOURS_A_DAY - 1), st.integers(0, OWNERS_A_DAY + 1)),
    max_size=120,
).map(lambda found: sorted(found, key=lambda event: event[2]))


def released(
    stream: list[Event], *, limit: int = CELLS_A_DAY, owners: int = OWNERS_A_DAY + 2
) -> Counter[tuple[int, Kind]]:
    """The day's counts as they reach the mechanism: through tallies, one for each owner, and the account.

    All owners may count in any hour, as if all of them had a part of it; at its end another one owns the partition.
    """
    tallies = [Tally(0, START * HOUR_S, limit=limit) for _ in range(owners)]
    for n, tally in enumerate(tallies):
        tally.tenure = str(n)
    for who, kind, hour, owner in stream:
        tallies[owner % owners].count(kind, ("tenant", who), (START + hour) * HOUR_S)
    account = budget.fresh(START - 1)
    found: Counter[tuple[int, Kind]] = Counter()
    for hour in range(START, START + HOURS_A_DAY):
        shares = [tally.share(Ask(hour, hour + 1), (START + HOURS_A_DAY) * HOUR_S - 1) for tally in tallies]
        known = [msgspec.structs.replace(share, open=n == hour % owners) for n, share in enumerate(shares)]
        account, paid, _ = budget.spend(account, range(hour, hour + 1), known)
        for one in (one for share in paid.values() for one in share.counts):
            found[one.hour, Kind(one.app, one.operation, one.outcome)] += one.users
    assert budget.left(account) == BUDGET - EPSILON * min(owners, OWNERS_A_DAY)
    return found


def probability(noise: int, scale: float = SCALE) -> float:
    """Of discrete Laplace noise."""
    alpha = math.exp(-1 / scale)
    return (1 - alpha) / (1 + alpha) * alpha ** abs(noise)


def seen(count: int, scale: float = SCALE) -> list[float]:
    """The exact distribution of what is published of a cell: nothing, or each number from the threshold on."""
    numbers = [probability(number - count, scale) for number in range(THRESHOLD, count + REACH)]
    return [tail(count - THRESHOLD + 1, scale), *numbers]  # by symmetry, and exact where it is tiny


def cost(before: int, after: int, scale: float = SCALE) -> float:
    """The largest log-ratio of any outcome of one cell, in both directions."""
    return max(abs(math.log(one / other)) for one, other in zip(seen(before, scale), seen(after, scale), strict=False))


def difference(stream: list[Event], **more: int) -> Counter[tuple[int, Kind]]:
    """By how much each cell differs with and without the canary."""
    with_it, without = released(stream, **more), released([event for event in stream if event[0] != "canary"], **more)
    found = Counter(with_it)
    found.subtract(without)
    return found


class TestBounds:
    @given(events)
    def test_a_user_changes_a_day_by_no_more_than_the_terms_say(self, stream: list[Event]) -> None:
        found = difference(stream)
        assert set(found.values()) <= {0, 1}  # also where several owners counted in that hour
        assert sum(found.values()) <= CELLS_A_DAY * OWNERS_A_DAY

    @given(events)
    def test_with_one_owner_by_no_more_than_one_epsilon_pays_for(self, stream: list[Event]) -> None:
        found = difference(stream, owners=1)
        assert sum(found.values()) <= CELLS_A_DAY

    def test_who_is_counted_by_two_owners_in_one_hour_is_in_the_cell_once(self) -> None:
        """Else k would be no number of people."""
        stream = [("canary", KINDS[0], 3, owner) for owner in range(OWNERS_A_DAY)]
        assert released(stream, owners=OWNERS_A_DAY) == {(START + 3, KINDS[0]): 1}

    def test_without_a_bound_it_would_not_hold(self) -> None:
        stream = [("canary", KINDS[0], hour, 0) for hour in range(HOURS_A_DAY)]
        assert sum(difference(stream, owners=1).values()) == CELLS_A_DAY
        assert sum(difference(stream, owners=1, limit=1000).values()) > CELLS_A_DAY

    @given(events)
    def test_a_cell_counts_users_and_not_jobs(self, stream: list[Event]) -> None:
        found = released(stream)
        for (hour, kind), users in found.items():
            assert users <= len(
                {who for who, its_kind, its_hour, _ in stream if (its_hour + START, its_kind) == (hour, kind)}
            )

    def test_another_app_and_another_tenants_user_of_that_name_count_by_themselves(self) -> None:
        tally = Tally(0, START * HOUR_S)
        for app in ("genzo", "talentedi"):
            for tenant in ("one", "two"):
                for operation in range(CELLS_A_DAY + 1):
                    tally.count(Kind(app, str(operation), "failed"), (tenant, "canary"), START * HOUR_S)
        found = tally.share(Ask(START, START + 1), (START + 1) * HOUR_S).counts
        assert Counter((one.app, one.users) for one in found) == {
            ("genzo", 2): CELLS_A_DAY,
            ("talentedi", 2): CELLS_A_DAY,
        }

    def test_a_new_day_bounds_anew_and_the_old_ones_key_and_names_are_gone(self) -> None:
        tally = Tally(0, START * HOUR_S)
        first = tally._key
        for hour in range(HOURS_A_DAY):
            tally.count(KINDS[0], ("tenant", "canary"), (START + hour) * HOUR_S)
        (named,) = tally._seen
        assert b"canary" not in named
        tally.share(Ask(START, START + HOURS_A_DAY), (START + HOURS_A_DAY) * HOUR_S)
        with pytest.raises(Wiped):
            first.view  # noqa: B018
        assert tally._seen == {}
        tally.count(KINDS[0], ("tenant", "canary"), (START + HOURS_A_DAY) * HOUR_S)
        assert named not in tally._seen
        gc.collect()
        assert not [each for each in gc.get_objects() if type(each) is dict and named in each]

    def test_nothing_that_leaves_a_tally_tells_users_apart(self) -> None:
        shares = []
        for names in (("ann", "bob"), ("carl", "dora")):
            tally = Tally(0, START * HOUR_S)
            for name in names:
                tally.count(KINDS[0], ("tenant", name), START * HOUR_S)
            shares.append(tally.share(Ask(START, START + 1), (START + 1) * HOUR_S).counts)
        assert shares[0] == shares[1]


class TestEpsilon:
    @pytest.mark.parametrize("count", [0, 1, K - 1, K, THRESHOLD - 1, THRESHOLD, THRESHOLD + 1, 1000])
    def test_one_user_more_or_less_in_a_cell_costs_its_part_of_epsilon(self, count: int) -> None:
        assert math.isclose(sum(seen(count)), 1, abs_tol=1e-9)
        assert cost(count, count + 1) <= EPSILON / CELLS_A_DAY + 1e-9

    @given(events, st.integers(0, 150))
    def test_a_users_day_costs_at_most_the_budget_and_one_owners_counts_epsilon(
        self, stream: list[Event], others: int
    ) -> None:
        for owners, most in ((OWNERS_A_DAY + 2, BUDGET), (OWNERS_A_DAY, BUDGET), (1, EPSILON)):
            changes = difference(stream, owners=owners).values()
            assert sum(cost(others, others + change) for change in changes) <= most + 1e-9

    def test_half_the_noise_and_a_threshold_on_the_true_count_would_cost_more(self) -> None:
        stream = [("canary", KINDS[0], hour, 0) for hour in range(HOURS_A_DAY)]
        changes = difference(stream, owners=1).values()
        assert sum(cost(200, 200 + change, SCALE / 2) for change in changes) > EPSILON + 0.5
        peeking = [seen(count) if count >= K else [1.0] + [0.0] * REACH for count in (K - 1, K)]
        assert peeking[0][1] == 0 < peeking[1][1]  # possible with them, impossible without: no epsilon covers that

    def test_opendp_agrees_and_refuses_less_noise(self) -> None:
        anonymity.mechanism(SCALE)
        with pytest.raises(NoiseTooWeak, match="expected epsilon 1 for 4 cells"):
            anonymity.mechanism(SCALE * 0.99)

    def test_what_opendp_draws_is_the_distribution_that_was_reckoned_with(self) -> None:
        """Its randomness cannot be seeded: a right one fails once in 10^9 runs, half the noise always."""
        draws = 20_000

        def misfit(scale: float) -> float:
            found = Counter(min(10, abs(x)) for x in anonymity.mechanism(SCALE)([0] * draws))
            expected = {x: draws * probability(x, scale) * (2 if x else 1) for x in range(10)}
            expected[10] = 2 * draws * tail(10, scale)
            return sum((found[x] - mean) ** 2 / mean for x, mean in expected.items())

        limit = 66.0  # chi-square with 10 degrees of freedom exceeds it with a probability of 2.6e-10
        assert misfit(SCALE) < limit
        assert misfit(SCALE / 2) > 10 * limit


class TestThreshold:
    def test_fewer_than_k_users_are_published_once_in_a_million_at_most(self) -> None:
        odds = [tail(THRESHOLD - count) for count in range(K)]
        assert max(odds) == odds[-1] <= anonymity.BELOW_K_ODDS < tail(THRESHOLD - 1 - odds.index(max(odds)))
        assert all(one < other for one, other in pairwise(odds))

    def test_the_tail_is_the_sum_of_what_it_is_the_tail_of(self) -> None:
        for least in (-40, -1, 0, 1, 2, 53):
            assert math.isclose(tail(least), sum(probability(x) for x in range(least, 600)), rel_tol=1e-9)

    @given(st.lists(st.integers(-200, 400), min_size=2 * len(KINDS), max_size=2 * len(KINDS)))
    def test_no_number_below_the_threshold_is_ever_in_a_published_cell(self, noisy: list[int]) -> None:
        found = cells.published(tuple(KINDS), range(START, START + 2), noisy, {START: 3}, 4)
        assert sorted(cell.count for cell in found) == sorted(count for count in noisy if count >= THRESHOLD)
        assert all(cell.count >= THRESHOLD >= K for cell in found)
        assert {cell.partitions for cell in found if cell.hour == cells.moment(START)} <= {3}
        assert len({cell.key for cell in found}) == len(found)


class TestAccount:
    @given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 9)), max_size=60))
    def test_of_each_partition_no_more_owners_are_paid_for_than_the_budget_allows(
        self, owners: list[tuple[int, int]]
    ) -> None:
        account = budget.fresh(START - 1)
        counted: Counter[int] = Counter()
        known: set[tuple[int, str]] = set()
        for partition, tenure in owners:
            hours = range(account.next_hour, account.next_hour + 1)
            share = Share(partition, str(tenure), tuple(hours), hours.stop)
            account, paid, refused = budget.spend(account, hours, [share, share])
            assert len(paid) + refused == 1
            if account.day * HOURS_A_DAY == hours.start:
                known.clear()
                counted.clear()
            if paid and (partition, share.tenure) not in known:
                known.add((partition, share.tenure))
                counted[partition] += 1
            assert max(counted.values(), default=0) <= OWNERS_A_DAY
            assert budget.left(account) == BUDGET - EPSILON * max(counted.values(), default=0) >= 0

    @given(st.integers(START, START + 200), st.integers(START - 300, START + 300))
    def test_released_hours_are_over_not_too_old_and_of_one_day(self, next_hour: int, hour: int) -> None:
        hours = budget.releasable(budget.Budget(next_hour), hour)
        assert all(max(next_hour, hour - budget.MAX_HOURS) <= each < hour for each in hours)
        assert len({each // HOURS_A_DAY for each in hours}) <= 1
        assert bool(hours) == (next_hour < hour)

    def test_no_hour_is_paid_for_twice(self) -> None:
        account, _, _ = budget.spend(budget.fresh(START - 1), range(START, START + 3), [])
        assert budget.releasable(account, START + 3) == range(START + 3, START + 3)
        assert budget.fresh(START).next_hour == START + HOURS_A_DAY


class TestOwners:
    def test_who_comes_back_on_the_same_day_goes_on_where_they_left_off(self) -> None:
        tallies, now = Tallies(), START * HOUR_S
        tally = tallies.open(3, now)
        tally.count(KINDS[0], ("tenant", "ann"), now)
        tally.close(now)
        (left,) = tallies.shares(Ask(START, START + 5), now + 2 * HOUR_S)
        assert (left.open, left.hours, len(left.counts)) == (False, (START,), 1)
        assert tallies.open(3, now + 2 * HOUR_S) is tally
        tally.count(KINDS[0], ("tenant", "ann"), now)
        (back,) = tallies.shares(Ask(START, START + 5), now + 3 * HOUR_S)
        assert (back.open, back.hours, back.counts) == (True, (START, START + 2), left.counts)
        assert back.tenure == left.tenure

    def test_many_moves_of_a_partition_take_no_more_memory_than_its_hours(self) -> None:
        tally, now = Tally(0, START * HOUR_S), START * HOUR_S
        for hour in (0, 0, 0, 2, 2):
            tally.close(now + hour * HOUR_S)
            tally.reopen(now + hour * HOUR_S)
        tally.close(now + 3 * HOUR_S)
        tally.reopen(now + 5 * HOUR_S)
        assert tally._spans == [[START, START + 3], [START + 5, tally._spans[-1][1]]]
        assert tally.share(Ask(START + 2, START + 6), now + 6 * HOUR_S).hours == (START + 2, START + 3, START + 5)
        assert len(tally.share(Ask(START + 4, START + 6), now + 6 * HOUR_S).hours) == len(tally._spans) == 1

    def test_who_does_not_is_forgotten_when_the_day_is_over_and_all_was_asked_for(self) -> None:
        tallies, now = Tallies(), START * HOUR_S
        tally = tallies.open(3, now)
        tally.count(KINDS[0], ("tenant", "ann"), now)
        tally.close(now)
        tomorrow = now + HOURS_A_DAY * HOUR_S
        assert len(tallies.shares(Ask(START, START + 5), tomorrow)) == 1
        tallies.shares(Ask(START + 5, START + 6), tomorrow)
        assert tallies.shares(Ask(START + 5, START + 6), tomorrow) == []
        with pytest.raises(Wiped):
            tally._key.view  # noqa: B018
        assert tallies.open(3, tomorrow).tenure != tally.tenure

    def test_an_hour_that_is_not_over_stays_at_home(self) -> None:
        tally = Tally(0, START * HOUR_S)
        tally.count(KINDS[0], ("tenant", "ann"), START * HOUR_S)
        share = tally.share(Ask(START, START + 5), (START + 1) * HOUR_S - 1)
        assert (share.until, share.counts) == (START, ())
        assert tally.share(Ask(START, START + 5), (START + 1) * HOUR_S).counts
        assert tally.share(Ask(START + 1, START + 5), (START + 1) * HOUR_S).counts == ()
