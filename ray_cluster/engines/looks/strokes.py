"""What painted looks share: which way strokes run, paint smeared that way, and light on its relief. OpenCV only."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

REFERENCE_PX = 1024
"""Lengths in this folder are for a picture whose longer side is this; they scale with it."""

SOLID = 0.4
"""Coverage from which a line is seen as one."""

Image = NDArray[np.uint8]
Field = NDArray[np.float32]


def scale_of(rgb: Image) -> float:
    """How much larger than the reference a picture is, at least a quarter: strokes below a pixel are none."""
    return max(0.25, float(max(rgb.shape[:2])) / REFERENCE_PX)


def luma(rgb: Image) -> Field:
    """Lightness 0..1, float32."""
    return np.asarray(cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY), np.float32) / np.float32(255)


def blur(field: Field, sigma: float) -> Field:
    """Gaussian; large sigmas on a smaller copy, where the eye sees no difference."""
    height, width = field.shape[:2]
    step = 4 if sigma > 6 and min(height, width) >= 16 else 1  # noqa: PLR2004
    if step == 1:
        return np.asarray(cv2.GaussianBlur(field, (0, 0), max(0.3, sigma)), np.float32)
    small = cv2.resize(field, (width // step, height // step), interpolation=cv2.INTER_AREA)
    soft = cv2.GaussianBlur(small, (0, 0), sigma / step)
    return np.asarray(cv2.resize(soft, (width, height), interpolation=cv2.INTER_LINEAR), np.float32)


def smoothstep(value: Field, low: float, high: float) -> Field:
    """0 below `low`, 1 above `high`, no corner in between."""
    t = np.clip((value - np.float32(low)) / np.float32(high - low), 0, 1)
    return np.asarray(t * t * (3 - 2 * t), np.float32)


def whole(line: Field, area_px2: float) -> Field:
    """Coverage 0..1 without specks: strokes of a smaller area go."""
    core = (line > SOLID).astype(np.uint8)
    count, labels, stats, _ = cv2.connectedComponentsWithStats(core, connectivity=8)
    keep = np.zeros(count, np.float32)
    keep[1:] = stats[1:, cv2.CC_STAT_AREA] >= area_px2
    near = np.asarray(cv2.dilate(keep[labels], np.ones((3, 3), np.uint8)), np.float32)
    return np.asarray(line * blur(near, 0.8), np.float32)


class Grain:
    """A way of strokes for each pixel: along edges, as a brush follows a form."""

    def __init__(self, grey: Field, sigma: float) -> None:
        height, width = grey.shape
        step = 2 if min(height, width) >= 64 else 1  # noqa: PLR2004 - the field is smooth; half its size shows no difference
        small = cv2.resize(grey, (width // step, height // step), interpolation=cv2.INTER_AREA) if step > 1 else grey
        x, y = cv2.Scharr(small, cv2.CV_32F, 1, 0), cv2.Scharr(small, cv2.CV_32F, 0, 1)
        tensor = cv2.GaussianBlur(cv2.merge([x * x - y * y, 2 * x * y]), (0, 0), max(1.0, sigma / step))
        wide = np.asarray(cv2.resize(tensor, (width, height), interpolation=cv2.INTER_LINEAR), np.float32)
        across = np.arctan2(wide[..., 1], wide[..., 0]) / 2
        self._dx, self._dy = -np.sin(across, dtype=np.float32), np.cos(across, dtype=np.float32)
        self._x = np.broadcast_to(np.arange(width, dtype=np.float32), (height, width))
        self._y = np.broadcast_to(np.arange(height, dtype=np.float32)[:, None], (height, width))

    def smear(self, *layers: NDArray[Any], reach_px: float) -> list[NDArray[Any]]:
        """Each layer averaged along the strokes, `reach_px` either way: steps double, so curves are followed."""
        out = [np.asarray(layer) for layer in layers]
        step = 1.0
        while step <= reach_px:
            ahead = (self._x + self._dx * np.float32(step), self._y + self._dy * np.float32(step))
            behind = (self._x - self._dx * np.float32(step), self._y - self._dy * np.float32(step))
            for index, layer in enumerate(out):
                one, two = (
                    cv2.remap(layer, *way, cv2.INTER_LINEAR, None, cv2.BORDER_REFLECT) for way in (ahead, behind)
                )
                out[index] = cv2.addWeighted(cv2.addWeighted(one, 0.5, two, 0.5, 0), 0.6, layer, 0.4, 0)
            step *= 2
        return out


def relief(height: Field, strength: float) -> Field:
    """Light from the upper left on a surface of that height: a factor around 1."""
    slope = cv2.filter2D(height, cv2.CV_32F, np.array([[2, 1, 0], [1, 0, -1], [0, -1, -2]], np.float32) / 8)
    return np.asarray(1 + strength * np.clip(slope, -1, 1), np.float32)
