from __future__ import annotations

import cv2
import numpy as np
import pytest
import skimage.data

from ray_cluster.engines import features, registry, samples_path
from ray_cluster.engines.decode import decode
from ray_cluster.engines.errors import BadParams, Cancelled, NoFace, Undecodable
from ray_cluster.engines.interface import Engine
from stream.errors import BadRequest
from tests.unit.photos import FACE, FAR, PORTRAIT, blank, moved, odd_ones, pixels, png, portrait, run

CHEEK = (145, 199)
"""Row and column of a spot of plain skin in the portrait."""


@pytest.fixture(scope="module")
def swapper() -> Engine:
    engine = registry.build("face_swap")
    engine.load()
    return engine


def marked() -> np.ndarray:
    """The portrait with a dark spot on the cheek, as a source that can be told from the target."""
    photo = portrait()
    cv2.circle(photo, CHEEK[::-1], 4, (60, 30, 25), -1, cv2.LINE_AA)
    return photo


def test_the_face_goes_over_and_nothing_else_changes(swapper: Engine) -> None:
    target, source = portrait(), marked()
    made = pixels(swapper, [png(source), png(target)])
    assert made.shape == target.shape
    y, x = CHEEK
    assert made[y - 2 : y + 3, x - 2 : x + 3].mean() < target[y - 2 : y + 3, x - 2 : x + 3].mean() - 60
    assert moved(made[FAR], target[FAR]) == 0
    hair = (slice(0, 50), slice(150, 290))
    assert moved(made[hair], target[hair]) < 0.5


def test_the_face_takes_the_light_of_the_target(swapper: Engine) -> None:
    bright = portrait()
    dim = (bright * [0.55, 0.5, 0.45]).astype(np.uint8)
    made = pixels(swapper, [png(bright), png(dim)])
    assert np.abs(made[FACE].mean((0, 1)) - dim[FACE].mean((0, 1))).max() < 6
    ramp = (bright * np.linspace(0.4, 1.0, 512)[None, :, None]).astype(np.uint8)
    made = pixels(swapper, [png(bright), png(ramp)])
    halves = [(slice(90, 170), slice(185, 210)), (slice(90, 170), slice(230, 255))]
    assert all(abs(made[half].mean() - ramp[half].mean()) < 8 for half in halves)


def test_what_is_in_front_of_the_face_stays_there(swapper: Engine) -> None:
    target = portrait()
    cv2.line(target, (60, 230), (215, 150), (60, 110, 200), 26)
    made = pixels(swapper, [png(marked()), png(target)])
    bar = np.zeros(target.shape[:2], np.uint8)
    cv2.line(bar, (60, 230), (215, 150), 255, 18)
    assert moved(made[bar > 0], target[bar > 0]) < 4


def test_each_face_is_swapped_when_asked(swapper: Engine) -> None:
    two = np.hstack([portrait(), portrait()[:, ::-1]])
    one_made = pixels(swapper, [png(marked()), png(two)])
    all_made = pixels(swapper, [png(marked()), png(two)], faces="all")
    sides = [FACE, (FACE[0], slice(1024 - 265, 1024 - 175))]
    assert sorted(moved(one_made[side], two[side]) > 0.8 for side in sides) == [False, True]
    assert all(moved(all_made[side], two[side]) > 0.8 for side in sides)


def test_features_of_the_face_may_come_along(swapper: Engine) -> None:
    kept = run(registry.build("detect"), [PORTRAIT]).media
    assert features.is_features(kept)
    assert not features.is_features(PORTRAIT)
    assert run(swapper, [PORTRAIT, PORTRAIT, kept]).media == run(swapper, [PORTRAIT, PORTRAIT]).media


def test_no_face_and_too_few_pictures_are_named(swapper: Engine) -> None:
    for inputs in ([blank(), PORTRAIT], [PORTRAIT, blank()], [PORTRAIT, blank(1, 1)]):
        with pytest.raises(NoFace) as caught:
            run(swapper, inputs)
        assert isinstance(caught.value, BadRequest)
        assert caught.value.kind == "no-face"
    with pytest.raises(NoFace, match="24 px"):
        run(swapper, [PORTRAIT, png(cv2.resize(portrait(), (100, 100), interpolation=cv2.INTER_AREA))])
    for inputs in ([PORTRAIT], []):
        with pytest.raises(BadRequest):
            run(swapper, inputs)
    with pytest.raises(Undecodable):
        run(swapper, [PORTRAIT, PORTRAIT[:5000]])
    with pytest.raises(BadParams):
        run(swapper, [PORTRAIT, PORTRAIT], faces="some")


def test_unusual_pictures_are_swapped(swapper: Engine) -> None:
    for name, photo in odd_ones().items():
        made = run(swapper, [PORTRAIT, photo])
        height, width = decode(photo).shape[:2]
        assert (made.width, made.height) == (width, height) or name == "huge"
        assert max(made.width, made.height) <= 2048


def test_cancel_stops_before_the_swap(swapper: Engine) -> None:
    seen: list[str] = []
    with pytest.raises(Cancelled):
        swapper.run(
            [PORTRAIT, PORTRAIT],
            {},
            seed=0,
            report=lambda stage, _: seen.append(stage),
            cancelled=lambda: "edit" in seen,
        )
    assert seen == ["decode", "detect", "edit"]


def test_a_cat_has_no_face_to_swap(swapper: Engine) -> None:
    cat = png(skimage.data.chelsea())
    assert run(registry.build("detect"), [cat]).facts["faces"] == 1  # it is treated as one by whoever keeps it
    with pytest.raises(NoFace):
        run(swapper, [cat, PORTRAIT])


def test_glasses_of_the_target_come_off_whole(swapper: Engine) -> None:
    wearer = decode(samples_path("hopper.jpg").read_bytes())
    made = pixels(swapper, [PORTRAIT, png(wearer)])
    rims = (slice(172, 205), slice(170, 355))
    dark = wearer[rims].max(-1) < 90
    assert dark.mean() > 0.15
    assert (made[rims].max(-1) < 90)[dark].mean() < 0.2  # new pupils are dark; with half a frame left it is 0.68


def test_what_hangs_into_a_face_is_no_glasses(swapper: Engine) -> None:
    strand = portrait()
    cv2.line(strand, (193, 60), (196, 175), (70, 50, 30), 7, cv2.LINE_AA)
    made = pixels(swapper, [png(marked()), png(strand)])
    hair = np.zeros(strand.shape[:2], np.uint8)
    cv2.line(hair, (193, 80), (196, 160), 255, 3)
    assert moved(made[hair > 0], strand[hair > 0]) < 6
