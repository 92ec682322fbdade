"""The promise clock never goes back, never lags behind a broker, and only a demo's can be advanced."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream.clock import ClockRefused, DemoClock, RealClock

MOMENTS = st.floats(0, 1e10)


@given(own=st.lists(MOMENTS, min_size=1, max_size=20), seen=st.lists(MOMENTS, max_size=20))
def test_it_never_goes_back_and_never_lags(own: list[float], seen: list[float]) -> None:
    times = iter(own)
    clock = RealClock(lambda: next(times, own[-1]))
    last = 0.0
    for stamp in seen:
        clock.observe(stamp)
        now = clock.now()
        assert now >= stamp
        assert now >= last
        last = now


def test_skew_is_how_far_this_machine_is_behind() -> None:
    clock = RealClock(lambda: 100.0)
    clock.observe(103.5)
    assert clock.skew_s == 3.5
    assert clock.now() == 103.5


def test_a_demo_clock_runs_ahead_and_follows_brokers_below_its_offset() -> None:
    own = [1000.0]
    clock = DemoClock(RealClock(lambda: own[0]))
    clock.shift_to(500.0)
    assert clock.now() == 1500.0
    own[0] = 1001.0
    assert clock.now() == 1501.0
    clock.observe(1010.0)
    assert clock.now() == 1510.0


def test_nobody_sets_a_demo_clock_back() -> None:
    clock = DemoClock()
    clock.shift_to(5.0)
    clock.shift_to(5.0)
    with pytest.raises(ClockRefused, match="never goes back"):
        clock.shift_to(4.9)
