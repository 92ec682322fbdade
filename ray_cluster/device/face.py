"""One face's 468 points (`engines.mesh`) for live effects: masks of its parts, and its own coordinates."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from ray_cluster.engines import mesh

Field = NDArray[np.float32]


OVAL, LIPS, MOUTH = mesh.OVAL, mesh.LIPS, mesh.MOUTH
RIGHT_EYE, LEFT_EYE, RIGHT_BROW, LEFT_BROW = mesh.RIGHT_EYE, mesh.LEFT_EYE, mesh.RIGHT_BROW, mesh.LEFT_BROW
CHIN, FOREHEAD, RIGHT_SIDE, LEFT_SIDE = mesh.CHIN, mesh.FOREHEAD, mesh.RIGHT_CHEEK, mesh.LEFT_CHEEK
RIGHT_LID, LEFT_LID = (33, 246, 161, 160, 159, 158, 157, 173, 133), (263, 466, 388, 387, 386, 385, 384, 398, 362)
RIGHT_CHEEK, LEFT_CHEEK = 50, 280


def polygon(points: Field, outline: tuple[int, ...], shape: tuple[int, ...]) -> NDArray[np.uint8]:
    """H x W, 255 inside the outline."""
    return mesh.polygon(points, outline, (shape[0], shape[1]))


def soft(mask: NDArray[np.uint8], radius: float) -> Field:
    """0..1, its edge `radius` px wide."""
    side = 2 * max(1, round(radius)) + 1
    return np.asarray(cv2.GaussianBlur(mask, (side, side), 0), np.float32) / np.float32(255)


def skin(points: Field, shape: tuple[int, ...]) -> Field:
    """0..1: the face without eyes, brows and mouth."""
    size = width_of(points)
    inside = polygon(points, OVAL, shape)
    for part in (RIGHT_EYE, LEFT_EYE, RIGHT_BROW, LEFT_BROW, LIPS):
        part_mask = polygon(points, part, shape)
        side = 2 * max(1, round(size * 0.02)) + 1
        inside[cv2.dilate(part_mask, np.ones((side, side), np.uint8)) > 0] = 0
    return soft(inside, size * 0.035)


def width_of(points: Field) -> float:
    """From side to side, in pixels."""
    return float(np.hypot(*(points[LEFT_SIDE, :2] - points[RIGHT_SIDE, :2]))) or 1.0


def eyes(points: Field) -> tuple[Field, Field]:
    """The middles of the person's right and left eye (x, y)."""
    return points[list(RIGHT_EYE), :2].mean(0), points[list(LEFT_EYE), :2].mean(0)


def frame(points: Field) -> Field:
    """2 x 3, from the face's own coordinates to pixels: zero between the eyes, 1 from eye to eye, y to the chin."""
    right, left = eyes(points)
    across = left - right
    down = np.array([-across[1], across[0]], np.float32)
    return np.column_stack([across, down, (right + left) / 2]).astype(np.float32)


def box(points: Field, share: float, shape: tuple[int, ...]) -> tuple[slice, slice]:
    """Rows and columns around it, with `share` of its size more, inside a picture of `shape`."""
    low, high = points[:, :2].min(0), points[:, :2].max(0)
    pad = share * float((high - low).max())
    columns, rows = (
        slice(int(np.clip(a - pad, 0, side - 1)), int(np.clip(b + pad + 1, 1, side)))
        for a, b, side in zip(low, high, shape[1::-1], strict=True)
    )
    return rows, columns
