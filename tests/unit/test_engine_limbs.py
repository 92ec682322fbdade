from __future__ import annotations

import cv2
import numpy as np
import pytest

from ray_cluster.engines import limbs, rig
from ray_cluster.engines.ai_dance import Stage, move
from ray_cluster.engines.choreography import choreograph
from ray_cluster.engines.matte import Layers
from tests.unit.photos import moved

SHIRT, SLEEVE, LEGS, SKIN = (200, 190, 60), (150, 40, 45), (60, 60, 120), (220, 180, 150)
PLACES = {
    0: (200, 80), 7: (215, 80), 8: (185, 80), 9: (206, 92), 10: (194, 92),
    11: (240, 130), 12: (160, 130), 13: (290, 160), 14: (110, 160), 15: (330, 200), 16: (70, 200),
    17: (336, 208), 18: (64, 208), 19: (340, 210), 20: (60, 210), 21: (334, 204), 22: (66, 204),
    23: (225, 280), 24: (175, 280), 25: (228, 380), 26: (172, 380), 27: (230, 480), 28: (170, 480),
    29: (230, 490), 30: (170, 490), 31: (236, 494), 32: (164, 494),
}  # fmt: skip
ACROSS = {13: (265, 215), 15: (195, 240), 17: (186, 243), 19: (182, 244), 21: (188, 236)}
"""The left arm before the belly."""


def mannequin(places: dict[int, tuple[int, int]]) -> tuple[np.ndarray, np.ndarray]:
    """Points and a premultiplied layer, 560 x 400."""
    points = np.zeros((33, 4), np.float32)
    points[:, :2], points[:, 3] = (200, 84), 0.95
    for index, place in places.items():
        points[index, :2] = place
    layer = np.zeros((560, 400, 4), np.uint8)

    def stroke(a: int, b: int, width: int, colour: tuple[int, int, int]) -> None:
        cv2.line(layer, places[a], places[b], (*colour, 255), width)

    for side in (0, 1):
        stroke(23 + side, 27 + side, 40, LEGS)
    trunk = np.array([places[at] for at in (11, 12, 24, 23)])
    cv2.fillConvexPoly(layer, trunk, (*SHIRT, 255))
    cv2.line(layer, places[0], (200, 140), (*SKIN, 255), 26)
    cv2.circle(layer, places[0], 34, (*SKIN, 255), -1)
    for side in (1, 0):
        stroke(11 + side, 13 + side, 30, SLEEVE)
        stroke(13 + side, 15 + side, 30, SLEEVE)
        cv2.circle(layer, places[15 + side], 14, (*SKIN, 255), -1)
    return points, layer


def test_free_arms_become_layers_and_the_rest_has_none() -> None:
    points, layer = mannequin(PLACES)
    body = rig.build(points, None, layer[..., 3])
    rest, arms = limbs.split(layer, points, body)
    assert len(arms) == 2
    assert all(len(arm.rows) >= 7 for arm in arms)
    for arm, hand in zip(arms, (PLACES[15], PLACES[16]), strict=True):
        x, y = hand
        assert arm.layer[y, x, 3] == 255
        assert rest[y, x, 3] == 0
        assert arm.layer[80, 200, 3] == 0  # the head is no arm's
        assert arm.layer[430, 229, 3] == 0  # nor is a leg
    assert moved(rest[:120, 150:250], layer[:120, 150:250]) < 1
    assert moved(rest[300:], layer[300:]) == 0
    assert "layer" not in repr(arms[0])


def test_an_arm_before_the_trunk_leaves_its_cloth() -> None:
    points, layer = mannequin(PLACES | ACROSS)
    body = rig.build(points, None, layer[..., 3])
    rest, arms = limbs.split(layer, points, body)
    assert arms[0].front
    belly = rest[230:248, 205:222]
    assert belly[..., 3].min() == 255
    assert np.abs(belly[..., :3].astype(int) - SHIRT).max() < 20


def test_arms_that_are_folded_hidden_or_cut_off_stay_with_the_trunk() -> None:
    folded = {14: (135, 215), 16: (215, 236), 18: (222, 240), 20: (226, 241), 22: (220, 233)}
    points, layer = mannequin(PLACES | ACROSS | folded)
    body = rig.build(points, None, layer[..., 3])
    assert body.arms == body.forearms == (0.0, 0.0)
    rest, arms = limbs.split(layer, points, body)
    assert rest is layer
    assert arms == ()
    points, layer = mannequin(PLACES)
    unsure = points.copy()
    unsure[[15, 16], 3] = 0.6
    assert limbs.split(layer, unsure, rig.build(unsure, None, layer[..., 3]))[1] == ()
    half = layer[:270]
    assert limbs.split(half, points, rig.build(points, None, half[..., 3]))[1] == ()


@pytest.mark.parametrize("places", [PLACES, PLACES | ACROSS])
def test_a_dance_in_layers_keeps_the_place_and_the_arms_whole(places: dict[int, tuple[int, int]]) -> None:
    points, layer = mannequin(places)
    body = rig.build(points, None, layer[..., 3])
    rest, arms = limbs.split(layer, points, body)
    place = np.full((560, 400, 3), 90, np.uint8)
    place[::20] = 120
    stage = Stage(Layers(rest, place), body, arms)
    sleeves = []
    for frame in move(stage, choreograph(48, 3, "disco")):
        assert (frame[:, :20] == place[:, :20]).all()
        assert (frame[540:] == place[540:]).all()
        sleeves.append(int((np.abs(frame.astype(int) - SLEEVE).max(-1) < 25).sum()))
    assert min(sleeves) > 0.8 * max(sleeves)  # neither torn off nor smeared
    stage.wipe()
    assert not any(arm.layer.any() for arm in arms)
