"""Eyes that close and open: the lid's own skin drawn over the eye."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from ray_cluster.engines import mesh as face
from ray_cluster.engines.eyes import OPEN

Field = NDArray[np.float32]
Layer = NDArray[np.uint8]

CLOSING, SHUT, OPENING = 3, 1, 4
"""Frames of a blink at 24 a second."""
SHUTS = 0.96
"""Of the eye's opening: a lid that closed to the last pixel would show a line of eye below its lashes."""
LID = 1.35
"""How much skin above the eye is drawn down, in openings of the eye."""
BROW_ROOM = 0.75
"""Of the way up to the brow: the brow itself stays."""
_UPPER = {True: (33, 246, 161, 160, 159, 158, 157, 173, 133), False: (362, 398, 384, 385, 386, 387, 388, 466, 263)}
_LOWER = {True: (33, 7, 163, 144, 145, 153, 154, 155, 133), False: (362, 382, 381, 380, 374, 373, 390, 249, 263)}
_BROWS = {True: (53, 52, 65), False: (283, 282, 295)}


class Lid:
    """One eye of the face with `mesh` (N x 2 or 3, pixels), ready to be closed in pictures of that size."""

    def __init__(self, mesh: Field, *, right: bool) -> None:
        upper, lower = (mesh[list(part[right]), :2].astype(np.float64) for part in (_UPPER, _LOWER))
        self._origin = upper[0]
        along = upper[-1] - upper[0]
        self.width = max(1.0, float(np.hypot(*along)))
        # Towards the other corner and up; a mirrored photo has its corners the other way round.
        self._across = along / self.width
        self._up = np.array([self._across[1], -self._across[0]]) * (1 if along[0] >= 0 else -1)
        self._upper, self._lower = (self._own(part) for part in (upper, lower))
        brow = self._own(mesh[list(_BROWS[right]), :2].astype(np.float64))[:, 1].min()
        self.opening = float((self._upper[:, 1] - self._lower[:, 1]).max())
        self._room = max(1.0, min(LID * self.opening, BROW_ROOM * (brow - float(self._upper[:, 1].max()))))

    @property
    def closable(self) -> bool:
        """Whether the eye is open, and large enough to see it close."""
        return self.opening > max(1.5, OPEN * self.width)

    def box(self, shape: tuple[int, ...]) -> face.Box:
        """Where anything changes."""
        points = np.array([self._upper[0], self._upper[-1], [0, self._upper[:, 1].max() + self._room]])
        places = self._origin + points[:, :1] * self._across + points[:, 1:] * self._up
        low = self._origin + self._lower.mean(0)[0] * self._across + (self._lower[:, 1].min() - 2) * self._up
        far = self._origin + self.width * self._across + (self._upper[:, 1].max() + self._room) * self._up
        return face.around(np.vstack([places, low, far]).astype(np.float32), 0.05, shape)

    def close(self, layer: Layer, degree: float) -> None:
        """Draws the lid over the eye in `layer`, in place; `degree` 0 is open, 1 is shut."""
        x0, y0, x1, y1 = self.box(layer.shape)
        y, x = (axis.astype(np.float64) for axis in np.mgrid[y0:y1, x0:x1])
        at = (x - self._origin[0]) * self._across[0] + (y - self._origin[1]) * self._across[1]
        high = (x - self._origin[0]) * self._up[0] + (y - self._origin[1]) * self._up[1]
        upper = np.interp(at, self._upper[:, 0], self._upper[:, 1])
        lower = np.interp(at, self._lower[:, 0], self._lower[:, 1])
        inside = (at > 0) & (at < self.width)
        edge = upper + (lower - upper) * degree * SHUTS
        top = upper + self._room
        # Between the edge of the lid and its fixed upper end, skin is stretched; below the edge the eye is as it was.
        source = top - (top - high) * self._room / np.maximum(top - edge, 1e-6)
        lid = inside & (high >= edge) & (high <= top)
        shift = np.where(lid, source - high, 0)
        field_x = (x + shift * self._up[0]).astype(np.float32)
        field_y = (y + shift * self._up[1]).astype(np.float32)
        drawn = cv2.remap(layer, field_x, field_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        soft = cv2.GaussianBlur(lid.astype(np.float32), (0, 0), 0.6)[..., None]
        part = layer[y0:y1, x0:x1]
        part[:] = (part + (drawn.astype(np.float32) - part) * soft + 0.5).astype(np.uint8)

    def _own(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """Along the eye and up from it, by the way along."""
        away = points - self._origin
        own = np.stack([away @ self._across, away @ self._up], 1)
        return own[np.argsort(own[:, 0])]


def degrees(frames: int, blinks: int, rng: np.random.Generator) -> Field:
    """How far the lids are closed at each frame of a loop, 0..1; blinks keep apart, and none crosses the seam."""
    out = np.zeros(frames, np.float32)
    down = np.sin(np.linspace(0, np.pi / 2, CLOSING + 1))[1:] ** 2
    up = np.cos(np.linspace(0, np.pi / 2, OPENING + 2))[1:-1] ** 2
    shape = np.concatenate([down, np.ones(SHUT), up]).astype(np.float32)
    share = frames / blinks
    for number in range(blinks):
        low, high = int(number * share) + 2, int((number + 1) * share) - len(shape) - 2
        if high > low:
            at = int(rng.integers(low, high))
            out[at : at + len(shape)] = shape
    return out
