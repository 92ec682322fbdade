"""Keeps a redrawn clip from flickering: the last drawing moves along with the picture and is drawn over only in part.

After Bousseau et al. 2007 and Ruder et al. 2016 (arXiv:1604.08610): the flow from this frame to the last carries the
last drawing here; where the carried photo still looks like this one, the drawing is kept.
"""

from __future__ import annotations

import cv2
import msgspec
import numpy as np
from numpy.typing import NDArray

from ray_cluster.engines.decode import Pixels
from ray_cluster.engines.wipe import wipe

FLOW_SIDE_PX = 320
KEPT = 0.8
"""Share of the last drawing where the photo merely moved."""
TOLERANCE = 14.0
"""Levels by which a pixel may differ and still be the same thing."""
CUT = 0.3
"""Below this share of known pixels a new scene has begun."""

Field = NDArray[np.float32]


class Motion(msgspec.Struct, frozen=True):
    """How a frame came from the last: at each pixel of a small grid, where it was, and how surely it is the same thing.

    `flow` is h x w x 2 in pixels of that grid (x, y), `known` h x w, 0..1.
    """

    flow: Field
    known: Field

    def __repr__(self) -> str:
        """Sizes only."""
        return f"Motion({self.flow.shape[1]}x{self.flow.shape[0]})"

    def places(self, width: int, height: int) -> tuple[Field, Field]:
        """Where each pixel of a `height` x `width` picture was, as x and y for cv2.remap."""
        small_height, small_width = self.known.shape
        wide = cv2.resize(self.flow, (width, height), interpolation=cv2.INTER_LINEAR)
        x = wide[..., 0] * np.float32(width / small_width) + np.arange(width, dtype=np.float32)
        y = wide[..., 1] * np.float32(height / small_height) + np.arange(height, dtype=np.float32)[:, None]
        return np.asarray(x, np.float32), np.asarray(y, np.float32)


class Steady:
    """One clip's memory: the last photo, small, and the last drawing. `watch` a frame, draw it, `calm` the drawing."""

    def __init__(self) -> None:
        self._flow = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_FAST)
        self._photo: NDArray[np.uint8] | None = None
        self._drawn: Pixels | None = None
        self._motion: Motion | None = None

    def watch(self, photo: Pixels) -> Motion | None:
        """How `photo` came from the frame before; None for the first one of a scene."""
        small = _small(photo)
        last, self._photo, self._motion = self._photo, small, None
        if last is not None and last.shape == small.shape:
            now, before = (cv2.cvtColor(one, cv2.COLOR_RGB2GRAY) for one in (small, last))
            flow = np.asarray(self._flow.calc(now, before, None), np.float32)
            motion = Motion(flow, _known(small, last, flow))
            self._motion = motion if motion.known.mean() >= CUT else None
        wipe(last)
        return self._motion

    def calm(self, drawn: Pixels) -> Pixels:
        """`drawn` (of the frame watched last; it is used up), steadied by the drawing before it."""
        before, out = self._drawn, drawn
        if self._motion is not None and before is not None and before.shape == drawn.shape:
            height, width = drawn.shape[:2]
            x, y = self._motion.places(width, height)
            carried = cv2.remap(before, x, y, cv2.INTER_CUBIC, None, cv2.BORDER_REPLICATE)
            share = cv2.resize(self._motion.known, (width, height), interpolation=cv2.INTER_LINEAR)[..., None]
            mixed = drawn + (carried.astype(np.float32) - drawn) * (share * np.float32(KEPT))
            out = np.asarray(mixed + np.float32(0.5)).astype(np.uint8)
            wipe(drawn, carried, mixed)
        wipe(before)
        self._drawn = out.copy()
        return out

    def close(self) -> None:
        """Overwrite the memory."""
        wipe(self._photo, self._drawn)


def _small(photo: Pixels) -> NDArray[np.uint8]:
    scale = min(1.0, FLOW_SIDE_PX / max(photo.shape[:2]))
    size = tuple(max(16, round(side * scale)) for side in photo.shape[1::-1])
    return np.asarray(cv2.GaussianBlur(cv2.resize(photo, size, interpolation=cv2.INTER_AREA), (0, 0), 0.8), np.uint8)


def _known(now: NDArray[np.uint8], last: NDArray[np.uint8], flow: Field) -> Field:
    """1 where `last`, carried along `flow`, looks like `now`; 0 where something else came into view."""
    height, width = now.shape[:2]
    x = flow[..., 0] + np.arange(width, dtype=np.float32)
    y = flow[..., 1] + np.arange(height, dtype=np.float32)[:, None]
    carried = cv2.remap(last, x, y, cv2.INTER_LINEAR, None, cv2.BORDER_REPLICATE)
    apart = cv2.absdiff(now, carried).max(2).astype(np.float32) / np.float32(TOLERANCE)
    inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)
    return np.asarray(cv2.GaussianBlur(np.exp(-apart * apart) * inside, (0, 0), 1.0), np.float32)
