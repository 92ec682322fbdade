from __future__ import annotations

import cv2
import numpy as np
import pytest

from ray_cluster.engines import registry, samples_path, weights
from ray_cluster.engines.alpha import refine
from ray_cluster.engines.backdrop import blurred
from ray_cluster.engines.decode import decode, fit
from ray_cluster.engines.errors import BadParams, Cancelled, Undecodable
from ray_cluster.engines.interface import Engine, Result
from ray_cluster.engines.salience import plain
from tests.clips import clip, pan, read

PORTRAIT = fit(decode(samples_path("portrait.jpg").read_bytes()), 320)


def png(rgb: np.ndarray) -> bytes:
    order = cv2.COLOR_RGBA2BGRA if rgb.ndim == 3 and rgb.shape[2] == 4 else cv2.COLOR_RGB2BGR
    return cv2.imencode(".png", cv2.cvtColor(rgb, order))[1].tobytes()


def rgba(media: bytes | bytearray) -> np.ndarray:
    return cv2.cvtColor(cv2.imdecode(np.frombuffer(media, np.uint8), cv2.IMREAD_UNCHANGED), cv2.COLOR_BGRA2RGBA)


def disc(noise: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """An orange disc with a soft rim before blue ground, and its true alpha."""
    y, x = np.mgrid[:240, :320]
    alpha = np.clip((80.5 - np.hypot(x - 160, y - 120)) / 4 + 0.5, 0, 1).astype(np.float32)[..., None]
    picture = np.array([230, 120, 30]) * alpha + np.array([40, 60, 160]) * (1 - alpha)
    picture = picture + np.random.default_rng(0).normal(0, noise, picture.shape)
    return np.clip(picture + 0.5, 0, 255).astype(np.uint8), alpha[..., 0]


@pytest.fixture(scope="module")
def engine() -> Engine:
    made = registry.build("cutout")
    made.load()
    return made


def run(engine: Engine, *inputs: bytes, **params: object) -> Result:
    return engine.run(inputs, params, seed=0, report=lambda *_: None, cancelled=lambda: False)


def test_a_rim_is_the_mixture_that_it_is() -> None:
    picture, truth = disc(noise=3)
    coarse = cv2.GaussianBlur((truth > 0.5).astype(np.float32), (0, 0), 3)
    alpha, colour = refine(picture, coarse)
    assert np.abs(alpha - truth).mean() < 0.25 * np.abs(coarse - truth).mean()
    rim = (truth > 0.2) & (truth < 0.8)
    assert np.abs(colour[rim] * 255 - (230, 120, 30)).mean() < 12  # the thing's own colour, nothing of the blue


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_nothing_and_everything_are_masks_too(value: float) -> None:
    alpha, colour = refine(PORTRAIT, np.full(PORTRAIT.shape[:2], value, np.float32))
    assert np.allclose(alpha, value)
    assert np.isfinite(colour).all()


def test_a_person_is_cut_out_with_what_they_hold(engine: Engine) -> None:
    result = run(engine, png(PORTRAIT))
    made = rgba(result.media)
    assert (result.media_type, made.shape) == ("image/png", (320, 320, 4))
    alpha = made[..., 3]
    assert alpha[100, 130] == alpha[250, 100] == 255  # face, suit
    assert alpha[60, 200] == alpha[20, 20] == 0  # wall, flag
    assert np.abs(made[alpha == 255][:, :3].astype(int) - PORTRAIT[alpha == 255]).mean() < 2
    assert not made[alpha == 0].any()


def test_the_matte_is_nearer_the_truth_than_the_plain_network(engine: Engine) -> None:
    picture, truth = disc(noise=2)
    alpha = rgba(run(engine, png(picture)).media)[..., 3] / 255
    network = np.frombuffer(weights.read(weights.directory(), "u2netp.onnx"), np.uint8)
    assert np.abs(alpha - truth).sum() < np.abs(plain(network, picture) - truth).sum()


def test_backgrounds_are_replaced(engine: Engine) -> None:
    photo = png(PORTRAIT)
    red = decode(run(engine, photo, background="colour", colour="#ff0000").media)
    assert red[60, 200].tolist() == [255, 0, 0]
    assert np.abs(red[100, 130].astype(int) - PORTRAIT[100, 130]).max() < 6
    soft = decode(run(engine, photo, background="blur", format="webp").media)
    sharp = [cv2.Laplacian(one[:80, 210:310], cv2.CV_64F).std() for one in (soft, PORTRAIT)]
    assert sharp[0] < 0.4 * sharp[1]
    other = np.zeros((50, 90, 3), np.uint8)
    other[..., 1] = 200
    before = decode(run(engine, photo, png(other), background="image", format="png").media)
    assert before.shape == PORTRAIT.shape
    assert before[60, 200].tolist() == [0, 200, 0]
    mask = decode(run(engine, photo, background="mask").media)
    assert (int(mask[60, 200, 0]), int(mask[100, 130, 0])) == (0, 255)


def test_a_blurred_background_holds_nothing_of_the_thing() -> None:
    picture, truth = disc()
    behind = blurred(picture, truth, 1.0)
    assert np.abs(behind.astype(int) - (40, 60, 160)).mean() < 8


@pytest.mark.parametrize("shape", [(1, 1), (2, 90), (37, 53)])
def test_any_size_is_cut_out(engine: Engine, shape: tuple[int, int]) -> None:
    made = rgba(run(engine, png(np.full((*shape, 3), 90, np.uint8))).media)
    assert made.shape == (*shape, 4)


def test_grey_and_alpha_are_taken(engine: Engine) -> None:
    grey = cv2.imencode(".png", PORTRAIT[..., 0])[1].tobytes()
    assert rgba(run(engine, grey).media).shape == (320, 320, 4)
    clear = np.dstack([PORTRAIT, np.full(PORTRAIT.shape[:2], 255, np.uint8)])
    assert rgba(run(engine, png(clear)).media)[100, 130, 3] == 255


def test_what_cannot_be_is_refused_by_name(engine: Engine) -> None:
    photo = png(PORTRAIT)
    for params in (
        {"format": "jpeg"},
        {"background": "image"},
        {"background": "colour", "colour": "red"},
        {"background": "beach"},
        {"blur": 0.0},
    ):
        with pytest.raises(BadParams):
            run(engine, photo, **params)
    with pytest.raises(Undecodable):
        run(engine, photo, b"no picture", background="image")
    with pytest.raises(Cancelled):
        engine.run([photo], {}, seed=0, report=lambda *_: None, cancelled=lambda: True)


def test_people_are_cut_out_of_clips_and_their_sound_is_kept(engine: Engine) -> None:
    source = clip(pan(PORTRAIT, 4, (240, 320), noise=3), sound="aac")
    result = run(engine, source)
    frames, sounds = read(result.media)
    assert len(frames) == 4
    assert sounds
    for index, frame in enumerate(frames):
        assert np.abs(frame[60, 200 - 2 * index].astype(int) - (0, 0xB1, 0x40)).max() < 12  # the wall
        face = frame[100, 130 - 2 * index].astype(int)
        assert np.abs(face - PORTRAIT[100, 130]).max() < 40
