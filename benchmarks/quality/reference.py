"""Who is who, by a judge that no engine uses: dlib's face detector, landmarks and ResNet."""

from __future__ import annotations

from typing import Any

import cv2
import dlib
import msgspec
import numpy as np
from numpy.typing import NDArray

from benchmarks.photos import Pixels
from ray_cluster.engines import weights

SAME_PERSON = 0.6
"""Distance up to which dlib takes two faces for one person's (its own figure, 99.4 % on LFW)."""
SURELY = 0.3
"""Score from which a face is one: a round patch on a sleeve gets 0.15, faces from the front 1.5."""
SMALLEST_PX = 800
"""The detector wants faces of 80 px: smaller pictures are looked at enlarged."""


class Face(msgspec.Struct, frozen=True):
    """A face: its box as shares of the picture (x0, y0, x1, y1), and 128 numbers."""

    box: tuple[float, float, float, float]
    numbers: NDArray[np.float64]

    def distance(self, other: Face) -> float:
        """0 for the same picture; up to SAME_PERSON for one person."""
        return float(np.linalg.norm(self.numbers - other.numbers))


class Judge:
    """The three models."""

    def __init__(self) -> None:
        folder = weights.directory()
        self._find = dlib.get_frontal_face_detector()
        self._points = dlib.shape_predictor(str(weights.verified(folder, "shape_predictor_5_face_landmarks.dat")))
        net = str(weights.verified(folder, "dlib_face_recognition_resnet_model_v1.dat"))
        self._net = dlib.face_recognition_model_v1(net)

    def faces(self, rgb: Pixels) -> list[Face]:
        """All that the detector finds."""
        rgb = _enlarged(rgb)
        return [self._face(rgb, box) for box in self._found(rgb)]

    def at(self, rgb: Pixels, face: Face) -> Face:
        """The face where `face` was in another version of the picture: the detector's own, if it finds one there."""
        rgb = _enlarged(rgb)
        height, width = rgb.shape[:2]
        x0, y0, x1, y1 = (round(v * side) for v, side in zip(face.box, (width, height) * 2, strict=True))
        found = [box for box in self._found(rgb) if _overlap(box, dlib.rectangle(x0, y0, x1, y1))]
        return self._face(rgb, found[0] if found else dlib.rectangle(x0, y0, x1, y1))

    def _found(self, rgb: Pixels) -> list[Any]:
        boxes, _, _ = self._find.run(rgb, 0, SURELY)
        return list(boxes)

    def _face(self, rgb: Pixels, box: Any) -> Face:
        height, width = rgb.shape[:2]
        numbers = np.array(self._net.compute_face_descriptor(rgb, self._points(rgb, box)))
        return Face((box.left() / width, box.top() / height, box.right() / width, box.bottom() / height), numbers)


def _enlarged(rgb: Pixels) -> Pixels:
    scale = SMALLEST_PX / max(rgb.shape[:2])
    if scale <= 1:
        return np.ascontiguousarray(rgb)
    return np.asarray(cv2.resize(rgb, None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC), np.uint8)


def _overlap(one: Any, other: Any) -> bool:
    return bool(one.intersect(other).area() > 0.3 * other.area())
