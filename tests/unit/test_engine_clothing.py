from __future__ import annotations

from typing import get_args

import cv2
import numpy as np
import pytest

from ray_cluster.engines import fabric, registry, samples_path
from ray_cluster.engines.clothing_change import Style
from ray_cluster.engines.decode import decode
from ray_cluster.engines.errors import BadParams, NoGarment, NoPerson
from ray_cluster.engines.interface import Engine
from tests.unit.photos import FACE, FAR, PORTRAIT, blank, moved, odd_ones, pixels, png, portrait, run

CHEST = (slice(300, 400), slice(160, 240))
"""Orange cloth, with folds, and one patch."""
SLEEVE = (slice(280, 420), slice(60, 100))


@pytest.fixture(scope="module")
def change() -> Engine:
    engine = registry.build("clothing_change")
    engine.load()
    return engine


@pytest.fixture(scope="module")
def fashion() -> Engine:
    engine = registry.build("fashion")
    engine.load()
    return engine


def lab(rgb: np.ndarray) -> np.ndarray:
    return cv2.cvtColor(rgb, cv2.COLOR_RGB2LAB).astype(float)


def test_cloth_changes_and_skin_hair_and_place_do_not(change: Engine) -> None:
    photo, made = portrait(), pixels(change, [PORTRAIT], colour="#2a5f8f")
    assert made[SLEEVE][..., 2].mean() > made[SLEEVE][..., 0].mean() + 30
    assert photo[SLEEVE][..., 0].mean() > photo[SLEEVE][..., 2].mean() + 80
    assert moved(made[FACE], photo[FACE]) < 0.2
    assert moved(made[20:60, 160:290], photo[20:60, 160:290]) < 0.2  # hair
    assert moved(made[FAR], photo[FAR]) == 0


def test_folds_stay(change: Engine) -> None:
    photo = lab(portrait())[SLEEVE][..., 0].ravel()
    for colour in ("#2a5f8f", "#e8e4da", "#1c1c20"):
        made = lab(pixels(change, [PORTRAIT], colour=colour))[SLEEVE][..., 0].ravel()
        assert np.corrcoef(photo, made)[0, 1] > 0.8, colour
        assert made.std() > 1.5, colour


def test_the_colour_is_the_one_that_was_asked(change: Engine) -> None:
    for colour in ("#2a5f8f", "#2f6b4f", "#7a1c28"):
        made = pixels(change, [PORTRAIT], colour=colour)[SLEEVE]
        asked = lab(np.array([[fabric.rgb(colour)]], np.uint8))[0, 0]
        off = np.abs(np.median(lab(made).reshape(-1, 3), 0) - asked)
        assert off[1:].max() < 12, colour
        assert off[0] < 30, colour


def test_patterns_show_and_differ(change: Engine) -> None:
    made = [pixels(change, [PORTRAIT], pattern=pattern) for pattern in get_args(fabric.Pattern)]
    for at, one in enumerate(made):
        for other in made[at + 1 :]:
            assert moved(one[CHEST], other[CHEST]) > 3
        assert moved(one[FACE], portrait()[FACE]) < 0.2


def test_the_cloth_of_a_garments_picture_is_worn(change: Engine) -> None:
    green = np.full((300, 260, 3), 250, np.uint8)
    cv2.rectangle(green, (60, 60), (200, 260), (30, 120, 60), -1)
    made = pixels(change, [PORTRAIT, png(green)])
    chest = made[SLEEVE].reshape(-1, 3).mean(0)
    assert chest[1] > chest[0] + 25
    assert (fabric.swatch(green) == (30, 120, 60)).mean() > 0.9
    plain = np.full((40, 50, 3), 99, np.uint8)
    assert fabric.swatch(plain).shape == plain.shape


def test_styles_differ(fashion: Engine) -> None:
    made = [pixels(fashion, [PORTRAIT], style=style) for style in get_args(Style)]
    for at, one in enumerate(made):
        assert moved(one[FAR], portrait()[FAR]) == 0
        for other in made[at + 1 :]:
            assert moved(one[CHEST], other[CHEST]) > 3


def test_all_that_is_worn_is_more_than_its_main_cloth(change: Engine) -> None:
    photo = portrait()
    main, whole = (pixels(change, [PORTRAIT], part=part, colour="#20c020") for part in ("main", "all"))
    collar = (slice(180, 195), slice(195, 240))  # black, above the orange
    assert moved(main[collar], photo[collar]) < 3
    assert moved(whole[collar], photo[collar]) > 6


def test_bad_input_is_named(change: Engine) -> None:
    for size in ((1, 1), (300, 201)):
        with pytest.raises(NoPerson):
            run(change, [blank(*size)])
    close_up = portrait()[62:185, 172:268]
    with pytest.raises((NoGarment, NoPerson)):
        run(change, [png(cv2.resize(close_up, None, fx=4, fy=4, interpolation=cv2.INTER_CUBIC))])
    for params in ({"colour": "blue"}, {"colour": "#12345"}, {"pattern": "paisley"}, {"part": "hat"}):
        with pytest.raises(BadParams):
            run(change, [PORTRAIT], **params)


def test_unusual_pictures_are_dressed(change: Engine) -> None:
    for name, photo in odd_ones().items():
        made = run(change, [photo], pattern="checks")
        assert (made.height, made.width) == decode(photo).shape[:2] or name == "huge"


def test_all_of_a_dark_jacket_and_of_its_collar_changes(change: Engine) -> None:
    wearer = samples_path("hopper.jpg").read_bytes()
    before, made = decode(wearer), pixels(change, [wearer], colour="#2a5f8f")
    for collar in ((slice(327, 335), slice(333, 343)), (slice(328, 335), slice(187, 195))):
        assert before[collar].mean() < 40
        assert made[collar][..., 2].mean() > made[collar][..., 0].mean() + 40
    hat = (slice(120, 150), slice(180, 340))
    assert moved(made[hat], before[hat]) < 0.2


def test_shade_and_what_straps_part_is_the_same_cloth(change: Engine) -> None:
    made = pixels(change, [PORTRAIT], colour="#2a5f8f")
    for spot in ((slice(428, 440), slice(276, 283)), (slice(342, 356), slice(34, 42))):
        assert portrait()[spot][..., 0].mean() > portrait()[spot][..., 2].mean() + 60
        assert made[spot][..., 2].mean() > made[spot][..., 0].mean() + 30


def test_stripes_on_dark_cloth_run_straight_past_a_badge() -> None:
    noise = np.random.default_rng(1).normal(0, 3, (320, 320, 1))
    photo = np.clip(14 + noise, 0, 255).astype(np.uint8).repeat(3, 2)
    badge = (slice(120, 150), slice(90, 150))
    photo[badge] = 230
    alpha = np.ones((320, 320), np.float32)
    alpha[badge] = 0
    body = np.zeros((33, 4), np.float32)
    body[11:13], body[23:25] = [[250, 40, 0, 1], [70, 40, 0, 1]], [[220, 400, 0, 1], [100, 400, 0, 1]]
    made = fabric.dress(photo, alpha, body, fabric.Cloth((176, 32, 48), "stripes"))[..., 1].astype(float)
    light = made > 120
    straight = np.median(light, 0) > 0
    off = (light != straight) & (alpha > 0)
    assert 0.2 < straight.mean() < 0.5
    assert off[100:170, 70:170].mean() < 0.02  # torn by the badge's brightness it was 0.13
