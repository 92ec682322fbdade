"""From a smooth redrawing to a cel: flat tones, lifted colour, ink lines. OpenCV only."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

REFERENCE_PX = 1024
"""Sigmas below are for a picture whose longer side is this; they scale with it."""
TONES = 7
TONE_HARDNESS = 7.0
TONE_STRENGTH = 0.75
SATURATION = 1.24
LIFT_GAMMA = 0.93
INK_RGB = (38, 24, 32)
INK_OPACITY = 0.85
LINE_SIGMA_PX = 1.1
SIGMA_RATIO = 1.6
"""Winnemoeller's XDoG (doi:10.1016/j.cag.2012.03.004) approximates a Laplacian of Gaussian best at this ratio."""
LINE_FLOOR, LINE_RANGE = 0.012, 0.03
SHORTEST_LINE_PX2 = 60

Image = NDArray[np.uint8]
Field = NDArray[np.float32]


def cel(rgb: Image) -> Image:
    """A cel-shaded, inked copy of `rgb` (H x W x 3 uint8), which should already be free of texture."""
    scale = max(rgb.shape[:2]) / REFERENCE_PX
    flat = cv2.bilateralFilter(cv2.bilateralFilter(rgb, 7, 28, 5), 7, 28, 5)
    lines = _lines(np.asarray(flat, np.uint8), scale)[..., None] * np.float32(INK_OPACITY)
    paint = _paint(np.asarray(flat, np.uint8), scale)
    ink = np.array(INK_RGB, np.float32) / 255
    return np.asarray((paint + (ink - paint) * lines) * 255 + 0.5).astype(np.uint8)


def _paint(flat: Image, scale: float) -> Field:
    """Lightness drawn towards a few tones, by the blurred lightness so that small features keep their own."""
    lab = cv2.cvtColor(flat.astype(np.float32) / 255, cv2.COLOR_RGB2Lab)
    light = lab[..., 0] / 100
    soft = cv2.GaussianBlur(light, (0, 0), max(0.3, 1.2 * scale))
    light = np.clip(light + (_stairs(np.asarray(soft, np.float32)) - soft) * TONE_STRENGTH, 0, 1)
    lab[..., 0] = light**LIFT_GAMMA * 100
    lab[..., 1:] *= SATURATION
    return np.asarray(cv2.cvtColor(lab, cv2.COLOR_Lab2RGB), np.float32).clip(0, 1)


def _stairs(value: Field) -> Field:
    """0..1 to TONES steps whose flanks are tanh: a hard staircase would turn noise into contour dots."""
    step = np.floor(value * TONES)
    flank = np.tanh((value * TONES - step - 0.5) * TONE_HARDNESS) / np.tanh(0.5 * TONE_HARDNESS)
    return np.asarray((step + 0.5 + 0.5 * flank) / TONES, np.float32)


def _lines(flat: Image, scale: float) -> Field:
    """Ink coverage 0..1: the dark side of edges by a difference of Gaussians, specks dropped."""
    grey = cv2.cvtColor(flat, cv2.COLOR_RGB2GRAY).astype(np.float32) / 255
    sigma = max(0.5, LINE_SIGMA_PX * scale)
    wide, narrow = (cv2.GaussianBlur(grey, (0, 0), s) for s in (sigma * SIGMA_RATIO, sigma))
    line = np.clip((wide - narrow - LINE_FLOOR) / LINE_RANGE, 0, 1)
    core = (line > 0.35).astype(np.uint8)  # noqa: PLR2004 - what reads as a stroke rather than shading
    count, labels, stats, _ = cv2.connectedComponentsWithStats(core, connectivity=8)
    keep = np.zeros(count, np.float32)
    keep[1:] = stats[1:, cv2.CC_STAT_AREA] >= SHORTEST_LINE_PX2 * scale * scale
    near = cv2.GaussianBlur(cv2.dilate(keep[labels], np.ones((3, 3), np.uint8)), (0, 0), 0.8)
    return np.asarray(line * near, np.float32)
