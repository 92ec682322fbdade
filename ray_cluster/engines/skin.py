"""What a face's skin looks like in a picture, light and all, and so which pixels in front of it are something else."""

from __future__ import annotations

import cv2
import msgspec
import numpy as np
from numpy.typing import NDArray

from ray_cluster.engines import mesh as face

Field = NDArray[np.float32]

SAMPLES = 4000
ROUNDS = 4
OUTLIER = 2.5
"""Standard deviations beyond which a sample is not skin: a strand, a brow, a shine."""
FLOORS, CAPS = np.array([9.0, 4.0, 4.0]), np.array([15.0, 6.5, 6.5])
"""The least and the most that one deviation of L, a and b (0..255 each) is: freckles are skin, hair is not."""
SURE, NEVER = 3.0, 5.5
"""Deviations up to which a pixel is skin, and from which it is not."""


class Skin(msgspec.Struct, frozen=True):
    """Lab as a quadratic of the place, fitted to one face; `spread` is the deviation around it."""

    centre: tuple[float, float]
    size: float
    terms: NDArray[np.float64]
    spread: NDArray[np.float64]

    def __repr__(self) -> str:
        """Nothing of the person."""
        return "Skin(…)"

    def likely(self, lab: Field, corner: tuple[int, int] = (0, 0)) -> Field:
        """H x W, 1 where `lab` (H x W x 3, L a b as 0..255) is this skin, 0 where it is not."""
        height, width = lab.shape[:2]
        u = (np.arange(width, dtype=np.float32) + np.float32(corner[0] - self.centre[0])) / np.float32(self.size)
        v = (np.arange(height, dtype=np.float32) + np.float32(corner[1] - self.centre[1]))[:, None] / self.size
        far = np.zeros((height, width), np.float32)
        for channel in range(3):
            c, cu, cv, cuu, cuv, cvv = (np.float32(term) for term in self.terms[:, channel])
            off = lab[..., channel] - (c + cu * u + cuu * u * u) - (cv * v + cvv * v * v) - (cuv * v) * u
            off /= np.float32(self.spread[channel])
            if not channel:
                # A dark pixel may be shade, which skin has; a bright one a shine: both count less than a wrong hue.
                off *= np.where(off > 0, np.float32(0.6), np.float32(0.9))
            far += off * off
        return np.asarray(np.clip((NEVER - np.sqrt(far)) / (NEVER - SURE), 0, 1), np.float32)


def learn(lab: Field, points: Field) -> Skin:
    """The skin of the face whose mesh `points` are in `lab`'s pixels."""
    inside = _plain(points, lab.shape[:2])
    y, x = np.nonzero(inside)
    if len(x) < 16:  # noqa: PLR2004 - too few to fit six terms
        y, x = (np.clip(points[:, axis].astype(int), 0, lab.shape[1 - axis] - 1) for axis in (1, 0))
    every = max(1, len(x) // SAMPLES)
    y, x = y[::every], x[::every]
    centre = (float(points[:, 0].mean()), float(points[:, 1].mean()))
    size = max(1.0, float(np.ptp(points[:, 1])))
    terms, colour = _terms(x, y, centre, size), lab[y, x].astype(np.float64)
    weight = np.ones(len(x))
    ridge = np.diag([0, 1e-2, 1e-2, 5e-2, 5e-2, 5e-2]) * len(x)
    off = (colour - np.median(colour, 0)) / (2 * CAPS)
    for _ in range(ROUNDS):
        weight = (np.sqrt(np.square(off).mean(1)) < OUTLIER).astype(float)
        if weight.sum() < 16:  # noqa: PLR2004
            weight = np.ones(len(x))
        fitted = np.linalg.solve(terms.T @ (terms * weight[:, None]) + ridge, terms.T @ (colour * weight[:, None]))
        rest = colour - terms @ fitted
        spread = np.clip(1.48 * np.median(np.abs(rest[weight > 0]), 0), FLOORS, CAPS)
        off = rest / spread
    return Skin(centre, size, fitted, spread)


def _terms(x: NDArray[np.intp], y: NDArray[np.intp], centre: tuple[float, float], size: float) -> NDArray[np.float64]:
    u, v = ((np.asarray(axis).ravel() - middle) / size for axis, middle in zip((x, y), centre, strict=True))
    return np.stack([np.ones_like(u), u, v, u * u, u * v, v * v], 1)


def _plain(points: Field, shape: tuple[int, int]) -> NDArray[np.bool_]:
    """The face below the brows, without eyes and mouth: above, a fringe would be learnt along with the forehead."""
    inside = face.polygon(points, face.OVAL, shape)
    brows = points[[*face.RIGHT_BROW, *face.LEFT_BROW], :2]
    top = points[list(face.TOP), :2]
    cv2.fillConvexPoly(inside, cv2.convexHull(np.rint(np.vstack([brows, top])).astype(np.int32)), 0)
    holes = np.zeros(shape, np.uint8)
    for part in (face.LEFT_EYE, face.RIGHT_EYE, face.LEFT_BROW, face.RIGHT_BROW, face.LIPS):
        holes |= face.polygon(points, part, shape)
    reach = 2 * max(1, round(0.03 * float(np.ptp(points[:, 1])))) + 1
    holes = np.asarray(cv2.dilate(holes, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (reach, reach))), np.uint8)
    return np.asarray((inside > 0) & (holes == 0))
