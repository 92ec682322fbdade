"""The imperceptible mark: read back after what happens to pictures, and read nowhere else."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.quality import labels as checks
from ray_cluster.engines import samples_path
from ray_cluster.labels import watermark
from ray_cluster.labels.stamp import PixelStamp

PORTRAIT = cv2.cvtColor(cv2.imread(str(samples_path("portrait.jpg"))), cv2.COLOR_BGR2RGB)


def drawing(height: int, width: int, seed: int = 1) -> np.ndarray:
    """Flat shapes with hard edges and a gradient: what an engine of looks might make."""
    random = np.random.default_rng(seed)
    picture = np.linspace(40, 200, width, dtype=np.uint8)[None, :, None].repeat(height, 0).repeat(3, 2).copy()
    for _ in range(30):
        centre = tuple(int(random.integers(0, side)) for side in (width, height))
        colour = tuple(int(value) for value in random.integers(0, 256, 3))
        cv2.circle(picture, centre, int(random.integers(5, height // 4)), colour, -1)
    return picture


PICTURES = [PORTRAIT, drawing(640, 480), cv2.resize(PORTRAIT, (1500, 900)), PORTRAIT[:300, :200].copy()]


def marked(picture: np.ndarray) -> np.ndarray:
    copy = picture.copy()
    PixelStamp("").still(copy)
    return copy


def read(picture: np.ndarray) -> watermark.Found:
    return watermark.read(cv2.cvtColor(np.ascontiguousarray(picture), cv2.COLOR_RGB2GRAY))


@pytest.mark.parametrize(
    "check", [checks.label_survives_jpeg60, checks.label_survives_resize, checks.label_found_unmarked]
)
def test_the_quality_checks_hold(check: object) -> None:
    name, value, bar, ok = check(PICTURES)
    assert ok, (name, value, bar)


@pytest.mark.parametrize("picture", PICTURES)
def test_nobody_sees_it(picture: np.ndarray) -> None:
    assert cv2.PSNR(picture, marked(picture)) > 40
    assert np.abs(marked(picture).astype(int) - picture).max() <= 16


def test_it_is_read_whole_and_says_the_same_for_everybody() -> None:
    first, second = read(marked(PICTURES[0])), read(marked(PICTURES[1]))
    assert first.bits == second.bits == watermark.PAYLOAD
    assert (first.errors, first.ours) == (0, True)
    assert first.margin > 0.3


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(128, 400), st.integers(128, 400))
def test_any_32_bits_are_carried_at_any_size(payload: int, height: int, width: int) -> None:
    luma = cv2.cvtColor(cv2.resize(PORTRAIT, (width, height)), cv2.COLOR_RGB2GRAY)
    added = watermark.residual(luma, payload=payload)
    assert added.shape == luma.shape
    carrying = np.clip(np.rint(luma + added), 0, 255).astype(np.uint8)
    assert watermark.read(carrying, payload=payload).bits == payload


def test_chance_does_not_make_one() -> None:
    random = np.random.default_rng(7)
    for _ in range(100):
        assert not watermark.judge(random.normal(size=32).astype(np.float32)).ours


def test_where_nothing_shows_nothing_is_added() -> None:
    alpha = np.zeros((512, 512), np.uint8)
    cv2.ellipse(alpha, (256, 256), (150, 230), 0, 0, 360, 255, -1)
    cutout = np.dstack([PORTRAIT, alpha])
    PixelStamp("").still(cutout)
    assert np.array_equal(cutout[..., 3], alpha)
    assert np.array_equal(cutout[alpha == 0][:, :3], PORTRAIT[alpha == 0])
    luma = cv2.cvtColor(np.ascontiguousarray(cutout[..., :3]), cv2.COLOR_RGB2GRAY)
    assert watermark.read(luma, alpha).ours


def test_what_is_too_small_bears_none() -> None:
    tiny = PORTRAIT[:127, :127].copy()
    assert np.array_equal(marked(tiny), tiny)
