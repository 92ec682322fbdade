"""Moves pixels so that control points land where they should, as rigidly as possible in between.

Schaefer, McPhail, Warren, "Image deformation using moving least squares" (SIGGRAPH 2006), rigid variant, solved
backwards (from the frame to the photo) on a coarse grid and interpolated: a frame costs one small matrix product.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

GRID_PX = 12
SOFTNESS_PX = 4.0
"""Control points attract no closer than this: two that nearly meet must not tear the picture."""

Complexes = NDArray[np.complex128]
Field = NDArray[np.float32]


class Warp:
    """A grid over one region of the picture. `x0, y0, x1, y1` in pixels, inside the picture."""

    def __init__(self, region: tuple[int, int, int, int]) -> None:
        self.region = region
        x0, y0, x1, y1 = region
        self._columns, self._rows = -(-(x1 - x0) // GRID_PX), -(-(y1 - y0) // GRID_PX)
        # Node centres as cv2.resize places them, so that enlarging the grid needs no further shift.
        x = x0 + (np.arange(self._columns) + 0.5) * GRID_PX - 0.5
        y = y0 + (np.arange(self._rows) + 0.5) * GRID_PX - 0.5
        self._nodes = (x[None, :] + 1j * y[:, None]).ravel()
        self._x, self._y = x, y
        self._weights = np.empty((0, 0, 0))

    def grid(self, target: Complexes, source: Complexes) -> Complexes:
        """For every node, where in the photo it comes from; `target` are the points' places in the frame."""
        middle = source.mean()
        p, q, v = target - middle, source - middle, self._nodes - middle
        weight = self._weighed(target)
        turn = np.conj(p) * q  # real part: dot product, imaginary part: cross product
        terms = np.stack([np.ones(len(p)), p.real, p.imag, q.real, q.imag, turn.real, turn.imag], 1)
        sums = weight @ terms
        total = sums[:, 0]
        p_mean = (sums[:, 1] + 1j * sums[:, 2]) / total
        q_mean = (sums[:, 3] + 1j * sums[:, 4]) / total
        rotation = (sums[:, 5] + 1j * sums[:, 6]) / total - np.conj(p_mean) * q_mean
        rotation /= np.abs(rotation) + 1e-9
        return np.asarray(rotation * (v - p_mean) + q_mean + middle)

    def _weighed(self, target: Complexes) -> NDArray[np.float64]:
        """Nodes x points: 1 / (square of the distance, softened) squared. The array is reused.

        Most of a frame's time was here: a grid's squares are few, so each weight is one sum, one product, one quotient.
        """
        shape = (len(self._y), len(self._x), len(target))
        if self._weights.shape != shape:
            self._weights = np.empty(shape)
        across = np.square(self._x[:, None] - target.real)
        down = np.square(self._y[:, None] - target.imag) + SOFTNESS_PX**2
        weight = np.add(across[None], down[:, None], out=self._weights)
        np.multiply(weight, weight, out=weight)
        np.reciprocal(weight, out=weight)
        return weight.reshape(-1, len(target))

    def field(self, target: Complexes, source: Complexes) -> Field:
        """The same for every pixel of the region: H x W x 2 float32 (x, y), as cv2.remap takes it."""
        nodes = self.grid(target, source)
        coarse = np.stack([nodes.real, nodes.imag], -1).astype(np.float32).reshape(self._rows, self._columns, 2)
        x0, y0, x1, y1 = self.region
        wide = cv2.resize(coarse, (self._columns * GRID_PX, self._rows * GRID_PX), interpolation=cv2.INTER_LINEAR)
        return np.asarray(wide[: y1 - y0, : x1 - x0], np.float32)
