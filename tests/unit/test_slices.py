"""Long work gives way, and the garbage collector stays away from takeovers."""

from __future__ import annotations

import gc

import pytest

from stream.agents import collector, slices
from stream.agents.slices import Slices
from stream.events.rows import AssetHead, AssetState, JobHead, JobState, Offsets, Parked, SubjectHead, glance, rows


def test_a_slice_ends_by_time_and_is_looked_at_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    moments = iter([0.0, 0.001, 0.006, 0.007, 0.008])
    monkeypatch.setattr(slices.time, "monotonic", lambda: next(moments))
    cut = Slices()
    over = [cut.over() for _ in range(3 * slices.STEPS_A_LOOK)]
    assert [n for n, it_is in enumerate(over, 1) if it_is] == [2 * slices.STEPS_A_LOOK]


def test_the_collector_returns_with_the_last_caller() -> None:
    assert gc.isenabled()
    with collector.paused():
        with collector.paused():
            assert not gc.isenabled()
        assert not gc.isenabled()
    assert gc.isenabled()
    with pytest.raises(ValueError, match="x"), collector.paused():
        raise ValueError("x")
    assert gc.isenabled()


def test_a_glance_sees_what_the_header_says() -> None:
    asset = AssetHead("app", "class", AssetState.STORED, "job", "input", 0, "o", b"page", 1.0, 3.0, 2.0, "§", b"leaf")
    job = JobHead("app", JobState.SUCCEEDED, 1.0, 5.0, page=b"p")
    seen = [glance(rows.encode(header, b"sealed")) for header in (asset, job)]
    assert [(row.type, row.state, row.due, row.page) for row in seen] == [
        ("asset", "stored", 2.0, b"page"),
        ("job", "succeeded", 5.0, b"p"),
    ]
    others = [SubjectHead("app", b"q", 1.0), Parked("t", 1, "r", 1.0, 7.0), Offsets({})]
    assert [glance(rows.encode(header)).type for header in others] == ["subject", "parked", "offsets"]
    assert glance(rows.encode(others[1])).due == 7.0
