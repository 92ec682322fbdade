from __future__ import annotations

import cv2
import numpy as np
import pytest

from ray_cluster.engines import behind, registry, samples_path
from ray_cluster.engines.body import BodyParams, pull
from ray_cluster.engines.decode import decode
from ray_cluster.engines.errors import BadParams, NoPerson
from ray_cluster.engines.interface import Engine
from tests.unit.photos import FACE, FAR, PORTRAIT, blank, moved, odd_ones, pixels, portrait, run


@pytest.fixture(scope="module")
def engine() -> Engine:
    made = registry.build("body")
    made.load()
    return made


def orange(photo: np.ndarray) -> int:
    """Pixels of the suit in the rows of the chest."""
    rows = photo[300:420].astype(int)
    return int(((rows[..., 0] > 150) & (rows[..., 0] - rows[..., 2] > 90)).sum())


def detail(picture: np.ndarray) -> float:
    return float(np.abs(np.diff(picture[..., 0].astype(float), axis=1)).mean())


def test_the_body_changes_and_the_place_and_the_face_do_not(engine: Engine) -> None:
    photo = portrait()
    slim, broad = (pixels(engine, [PORTRAIT], width=width) for width in (-1.0, 1.0))
    assert orange(slim) < 0.95 * orange(photo)
    assert orange(broad) > 1.02 * orange(photo)
    for made in (slim, broad):
        assert moved(made[FACE], photo[FACE]) < 1.5
        assert moved(made[FAR], photo[FAR]) == 0
        assert moved(made[:200, :100], photo[:200, :100]) < 0.5


def test_height_moves_the_head_and_keeps_its_size(engine: Engine) -> None:
    photo = portrait()
    low = pixels(engine, [PORTRAIT], width=0.0, height=-1.0)
    template = cv2.cvtColor(photo[60:190, 175:265], cv2.COLOR_RGB2GRAY)
    found = cv2.matchTemplate(cv2.cvtColor(low, cv2.COLOR_RGB2GRAY), template, cv2.TM_CCOEFF_NORMED)
    _, score, _, (x, y) = cv2.minMaxLoc(found)
    assert score > 0.97
    assert abs(x - 175) <= 1
    assert y > 60 + 15
    high = pixels(engine, [PORTRAIT], width=0.0, height=1.0)
    assert moved(high[:2], photo[:2]) < 6  # the head does not leave the picture


def test_nothing_asked_is_nothing_done(engine: Engine) -> None:
    assert (pixels(engine, [PORTRAIT], width=0.0) == portrait()).all()


def test_a_pull_is_smooth_and_bounded() -> None:
    alpha = np.zeros((400, 300), np.uint8)
    alpha[40:400, 90:210] = 255
    points = np.zeros((33, 4), np.float32)
    points[:, 3] = 1
    for index, place in {0: (150, 70), 11: (200, 130), 12: (100, 130), 23: (180, 280), 24: (120, 280)}.items():
        points[index, :2] = place
    for wanted in (BodyParams(width=-1.0), BodyParams(width=1.0, height=1.0), BodyParams(width=0.0, height=-1.0)):
        field = pull(alpha, points, wanted)
        x = np.arange(300)
        assert np.abs(field[..., 0] - x).max() < 20
        # Never backwards: a fold would show a piece of the body twice.
        assert np.diff(field[..., 0], axis=1).min() > 0.3
        assert np.diff(field[..., 1], axis=0).min() > 0.3


def test_a_place_is_continued_as_sharp_as_it_is() -> None:
    noise = np.random.default_rng(3).standard_normal((240, 400)).astype(np.float32)
    grass = np.clip(128 + 60 * cv2.GaussianBlur(noise, (0, 0), 1.5) * 5, 0, 255).astype(np.uint8)
    photo = np.repeat(grass[..., None], 3, axis=2)
    hole = np.zeros(grass.shape, np.uint8)
    hole[60:180, 160:240] = 1
    photo[hole > 0] = (0, 255, 0)
    made = behind.continued(photo, hole)
    inside, outside = detail(made[64:176, 164:200]), detail(made[:, :150])
    assert 0.6 < inside / outside < 1.3
    assert abs(made[hole > 0].mean() - grass[hole == 0].mean()) < 15
    assert np.ptp(made.astype(int), axis=-1).max() < 6  # nothing of the green that stood there
    away = cv2.dilate(hole, np.ones((15, 15), np.uint8)) == 0
    assert (made[away] == photo[away]).all()
    assert (made == behind.continued(photo, hole)).all()


@pytest.mark.parametrize("size", [(1, 1), (3, 50), (9, 9), (200, 30)])
def test_a_place_that_is_all_hole_or_none_is_no_error(size: tuple[int, int]) -> None:
    photo = np.full((*size, 3), 90, np.uint8)
    for hole in (np.zeros(size, np.uint8), np.ones(size, np.uint8), (np.arange(size[0] * size[1]) % 2).reshape(size)):
        made = behind.continued(photo, hole.astype(np.uint8))
        assert made.shape == photo.shape
        assert np.abs(made.astype(int) - 90).max() <= 1


def test_bad_input_is_named(engine: Engine) -> None:
    for size in ((1, 1), (300, 201)):
        with pytest.raises(NoPerson):
            run(engine, [blank(*size)])
    for params in ({"width": -1.01}, {"height": "tall"}, {"slim": 1.0}):
        with pytest.raises(BadParams):
            run(engine, [PORTRAIT], **params)


def test_unusual_pictures_are_reshaped(engine: Engine) -> None:
    for name, photo in odd_ones().items():
        made = run(engine, [photo], width=-0.5, height=0.5)
        assert (made.height, made.width) == decode(photo).shape[:2] or name == "huge"


def test_nothing_is_pulled_in_from_beyond_the_border(engine: Engine) -> None:
    wearer = samples_path("hopper.jpg").read_bytes()
    before, made = decode(wearer), pixels(engine, [wearer], width=-1.0)
    border = (slice(420, 470), slice(495, 512))
    assert moved(made[border], before[border]) < 3
    sleeve = (slice(330, 590), slice(0, 120))
    assert moved(made[sleeve], before[sleeve]) > 5
