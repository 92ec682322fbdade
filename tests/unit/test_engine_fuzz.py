"""A short run of `python -m tests.fuzz`, and that it would see what it looks for."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from ray_cluster.engines import confine
from ray_cluster.engines.errors import EngineFault
from tests import fuzz

ROUNDS = 250


@pytest.fixture(scope="module", autouse=True)
def child() -> Iterator[None]:
    confine.turn_on()
    yield
    confine.turn_off()


def test_broken_files_are_read_or_refused_by_name() -> None:
    ends = fuzz.rounds(1, lambda number: number < ROUNDS)
    for end in ("_still: done", "_still: undecodable-media", "_clip: done", "_sound: done", "_listen: done"):
        assert ends[end] > 0


def test_good_files_are_all_read() -> None:
    for name, media in fuzz.seeds().items():
        ends = fuzz.look(media)
        assert name == "too long" or all(end.endswith(": done") for end in ends), (name, ends)


def test_a_seed_breaks_a_file_in_the_same_way() -> None:
    good = [*fuzz.seeds().values()]
    one, same, other = (fuzz.broken(np.random.default_rng([1, number]), good) for number in (5, 5, 6))
    assert one == same != other


@pytest.mark.parametrize("wrong", [KeyError("x"), EngineFault("x"), None])
def test_a_crash_a_nameless_error_and_a_wild_answer_are_found(
    wrong: Exception | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def decode(_: bytes) -> np.ndarray:
        if wrong is None:
            return np.zeros((1, 1, 4), np.uint8)
        raise wrong

    monkeypatch.setattr(fuzz, "decode", decode)
    with pytest.raises(fuzz.WildError) as found:
        fuzz.rounds(3, lambda number: number < 1)
    assert found.value.__notes__ == ["--seed 3 --round 0"]
