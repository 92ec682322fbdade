"""One face's 468 points: which are what, masks of its parts, and its own coordinates."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

Field = NDArray[np.float32]

# MediaPipe's numbers; left and right are the person's own.
OVAL = (
    10, 338, 297, 332, 284, 251, 389, 356, 454, 323, 361, 288, 397, 365, 379, 378, 400, 377,
    152, 148, 176, 149, 150, 136, 172, 58, 132, 93, 234, 127, 162, 21, 54, 103, 67, 109,
)  # fmt: skip
RIGHT_EYE = (33, 7, 163, 144, 145, 153, 154, 155, 133, 173, 157, 158, 159, 160, 161, 246)
LEFT_EYE = (263, 249, 390, 373, 374, 380, 381, 382, 362, 398, 384, 385, 386, 387, 388, 466)
RIGHT_BROW = (70, 63, 105, 66, 107, 55, 65, 52, 53, 46)
LEFT_BROW = (300, 293, 334, 296, 336, 285, 295, 282, 283, 276)
LIPS = (61, 146, 91, 181, 84, 17, 314, 405, 321, 375, 291, 409, 270, 269, 267, 0, 37, 39, 40, 185)
MOUTH = (78, 95, 88, 178, 87, 14, 317, 402, 318, 324, 308, 415, 310, 311, 312, 13, 82, 81, 80, 191)
RIGHT_LID, LEFT_LID = (33, 246, 161, 160, 159, 158, 157, 173, 133), (263, 466, 388, 387, 386, 385, 384, 398, 362)
RIGHT_CHEEK, LEFT_CHEEK = 50, 280
RIGHT_SIDE, LEFT_SIDE, CHIN, FOREHEAD, NOSE_TIP = 234, 454, 152, 10, 1
_SUBPIXEL_BITS = 4


def polygon(points: Field, outline: tuple[int, ...], shape: tuple[int, ...]) -> NDArray[np.uint8]:
    """H x W, 255 inside the outline."""
    mask = np.zeros(shape[:2], np.uint8)
    place = np.rint(points[list(outline), :2] * (1 << _SUBPIXEL_BITS)).astype(np.int32)
    cv2.fillPoly(mask, [place], 255, cv2.LINE_8, _SUBPIXEL_BITS)
    return mask


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
