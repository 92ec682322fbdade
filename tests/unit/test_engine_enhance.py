from __future__ import annotations

import cv2
import numpy as np
import pytest

from ray_cluster.engines import registry, samples_path
from ray_cluster.engines.decode import decode
from ray_cluster.engines.enhance import noise_of
from ray_cluster.engines.errors import BadParams, Cancelled, Undecodable
from ray_cluster.engines.interface import Engine, Result
from tests.clips import clip, pan, read

PORTRAIT = decode(samples_path("portrait.jpg").read_bytes())
FACE = np.ascontiguousarray(PORTRAIT[20:276, 100:356])


def png(rgb: np.ndarray) -> bytes:
    return cv2.imencode(".png", cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR))[1].tobytes()


def half(rgb: np.ndarray, noise: float = 0.0) -> np.ndarray:
    small = cv2.resize(rgb, (rgb.shape[1] // 2, rgb.shape[0] // 2), interpolation=cv2.INTER_AREA)
    return np.clip(small + np.random.default_rng(0).normal(0, noise, small.shape), 0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def engine() -> Engine:
    made = registry.build("quality_enhance")
    made.load()
    return made


def run(engine: Engine, media: bytes, **params: object) -> Result:
    return engine.run([media], params, seed=0, report=lambda *_: None, cancelled=lambda: False)


@pytest.mark.parametrize("noise", [0.0, 10.0])
def test_a_photo_comes_back_larger_and_nearer_the_truth_than_bicubic(engine: Engine, noise: float) -> None:
    small = half(FACE, noise)
    made = decode(run(engine, png(small), format="png").media)
    assert made.shape == FACE.shape
    bicubic = cv2.resize(small, FACE.shape[1::-1], interpolation=cv2.INTER_CUBIC)
    assert cv2.PSNR(made, FACE) > cv2.PSNR(bicubic, FACE) + 0.5


def test_a_jpeg_loses_its_blocks(engine: Engine) -> None:
    coded = cv2.imencode(".jpg", cv2.cvtColor(half(FACE), cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, 60])[
        1
    ].tobytes()
    bicubic = cv2.resize(decode(coded), FACE.shape[1::-1], interpolation=cv2.INTER_CUBIC)
    assert cv2.PSNR(decode(run(engine, coded, format="png").media), FACE) > cv2.PSNR(bicubic, FACE) + 0.5


def test_at_its_own_size_noise_goes(engine: Engine) -> None:
    noisy = np.clip(FACE + np.random.default_rng(0).normal(0, 12, FACE.shape), 0, 255).astype(np.uint8)
    made = decode(run(engine, png(noisy), scale=1, denoise="strong", format="png").media)
    assert made.shape == FACE.shape
    assert cv2.PSNR(made, FACE) > cv2.PSNR(noisy, FACE) + 3


def test_tiles_leave_no_seams(engine: Engine) -> None:
    y, x = np.mgrid[:300, :520]
    smooth = np.dstack([128 + 80 * np.sin(x / 60), 128 + 80 * np.cos(y / 50), (x + y) / 4]).astype(np.uint8)
    made = decode(run(engine, png(smooth), format="png").media).astype(int)
    across = np.abs(np.diff(made, axis=1)).mean((0, 2))
    cut = 2 * 520 // 3  # three tiles side by side
    assert across[cut - 3 : cut + 3].max() < 3 * np.median(across) + 1


def test_the_scale_fits_the_limit(engine: Engine) -> None:
    photo = png(np.full((40, 60, 3), 99, np.uint8))
    sizes = {asked: run(engine, photo, scale=asked).width for asked in (0, 1, 2, 4)}
    assert sizes == {0: 120, 1: 60, 2: 120, 4: 240}
    assert run(engine, photo, longer_side=64).width == 60
    assert run(engine, photo, longer_side=64, scale=4).width == 60
    assert run(engine, png(np.full((40, 200, 3), 99, np.uint8)), longer_side=100).width == 100


@pytest.mark.parametrize("shape", [(1, 1), (2, 90), (37, 53)])
def test_any_size_and_greys_are_enhanced(engine: Engine, shape: tuple[int, int]) -> None:
    grey = cv2.imencode(".png", np.full(shape, 90, np.uint8))[1].tobytes()
    made = decode(run(engine, grey, format="png").media)
    assert made.shape == (2 * shape[0], 2 * shape[1], 3)
    assert np.abs(made.astype(int) - 90).max() < 6


def test_noise_is_measured() -> None:
    flat = np.full((200, 200, 3), 128, np.uint8)
    for sigma in (0, 4, 12):
        grain = np.random.default_rng(0).normal(0, sigma, (200, 200, 1))
        assert abs(noise_of(np.clip(flat + grain, 0, 255).astype(np.uint8)) - sigma) < 0.15 * sigma + 0.1


def test_what_cannot_be_is_refused_by_name(engine: Engine) -> None:
    for params in ({"scale": 3}, {"denoise": "much"}, {"format": "gif"}, {"size": 2}):
        with pytest.raises(BadParams):
            run(engine, png(FACE), **params)
    with pytest.raises(Undecodable):
        run(engine, b"no picture")
    with pytest.raises(Cancelled):
        engine.run([png(FACE)], {}, seed=0, report=lambda *_: None, cancelled=lambda: True)


def test_a_clip_is_enhanced_with_its_sound(engine: Engine) -> None:
    views = pan(FACE, 3, (96, 64))
    result = run(engine, clip(views, sound="aac"))
    frames, sounds = read(result.media)
    assert (len(frames), result.width, result.height) == (3, 192, 128)
    assert sounds
    large = cv2.resize(views[0], (192, 128), interpolation=cv2.INTER_CUBIC)
    assert cv2.PSNR(frames[0], large) > 24
