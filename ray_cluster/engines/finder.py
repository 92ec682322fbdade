"""Finds faces with their mesh and people with their pose: MediaPipe's models (Apache-2.0)."""

from __future__ import annotations

import functools
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from ray_cluster.engines.features import MESH_POINTS, POSE_POINTS, Face, Features, Pose, mask_size, pack_mask
from ray_cluster.engines.litert import MIN_SCORE, Detector, Field, Model, crop, sigmoid

MAX_PEOPLE = 4
WEAK = 0.3
"""Below this a mask says nothing."""
SURE = 0.9
CLOSING = 0.012
"""Radius of the holes filled in a mask, as a share of the picture's longer side."""
_ANKLES = (27, 28)
_MESH_SIDE, _POSE_SIDE = 192, 256
_SEGMENT = _POSE_SIDE * _POSE_SIDE
_POSE_ROWS = 39 * 5
"""33 points and 6 auxiliary ones, each x, y, z, visibility, presence."""


class Finder:
    """All detection networks of the LiteRT pool. Not thread-safe."""

    def __init__(self, folder: Path) -> None:
        self._near = Detector(folder, "face_detection_short_range.tflite", 128, [(8, 2), (16, 6)], 6)
        self._far = Detector(folder, "face_detection_full_range_sparse.tflite", 192, [(4, 1)], 6)
        self._mesh = Model(folder, "face_landmark.tflite")
        self._people = Detector(folder, "pose_detection.tflite", 224, [(8, 2), (16, 2), (32, 6)], 4)
        self._pose = Model(folder, "pose_landmark_full.tflite")
        self._selfie = Model(folder, "selfie_segmentation.tflite")

    def __call__(self, rgb: NDArray[np.uint8]) -> Features:
        """Features of `rgb`, at most MAX_PEOPLE of each kind, largest first."""
        height, width = rgb.shape[:2]
        return Features(width=width, height=height, faces=self._find_faces(rgb), poses=self._find_poses(rgb))

    def _find_faces(self, rgb: NDArray[np.uint8]) -> tuple[Face, ...]:
        near, far = self._near(rgb), self._far(rgb)
        boxes, keys, scores = far if len(far[0]) > len(near[0]) else near
        order = np.argsort(-(boxes[:, 2] - boxes[:, 0]))[:MAX_PEOPLE]
        return tuple(self._face(rgb, boxes[i], keys[i], float(scores[i])) for i in order)

    def _face(self, rgb: NDArray[np.uint8], box: Field, keys: Field, score: float) -> Face:
        eyes = keys[1] - keys[0]
        size = 1.5 * float(max(box[2] - box[0], box[3] - box[1]))
        centre = (box[:2] + box[2:]) / 2
        patch, matrix = crop(rgb, centre, size, float(np.arctan2(eyes[1], eyes[0])), _MESH_SIDE)
        found = self._mesh(patch)
        mesh, presence = found[MESH_POINTS * 3].reshape(-1, 3), float(sigmoid(found[1].reshape(-1))[0])
        flat = mesh[:, :2] @ matrix[:, :2].T + matrix[:, 2]
        depth = mesh[:, 2:] * (size / _MESH_SIDE)
        x0, y0, x1, y1 = (float(v) for v in box)
        points = np.hstack([flat, depth]).astype(np.float32).tobytes()
        return Face(box=(x0, y0, x1, y1), score=score, mesh=points, presence=presence)

    def _find_poses(self, rgb: NDArray[np.uint8]) -> tuple[Pose, ...]:
        _, keys, _ = self._people(rgb)
        found = [pose for key in keys[:MAX_PEOPLE] if (pose := self._one_pose(rgb, key))]
        found.sort(key=lambda row: -float(row[2].sum()))
        alone = len(found) == 1
        return tuple(
            Pose(points=points.tobytes(), score=score, mask=pack_mask(self._outline(rgb, points, mask, alone=alone)))
            for points, score, mask in found
        )

    def _one_pose(self, rgb: NDArray[np.uint8], key: Field) -> tuple[Field, float, Field] | None:
        """Key 0 is the middle of the hips, key 1 a point on the circle around the whole person (BlazePose)."""
        up = key[1] - key[0]
        size = 2.5 * float(np.hypot(*up))
        patch, matrix = crop(rgb, key[0], size, float(np.arctan2(up[1], up[0]) + np.pi / 2), _POSE_SIDE)
        outputs = self._pose(patch)
        score = float(outputs[1].reshape(-1)[0])
        if score < MIN_SCORE:
            return None
        rows = outputs[_POSE_ROWS].reshape(-1, 5)[:POSE_POINTS]
        flat = rows[:, :2] @ matrix[:, :2].T + matrix[:, 2]
        depth = rows[:, 2:3] * (size / _POSE_SIDE)
        points = np.hstack([flat, depth, sigmoid(rows[:, 3:4])]).astype(np.float32)
        segment = sigmoid(outputs[_SEGMENT].reshape(_POSE_SIDE, _POSE_SIDE))
        # Masks are made at the size that they are kept in: on a large photo all else would take longer than detection.
        wide, high = mask_size(*rgb.shape[1::-1])
        matrix = np.diag([wide / rgb.shape[1], high / rgb.shape[0]]) @ matrix
        mask = cv2.warpAffine(segment, matrix, (wide, high), flags=cv2.INTER_LINEAR)
        return points, score, np.asarray(mask, np.float32)

    def _outline(self, rgb: NDArray[np.uint8], points: Field, mask: Field, *, alone: bool) -> Field:
        """The pose network's mask corrected by the selfie network's.

        Half a body, alone: the selfie network is far better there and takes what is held along; the pose network
        fills its weak spots. Otherwise it would take the neighbours or lose the limbs, so where the pose
        network is not sure both must agree.
        """
        x0, y0, x1, y1 = _around(mask)
        wide, high = rgb.shape[1] / mask.shape[1], rgb.shape[0] / mask.shape[0]
        part = rgb[int(y0 * high) : int(y1 * high) + 1, int(x0 * wide) : int(x1 * wide) + 1]
        patch = cv2.resize(part, (_POSE_SIDE, _POSE_SIDE), interpolation=cv2.INTER_AREA)
        segment = self._selfie(patch.astype(np.float32) / np.float32(255))[_SEGMENT].reshape(_POSE_SIDE, _POSE_SIDE)
        selfie = np.zeros_like(mask)
        selfie[y0:y1, x0:x1] = cv2.resize(segment, (x1 - x0, y1 - y0), interpolation=cv2.INTER_LINEAR)
        ankles = points[list(_ANKLES)]
        whole = bool((ankles[:, 3] > MIN_SCORE).all() and (ankles[:, 1] < rgb.shape[0]).all())
        if whole or not alone:
            return np.asarray(np.where(mask > SURE, mask, np.sqrt(mask * selfie)), np.float32)
        joined = np.where((selfie > WEAK) & (mask > SURE), mask, selfie)
        side = 2 * round(CLOSING * max(mask.shape)) + 1
        kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side))
        return np.asarray(cv2.morphologyEx(joined, cv2.MORPH_CLOSE, kernel), np.float32)


@functools.cache
def shared(folder: Path) -> Finder:
    """The process's one Finder: `detect` and `ai_dance` live in the same actor and take turns."""
    return Finder(folder)


def _around(mask: Field) -> tuple[int, int, int, int]:
    """The box of `mask` and a tenth more on every side."""
    height, width = mask.shape
    y, x = np.nonzero(mask > WEAK)
    if not len(x):
        return 0, 0, width, height
    pad = int(0.1 * max(np.ptp(x), np.ptp(y)))
    return (
        max(0, int(x.min()) - pad),
        max(0, int(y.min()) - pad),
        min(width, int(x.max()) + pad + 1),
        min(height, int(y.max()) + pad + 1),
    )
