"""The 468 points of a face: which are what, and pictures moved by them."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

Field = NDArray[np.float32]
Box = tuple[int, int, int, int]

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
"""The line where the lips meet, or the hole between them."""
TOP = (127, 162, 21, 54, 103, 67, 109, 10, 338, 297, 332, 284, 251, 389, 356)
"""The forehead's part of the outline, from temple to temple."""
NOSE_TIP, CHIN, FOREHEAD, RIGHT_CHEEK, LEFT_CHEEK = 1, 152, 10, 234, 454
_SUBPIXEL_BITS = 4


def around(points: Field, share: float, shape: tuple[int, ...]) -> Box:
    """The box (x0, y0, x1, y1) of `points` and `share` of its size more on every side, inside a picture of `shape`."""
    low, high = points[:, :2].min(0), points[:, :2].max(0)
    pad = share * float((high - low).max())
    x0, y0 = (max(0, int(v - pad)) for v in low)
    x1, y1 = (min(side, int(v + pad) + 2) for v, side in zip(high, shape[1::-1], strict=True))
    return x0, y0, max(x0 + 1, x1), max(y0 + 1, y1)


def polygon(points: Field, indices: tuple[int, ...], shape: tuple[int, int]) -> NDArray[np.uint8]:
    """H x W, 255 inside the outline that `indices` of `points` draw."""
    mask = np.zeros(shape, np.uint8)
    outline = np.rint(points[list(indices), :2] * (1 << _SUBPIXEL_BITS)).astype(np.int32)
    cv2.fillPoly(mask, [outline], 255, cv2.LINE_8, _SUBPIXEL_BITS)
    return mask


def area(points: Field, indices: tuple[int, ...]) -> float:
    """Square pixels inside an outline."""
    return float(cv2.contourArea(np.ascontiguousarray(points[list(indices), :2], np.float32)))


def pull(places: Field, sources: Field, shape: tuple[int, int]) -> Field:
    """For every pixel of `shape`, where it comes from so that `sources` land on `places`: H x W x 2 (x, y) float32.

    Affine inside each triangle of a Delaunay triangulation of `places` (N x 2, like `sources`); pixels in no triangle
    come from where they are.
    """
    height, width = shape
    low = np.minimum(places.min(0), 0) - 1
    high = np.maximum(places.max(0), [width, height]) + 2
    plane = cv2.Subdiv2D((int(np.floor(low[0])), int(np.floor(low[1])), *(int(v) for v in np.ceil(high - low) + 1)))
    known: dict[tuple[float, float], int] = {}
    for number, place in enumerate(places.astype(np.float32)):
        key = (float(place[0]), float(place[1]))
        if key not in known:
            known[key] = number
            plane.insert(key)
    corners = np.asarray(plane.getTriangleList(), np.float32).reshape(-1, 3, 2)
    rows = [[known.get((float(x), float(y)), -1) for x, y in triangle] for triangle in corners]
    triangles = np.array([row for row in rows if min(row) >= 0], np.intp).reshape(-1, 3)
    which = np.full(shape, -1, np.int32)
    for number, triangle in enumerate(triangles):
        outline = np.rint(places[triangle] * (1 << _SUBPIXEL_BITS)).astype(np.int32)
        cv2.fillConvexPoly(which, outline, number, cv2.LINE_8, _SUBPIXEL_BITS)
    ones = np.ones((len(triangles), 3, 1))
    system = np.concatenate([places[triangles].astype(np.float64), ones], 2)
    # Slivers have no inverse worth having; the least-squares one is bounded.
    affine = np.linalg.pinv(system, rcond=1e-6) @ sources[triangles].astype(np.float64)
    y, x = np.mgrid[:height, :width].astype(np.float32)
    own = affine.astype(np.float32)[np.maximum(which, 0)] if len(triangles) else np.zeros((*shape, 3, 2), np.float32)
    field = x[..., None] * own[..., 0, :] + y[..., None] * own[..., 1, :] + own[..., 2, :]
    return np.where((which >= 0)[..., None], field, np.dstack([x, y])).astype(np.float32)
