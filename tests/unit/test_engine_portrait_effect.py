from __future__ import annotations

from typing import get_args

import numpy as np
import pytest

from ray_cluster.engines import registry
from ray_cluster.engines.decode import decode
from ray_cluster.engines.errors import BadParams, NoPerson
from ray_cluster.engines.interface import Engine
from ray_cluster.engines.portrait_effect import Template
from tests.unit.photos import FACE, PORTRAIT, blank, moved, odd_ones, pixels, portrait, run

SHUTTLE = (slice(20, 200), slice(400, 490))


@pytest.fixture(scope="module")
def engine() -> Engine:
    made = registry.build("portrait_effect")
    made.load()
    return made


@pytest.fixture(scope="module")
def looks(engine: Engine) -> dict[str, np.ndarray]:
    return {name: pixels(engine, [PORTRAIT], template=name) for name in get_args(Template)}


def detail(picture: np.ndarray) -> float:
    grey = picture.astype(float).mean(-1)
    return float(np.abs(np.diff(grey, axis=1)).mean())


def test_templates_differ_and_keep_the_size(looks: dict[str, np.ndarray]) -> None:
    assert len(looks) >= 6
    names = list(looks)
    for at, name in enumerate(names):
        assert looks[name].shape == portrait().shape
        for other in names[at + 1 :]:
            assert moved(looks[name], looks[other]) > 4, (name, other)


def test_the_place_goes_out_of_focus_and_the_face_stays_sharp(looks: dict[str, np.ndarray]) -> None:
    photo = portrait()
    for name in ("studio", "bokeh", "golden"):
        assert detail(looks[name][SHUTTLE]) < 0.5 * detail(photo[SHUTTLE]), name
        assert detail(looks[name][FACE]) > 0.8 * detail(photo[FACE]), name


def test_nobody_leaves_a_halo(looks: dict[str, np.ndarray]) -> None:
    """The backdrop right beside the hair is what it is further away: no blur of the person reaches it."""
    studio = looks["studio"].astype(int)
    beside, away = studio[20:50, 120:140].mean((0, 1)), studio[20:50, 85:105].mean((0, 1))
    assert np.abs(beside - away).max() < 20


def test_noir_is_grey_and_frames_frame(looks: dict[str, np.ndarray]) -> None:
    assert np.ptp(looks["noir"].astype(int), axis=-1).max() < 16
    assert looks["film"][:6].max() < 40
    assert looks["polaroid"][-40:].min() > 220
    assert looks["polaroid"][:10].min() > 220


def test_grain_follows_the_seed(engine: Engine) -> None:
    one, same, other = (run(engine, [PORTRAIT], seed, template="noir").media for seed in (1, 1, 2))
    assert one == same
    assert one != other


def test_bad_input_is_named(engine: Engine) -> None:
    for size in ((1, 1), (300, 201), (5, 700)):
        with pytest.raises(NoPerson):
            run(engine, [blank(*size)])
    with pytest.raises(BadParams):
        run(engine, [PORTRAIT], template="vaporwave")


def test_unusual_pictures_are_composed(engine: Engine) -> None:
    for name, photo in odd_ones().items():
        template = "studio" if name == "huge" else "polaroid"
        made = run(engine, [photo], template=template)
        assert (made.height, made.width) == decode(photo).shape[:2] or name == "huge"
