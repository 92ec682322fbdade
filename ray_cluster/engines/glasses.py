"""Glasses on a face: where they are, and the face without them."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from ray_cluster.engines import mesh as face
from ray_cluster.engines.decode import Pixels

Field = NDArray[np.float32]
Mask = NDArray[np.uint8]

ABOVE, BELOW = 0.03, 0.14
"""Of the face's height, above the brows and below the eyes: a frame lies between, hair and hands go on beyond."""
ACROSS = 0.12
"""Of an eye's width: a hinge reaches so far past its outer corner; what ends so far before it may be the other one."""
ARM = 0.09
"""Of the face's height, beyond its outline: so much of the arms is seen before hair or ears."""
LIKE = 40.0
"""Of L, a and b (0..255): an arm is this near to the colour of its hinge."""
RIM = 0.012
"""Of the face's height: a frame's soft edge."""


def find(over: Mask, likely: Field, points: Field, lab: Field) -> tuple[Mask, Mask]:
    """Of the glasses that the face with mesh `points` wears: what is seen of them, and all that lies behind or in them.

    H x W each, 255 or 0; all 0 if it wears none. `over` is 255 where something that comes from beyond the face lies
    over its skin, `likely` how likely a pixel is skin. Hair comes in as well, but not at the height of the eyes alone
    and past an eye's corner.
    """
    shape = (over.shape[0], over.shape[1])
    none = np.zeros(shape, np.uint8)
    inside = face.polygon(points, face.OVAL, shape)
    count, labels = cv2.connectedComponents(over & inside)
    eyes = [points[list(part), :2] for part in (face.RIGHT_EYE, face.LEFT_EYE)]
    along, down, turn = _axes(eyes, shape)
    band = _band(points, down, turn)
    hinges, sure = [], False
    for number in range(1, count):
        here = labels == number
        if not band[here].all():
            continue
        first, last = float(along[here].min()), float(along[here].max())
        for outwards, eye in zip((-1, 1), eyes, strict=True):
            spread = eye @ turn[0] * outwards
            corner, some = float(spread.max()), ACROSS * float(np.ptp(spread))
            inner, outer = min(first * outwards, last * outwards), max(first * outwards, last * outwards)
            if outer > corner and inner < corner + some:
                hinges.append(here)
                sure |= inner < corner - some
    if not sure:
        return none, none
    size = float(np.ptp(points[:, 1]))
    near = _grown(inside, ARM * size) > 0
    arms = np.zeros(shape, bool)
    for here in hinges:
        level = (down >= down[here].min()) & (down <= down[here].max())
        arms |= near & level & (inside == 0) & (np.abs(lab - np.median(lab[here], 0)).max(-1) < LIKE)
    frame = np.any(hinges, 0)
    within = np.concatenate([np.argwhere(frame)[:, ::-1], *eyes]).astype(np.int32)
    whole = none.copy()
    cv2.fillConvexPoly(whole, cv2.convexHull(within), 255)
    whole = _grown(whole, 2 * RIM * size)
    seen = frame | arms | ((whole > 0) & (likely < 0.5))  # noqa: PLR2004
    return _grown(seen.astype(np.uint8) * np.uint8(255), RIM * size), whole


def taken_off(rgb: Pixels, seen: Mask) -> Pixels:
    """`rgb` with what is around `seen` continued over it."""
    return np.asarray(cv2.inpaint(rgb, seen, 3, cv2.INPAINT_TELEA), np.uint8)


def _axes(eyes: list[Field], shape: tuple[int, int]) -> tuple[Field, Field, Field]:
    """Each pixel's place along the line through both eyes and across it, H x W each, and the two directions."""
    right = eyes[1].mean(0) - eyes[0].mean(0)
    right = right / max(1e-6, float(np.hypot(*right)))
    turn = np.array([right, [-right[1], right[0]]], np.float32)
    y, x = np.mgrid[: shape[0], : shape[1]].astype(np.float32)
    return x * turn[0, 0] + y * turn[0, 1], x * turn[1, 0] + y * turn[1, 1], turn


def _band(points: Field, down: Field, turn: Field) -> NDArray[np.bool_]:
    """Where a frame may be: from a little above the brows to a little below the eyes."""
    size = float(np.ptp(points[:, 1]))
    brows = points[[*face.RIGHT_BROW, *face.LEFT_BROW], :2] @ turn[1]
    eyes = points[[*face.RIGHT_EYE, *face.LEFT_EYE], :2] @ turn[1]
    top, foot = float(brows.min()) - ABOVE * size, float(eyes.max()) + BELOW * size
    return np.asarray((down >= top) & (down <= foot))


def _grown(mask: Mask, radius: float) -> Mask:
    side = 2 * max(1, round(radius)) + 1
    return np.asarray(cv2.dilate(mask, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side))), np.uint8)
