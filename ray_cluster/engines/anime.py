"""The anime look: smooth, redraw with Real-ESRGAN's anime networks, shade as a cel, ink."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np

from ray_cluster.engines.decode import Pixels, fit
from ray_cluster.engines.ink import cel
from ray_cluster.engines.upscaler import Upscaler
from ray_cluster.engines.wipe import wipe

LONGER_SIDE_PX = 1024
SKETCH_PX = 240
"""Longer side handed to the network, so a result is at most 960 px: below 224 eyes lose their shape on a half-length
portrait, above 256 the texture of the photo survives and the look is lost."""
SKETCH_RATIO = 15 / 32
SMALLEST_SKETCH_PX, SMALLEST_SIDE_PX = 16, 4
DRAWINGS_PER_SECOND = 12
"""Of a clip: anime is drawn on twos."""


def anime(rgb: Pixels, network: Upscaler, step: Callable[[float], None]) -> Pixels:
    """`rgb` as an anime still, longer side at most 960 px; `step(fraction)` before each tile and once at 1.0."""
    photo = fit(rgb, LONGER_SIDE_PX)
    sketch = _sketch(photo)
    drawn = network.enlarge(sketch, step)
    inked = cel(drawn)
    wipe(sketch, drawn, photo if photo is not rgb else None)
    return inked


def _sketch(photo: Pixels) -> Pixels:
    """The photo without texture, small enough that the network must invent the lines."""
    flat = np.asarray(cv2.edgePreservingFilter(photo, flags=cv2.RECURS_FILTER, sigma_s=30, sigma_r=0.3), np.uint8)
    longer = max(photo.shape[:2])
    side = min(SKETCH_PX, max(round(longer * SKETCH_RATIO), SMALLEST_SKETCH_PX))
    height, width = (max(SMALLEST_SIDE_PX, round(n * side / longer)) for n in photo.shape[:2])
    small = np.asarray(cv2.resize(flat, (width, height), interpolation=cv2.INTER_AREA), np.uint8)
    wipe(flat)
    return small
