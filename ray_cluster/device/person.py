"""`segment`: where people are in a picture. `analysis`: what can be said of faces without knowing whose they are."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import cv2
import msgspec
import numpy as np
from numpy.typing import NDArray

from ray_cluster.device import face
from ray_cluster.device.face import Field
from ray_cluster.engines.decode import Pixels
from ray_cluster.engines.litert import Model

_SIDE: Final = 256
_EDGE: Final = 6.5  # variance, in levels squared, that an outline may follow
_CALM: Final = 0.6
"""Of a frame's mask; the rest is the frame before."""


class People:
    """The selfie network, frame after frame. Not thread-safe."""

    def __init__(self, folder: Path) -> None:
        self._net = Model(folder, "selfie_segmentation.tflite")
        self._before: Field | None = None

    def segment(self, picture: Pixels) -> NDArray[np.uint8]:
        """H x W, 0..255: how surely a pixel is a person's. Frames of one clip steady each other."""
        small = cv2.resize(picture, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA).astype(np.float32) / np.float32(255)
        found = self._net(small)[_SIDE * _SIDE].reshape(_SIDE, _SIDE)
        if self._before is not None:
            found = self._before + (found - self._before) * np.float32(_CALM)
        self._before = found
        height, width = picture.shape[:2]
        wide = cv2.resize(found, (width, height), interpolation=cv2.INTER_LINEAR)
        radius = max(2, round(max(height, width) / 160))
        edge = cv2.ximgproc.guidedFilter(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY), wide, radius, _EDGE)
        return np.asarray(np.rint(np.clip((edge - 0.15) / 0.7, 0, 1) * 255), np.uint8)

    def forget(self) -> None:
        """Another scene."""
        self._before = None


class FaceFacts(msgspec.Struct, frozen=True):
    """One face: box (x0, y0, x1, y1) in pixels; degrees it is turned (to its left), tilted (to its right), raised (up).

    Eyes and mouth: how far open, as height by width. `light`: 0..1, of its skin.
    """

    box: tuple[int, int, int, int]
    turned: float
    tilted: float
    raised: float
    right_eye_open: float
    left_eye_open: float
    mouth_open: float
    light: float


class Facts(msgspec.Struct, frozen=True):
    """What a picture holds: `person_share` of its pixels are people's."""

    width: int
    height: int
    person_share: float
    faces: tuple[FaceFacts, ...]


def analysis(picture: Pixels, faces: list[Field], people: NDArray[np.uint8]) -> Facts:
    """Facts of a picture with these faces and this mask of people."""
    height, width = picture.shape[:2]
    share = round(float((people > 127).mean()), 4)  # noqa: PLR2004 - half sure
    return Facts(width, height, share, tuple(_facts(picture, points) for points in faces))


def _facts(picture: Pixels, points: Field) -> FaceFacts:
    low, high = points[:, :2].min(0), points[:, :2].max(0)
    right, left = face.eyes(points)
    across, down = left - right, points[face.CHIN] - points[face.FOREHEAD]
    side = points[face.LEFT_SIDE] - points[face.RIGHT_SIDE]
    skin = face.skin(points, picture.shape) > 0.5  # noqa: PLR2004
    light = float(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)[skin].mean()) / 255 if skin.any() else 0.0
    return FaceFacts(
        box=(int(low[0]), int(low[1]), int(high[0]), int(high[1])),
        turned=_degrees(side[2], float(np.hypot(side[0], side[1]))),
        tilted=_degrees(across[1], across[0]),
        raised=_degrees(down[2], float(np.hypot(down[0], down[1]))),
        right_eye_open=_open(points, 159, 145, 33, 133),
        left_eye_open=_open(points, 386, 374, 263, 362),
        mouth_open=_open(points, 13, 14, 78, 308),
        light=round(light, 3),
    )


def _degrees(rise: float, run: float) -> float:
    return round(float(np.degrees(np.arctan2(rise, run))), 1)


def _open(points: Field, top: int, bottom: int, one: int, other: int) -> float:
    tall, wide = (float(np.hypot(*(points[a, :2] - points[b, :2]))) for a, b in ((top, bottom), (one, other)))
    return round(tall / max(wide, 1e-6), 3)
