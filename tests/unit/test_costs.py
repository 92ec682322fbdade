"""What a job is predicted to take: seeds first, then what attempts took; outliers and other machines."""

from __future__ import annotations

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ray_cluster.costs import CHANGED, ENOUGH, UNSEEN_S, WINDOW, Costs
from stream.events.lease import Size

SEEDS = {"style": 2.0, "dance": 10.0}
BIG = Size(megapixels=16.0)


def costs() -> Costs:
    return Costs(lambda operation, size: SEEDS[operation] * size.megapixels if operation in SEEDS else None)


def taught(seconds: list[float], operation: str = "style", size: Size | None = None) -> Costs:
    model = costs()
    for taken in seconds:
        model.learn(operation, size or Size(), taken)
    return model


def test_seeds_hold_until_enough_is_known() -> None:
    assert costs().predict("style", Size(megapixels=3.0)) == 6.0
    assert taught([8.0] * (ENOUGH - 1)).predict("style") == 2.0
    assert taught([8.0] * ENOUGH).predict("style") == 8.0


def test_an_operation_that_no_registry_knows_is_learnt_from_nothing() -> None:
    assert costs().predict("new") == UNSEEN_S
    model = taught([30.0] * ENOUGH, "new")
    assert model.predict("new") == 30.0
    assert model.predict("style") == 2.0  # it says nothing of the machine


def test_a_slower_machine_is_told_by_other_operations() -> None:
    assert taught([6.0] * ENOUGH).predict("dance") == 30.0


def test_each_size_learns_its_own_and_unseen_sizes_the_operations() -> None:
    model = taught([4.0] * 10)
    for _ in range(10):
        model.learn("style", BIG, 320.0)
    assert model.predict("style") == 4.0
    assert model.predict("style", BIG) == 320.0
    assert 4.0 < model.predict("style", Size(megapixels=4.0)) / 4 <= 20.0


def test_steps_and_frames_are_size_too() -> None:
    model = taught([1.0] * ENOUGH, size=Size(steps=4))
    for _ in range(ENOUGH):
        model.learn("style", Size(steps=30), 7.5)
    assert model.predict("style", Size(steps=4)) == 1.0
    assert model.predict("style", Size(steps=30)) == 7.5
    assert Size(megapixels=0.0, frames=0, steps=0).units > 0


def test_an_outlier_moves_little() -> None:
    model = taught([4.0] * 40)
    for _ in range(2):
        model.learn("style", Size(), 4000.0)
    assert model.predict("style") == pytest.approx(4.0)


def test_another_machine_is_learnt_in_a_few_attempts() -> None:
    rng = random.Random(1)
    model = taught([4.0 * rng.uniform(0.8, 1.2) for _ in range(WINDOW)])
    for _ in range(CHANGED):
        model.learn("style", Size(), 12.0 * rng.uniform(0.9, 1.1))
    assert model.predict("style") == pytest.approx(12.0, rel=0.1)
    for _ in range(3 * CHANGED):
        model.learn("style", Size(), 4.0 * rng.uniform(0.9, 1.1))
    assert model.predict("style") == pytest.approx(4.0, rel=0.1)


def test_quantiles_and_the_mean_of_a_skewed_operation() -> None:
    rng = random.Random(2)
    model = taught([rng.lognormvariate(1.0, 0.8) for _ in range(2000)])
    assert model.quantile("style", share=0.5) == pytest.approx(math.e, rel=0.35)
    assert model.quantile("style", share=0.5) < model.predict("style") < model.quantile("style", share=0.95)
    assert costs().quantile("style", share=0.9) == 2.0


def test_the_error_is_told_as_it_was_predicted() -> None:
    model = taught([4.0] * ENOUGH)
    assert model.learn("style", Size(), 2.0) == 2.0


@given(st.lists(st.floats(allow_nan=True, allow_infinity=True), max_size=100))
def test_whatever_is_told_predictions_stay_positive_numbers(told: list[float]) -> None:
    model = costs()
    for seconds in told:
        error = model.learn("style", Size(), seconds)
        assert error >= 0
    assert 0 < model.predict("style") < math.inf
