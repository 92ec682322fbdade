"""How far compaction is behind, found by looking at few places of a log."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream.metrics.compaction import AGES_S, RECORDS, Seen, lag_s

NOW = 1_000_000.0


def written(span_s: float) -> list[Seen]:
    """What an owner wrote: a row of its own and a heartbeat each second."""
    return [
        record
        for age in range(int(span_s), 0, -1)
        for record in (Seen(b"job_%d" % age, NOW - age), Seen(b"heartbeat", NOW - age))
    ]


def cleaned(records: list[Seen], until_s: float) -> list[Seen]:
    """Of what is older than that, the last value of each key."""
    last = {record.key: n for n, record in enumerate(records)}
    return [record for n, record in enumerate(records) if NOW - record.at < until_s or last[record.key] == n]


def sampling(records: list[Seen]):
    async def sample(moment: float) -> Sequence[Seen]:
        return [record for record in records if record.at >= moment][:RECORDS]

    return sample


@given(st.integers(10, 6000))
async def test_what_is_found_is_no_older_than_what_is_there_and_of_the_right_size(behind_s: int) -> None:
    lag = await lag_s(sampling(cleaned(written(8000), behind_s)), NOW)
    assert lag <= behind_s
    least = max((age for age in AGES_S if age <= behind_s), default=0.0)
    assert lag >= least - RECORDS


async def test_what_is_clean_has_no_lag() -> None:
    assert await lag_s(sampling(cleaned(written(8000), 60.0)), NOW) <= 60.0
    assert await lag_s(sampling([]), NOW) == 0.0
    assert await lag_s(sampling([Seen(b"%d" % n, NOW - 9000 + n) for n in range(9000)]), NOW) == 0.0


@pytest.mark.parametrize("age_s", [400.0, 5000.0, 90_000.0])
async def test_a_log_that_nobody_cleans_is_as_old_as_it_is(age_s: float) -> None:
    assert await lag_s(sampling(written(age_s)), NOW) == min(age_s, AGES_S[0])
