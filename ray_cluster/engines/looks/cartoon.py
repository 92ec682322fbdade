"""Cartoon: flat colour in few tones under a bold, even outline."""

from __future__ import annotations

import cv2
import numpy as np

from ray_cluster.engines.looks.canvas import Canvas
from ray_cluster.engines.looks.strokes import Field, Grain, Image, blur, luma, scale_of, smoothstep, whole

TONES = 6
HARDNESS = 3.2
SATURATION = 1.38
LINE_PX = 1.5
INK_RGB = (26, 20, 30)
SHORTEST_LINE_PX2 = 90


def cartoon(rgb: Image, canvas: Canvas) -> Image:
    """`rgb` (H x W x 3 uint8) as a cartoon; nothing of it is drawn on `canvas`."""
    del canvas
    scale = scale_of(rgb)
    flat = _flatten(rgb, scale)
    lines = _outline(flat, scale)[..., None]
    lab = cv2.cvtColor(flat.astype(np.float32) / 255, cv2.COLOR_RGB2Lab)
    lab[..., 0] = 100 * _tones(np.asarray(lab[..., 0] / 100, np.float32), scale)
    lab[..., 1:] *= SATURATION
    paint = np.clip(cv2.cvtColor(lab, cv2.COLOR_Lab2RGB), 0, 1)
    ink = np.array(INK_RGB, np.float32) / 255
    return np.asarray((paint + (ink - paint) * lines) * 255 + np.float32(0.5)).astype(np.uint8)


def _flatten(rgb: Image, scale: float) -> Image:
    """Texture removed, edges kept (Winnemoeller, Olsen, Gooch 2006: repeated bilateral), at half size."""
    height, width = rgb.shape[:2]
    step = 2 if min(height, width) >= 64 else 1  # noqa: PLR2004
    small = cv2.resize(rgb, (width // step, height // step), interpolation=cv2.INTER_AREA)
    for _ in range(4):
        small = cv2.bilateralFilter(small, 9, 22, 3.5 * scale)
    wide = cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC)
    return np.asarray(cv2.bilateralFilter(wide, 5, 18, 3), np.uint8)


def _tones(light: Field, scale: float) -> Field:
    """Lightness in steps with soft flanks, so that noise does not break a step into dots."""
    soft = blur(light, 2 * scale)
    at = soft * TONES
    step = np.floor(at)
    flank = np.tanh((at - step - 0.5) * HARDNESS) / np.tanh(0.5 * HARDNESS)
    stairs = (step + 0.5 + 0.5 * flank) / TONES
    return np.asarray(np.clip(light + (stairs - soft) * np.float32(0.9), 0, 1) ** 0.9, np.float32)


def _outline(flat: Image, scale: float) -> Field:
    """Ink coverage 0..1: the dark side of edges, drawn out along them so that lines are whole, specks dropped."""
    grey = luma(flat)
    sigma = LINE_PX * scale
    across = blur(grey, 1.6 * sigma) - blur(grey, sigma)
    (across,) = Grain(grey, 3 * scale).smear(across, reach_px=4 * scale)
    line = smoothstep(np.asarray(across, np.float32), 0.008, 0.026)
    return whole(line, SHORTEST_LINE_PX2 * scale * scale)
