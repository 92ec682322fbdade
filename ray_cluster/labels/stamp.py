"""The marks in the pixels: the imperceptible one always, the visible one where an app's rules have a text for it."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from ray_cluster.engines.wipe import wipe
from ray_cluster.labels import visible, watermark

_RGBA = 4
_EVERY = 4
"""The watermark of a frame serves so many: it is made for the picture, and pictures change slowly."""


class PixelStamp:
    """See `engines.stamping.Stamp`. `count`: how many pictures it marked."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._kept: NDArray[np.int16] | None = None
        self.count = 0

    def still(self, pixels: NDArray[Any]) -> None:
        """See `Stamp`; colours may be in any order that puts green second."""
        self.count += 1
        if self._text:
            visible.draw(pixels, self._text)
        if min(pixels.shape[:2]) < watermark.SMALLEST_SIDE_PX:
            return
        alpha = np.ascontiguousarray(pixels[..., 3]) if pixels.shape[2] == _RGBA else None
        luma = cv2.cvtColor(np.ascontiguousarray(pixels[..., :3]), cv2.COLOR_RGB2GRAY)
        added = _whole(watermark.residual(luma, alpha))
        for channel in range(3):
            pixels[..., channel] = cv2.add(np.ascontiguousarray(pixels[..., channel]), added, dtype=cv2.CV_8U)
        wipe(luma, added, alpha)

    def planes(self, planes: NDArray[np.uint8]) -> None:
        """See `Stamp`."""
        height, width = planes.shape[0] * 2 // 3, planes.shape[1]
        if self._text:
            visible.draw_planes(planes, self._text)
        if min(height, width) >= watermark.SMALLEST_SIDE_PX:
            if self._kept is None or self._kept.shape != (height, width) or self.count % _EVERY == 0:
                wipe(self._kept)
                self._kept = _whole(watermark.residual(planes[:height], rounds=2))
            cv2.add(planes[:height], self._kept, dst=planes[:height], dtype=cv2.CV_8U)
        self.count += 1

    def wipe(self) -> None:
        """Overwrite what it kept."""
        wipe(self._kept)
        self._kept = None


def _whole(field: NDArray[np.float32]) -> NDArray[np.int16]:
    """Rounded; by OpenCV, in a fifth of NumPy's time."""
    return np.asarray(cv2.add(field, 0.0, dtype=cv2.CV_16S), np.int16)
