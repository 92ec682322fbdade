"""Faces from frame to frame: looked for once, then followed by their own points, which costs a tenth."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from ray_cluster.device.face import Field, eyes
from ray_cluster.engines.features import MESH_POINTS
from ray_cluster.engines.litert import Detector, Model, crop, sigmoid

MAX_FACES: Final = 4
LOOK_EVERY: Final = 30
"""Frames after which it is looked for new faces."""
_MESH_SIDE: Final = 192
_GROWN: Final = 1.5  # the network wants a quarter more around a face on every side
_PRESENT: Final = 0.5
_CALM: Final = 0.004
"""Of the face's size: points that move less than this are shaking, not moving."""


class Faces:
    """The faces of one clip or camera. Not thread-safe."""

    def __init__(self, folder: Path) -> None:
        self._near = Detector(folder, "face_detection_short_range.tflite", 128, [(8, 2), (16, 6)], 6)
        self._far = Detector(folder, "face_detection_full_range_sparse.tflite", 192, [(4, 1)], 6)
        self._mesh = Model(folder, "face_landmark.tflite")
        self._followed: list[Field] = []
        self._frame = 0

    def __call__(self, rgb: NDArray[np.uint8]) -> list[Field]:
        """MESH_POINTS x 3 (x, y, z in pixels) of each face, largest first; `forget` before another scene."""
        if not self._followed or self._frame % LOOK_EVERY == 0:
            found = self._look(rgb)
        else:
            found = [again for points in self._followed if (again := self._follow(rgb, points)) is not None]
        self._followed = [self._calmed(points) for points in found]
        self._frame += 1
        return self._followed

    def forget(self) -> None:
        """Another scene."""
        self._followed, self._frame = [], 0

    def _look(self, rgb: NDArray[np.uint8]) -> list[Field]:
        near, far = self._near(rgb), self._far(rgb)
        boxes, keys, _ = far if len(far[0]) > len(near[0]) else near
        found = []
        for index in np.argsort(-(boxes[:, 2] - boxes[:, 0]))[:MAX_FACES]:
            low, high = boxes[index, :2], boxes[index, 2:]
            angle = float(np.arctan2(*(keys[index, 1] - keys[index, 0])[::-1]))
            points = self._points(
                rgb, np.asarray((low + high) / 2, np.float32), _GROWN * float((high - low).max()), angle
            )
            if points is not None:
                found.append(points)
        return found

    def _follow(self, rgb: NDArray[np.uint8], before: Field) -> Field | None:
        low, high = before[:, :2].min(0), before[:, :2].max(0)
        right, left = eyes(before)
        angle = float(np.arctan2(*(left - right)[::-1]))
        return self._points(rgb, np.asarray((low + high) / 2, np.float32), _GROWN * float((high - low).max()), angle)

    def _points(self, rgb: NDArray[np.uint8], centre: Field, size: float, angle: float) -> Field | None:
        patch, matrix = crop(rgb, centre, size, angle, _MESH_SIDE)
        outputs = self._mesh(patch)
        if float(sigmoid(outputs[1]).reshape(-1)[0]) < _PRESENT:
            return None
        mesh = outputs[MESH_POINTS * 3].reshape(-1, 3)
        flat = mesh[:, :2] @ matrix[:, :2].T + matrix[:, 2]
        return np.hstack([flat, mesh[:, 2:] * (size / _MESH_SIDE)]).astype(np.float32)

    def _calmed(self, points: Field) -> Field:
        """Mixed with the same face a frame ago, the more the less it moved."""
        size = float(np.ptp(points[:, 0])) or 1.0
        for before in self._followed:
            moved = float(np.abs(points[:, :2] - before[:, :2]).mean()) / size
            if moved < _CALM * 10:
                share = np.float32(min(1.0, 0.35 + moved / (_CALM * 4)))
                return np.asarray(before + (points - before) * share, np.float32)
        return points
