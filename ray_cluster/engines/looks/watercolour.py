"""Watercolour: washes with wandering edges, pigment that gathers at their rims and in the paper's tooth."""

from __future__ import annotations

import cv2
import numpy as np

from ray_cluster.engines.looks.canvas import Canvas
from ray_cluster.engines.looks.strokes import Field, Image, blur, luma, scale_of, smoothstep

WANDER_PX = 2.2
WASH_PX = 34.0
TOOTH_PX = 1.2
SATURATION = 1.25


def watercolour(rgb: Image, canvas: Canvas) -> Image:
    """`rgb` (H x W x 3 uint8) as a watercolour."""
    scale = scale_of(rgb)
    height, width = rgb.shape[:2]
    grey = luma(rgb)
    busy = smoothstep(blur(np.abs(grey - blur(grey, 4 * scale)), 6 * scale), 0.015, 0.07)
    flat = _washes(rgb, scale, busy)
    fine = smoothstep(1 - blur(grey, 0.7 * scale) / (blur(grey, 2.6 * scale) + np.float32(0.08)), 0.03, 0.34)
    # Wet edges wander: the picture is sampled a little beside itself, less where it is detailed.
    reach = WANDER_PX * scale * (1 - np.float32(0.85) * busy)
    x = np.arange(width, dtype=np.float32) + reach * canvas.noise((height, width), 0, 7 * scale)
    y = np.arange(height, dtype=np.float32)[:, None] + reach * canvas.noise((height, width), 1, 7 * scale)
    flat = cv2.remap(
        flat, np.asarray(x, np.float32), np.asarray(y, np.float32), cv2.INTER_LINEAR, None, cv2.BORDER_REFLECT
    )
    wash = luma(np.asarray(flat, np.uint8))
    rim = smoothstep(np.abs(blur(wash, 1.2 * scale) - blur(wash, 3.6 * scale)), 0.012, 0.11)
    tooth = canvas.noise((height, width), 2, TOOTH_PX * scale)
    cloud = canvas.noise((height, width), 3, WASH_PX * scale) + np.float32(0.5) * canvas.noise(
        (height, width), 4, 9 * scale
    )
    # Density of pigment (Bousseau and others 2006): colour darkens as c - (c - c^2)(d - 1).
    density = 1 + np.float32(0.19) * cloud + np.float32(0.10) * tooth + np.float32(0.8) * rim + np.float32(0.7) * fine
    colour = _thin(np.asarray(flat, np.uint8))
    colour = colour - (colour - colour * colour) * (density[..., None] - 1)
    paper = 1 + np.float32(0.018) * tooth[..., None]
    return np.asarray(np.clip(colour * paper, 0, 1) * 255 + np.float32(0.5)).astype(np.uint8)


def _washes(rgb: Image, scale: float, busy: Field) -> Image:
    """Flat areas by repeated edge-preserving smoothing at half size; a smaller brush where `busy` (0..1) is high."""
    height, width = rgb.shape[:2]
    step = 2 if min(height, width) >= 64 else 1  # noqa: PLR2004
    small = cv2.resize(rgb, (width // step, height // step), interpolation=cv2.INTER_AREA)
    for _ in range(3):
        small = cv2.medianBlur(cv2.bilateralFilter(small, 7, 26, 4 * scale), 3)
    broad = small
    for _ in range(4):
        broad = cv2.medianBlur(cv2.bilateralFilter(broad, 9, 26, 6 * scale), 5)
    brush = [
        np.asarray(cv2.resize(one, (width, height), interpolation=cv2.INTER_CUBIC), np.float32)
        for one in (broad, small)
    ]
    return np.asarray(brush[0] + (brush[1] - brush[0]) * busy[..., None]).astype(np.uint8)


def _thin(rgb: Image) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    """Transparent paint on white paper: lighter, more saturated, no black."""
    hsv = cv2.cvtColor(rgb.astype(np.float32) / 255, cv2.COLOR_RGB2HSV)
    hsv[..., 1] = np.clip(hsv[..., 1] * SATURATION, 0, 1)
    hsv[..., 2] = 0.18 + 0.82 * hsv[..., 2] ** 0.66
    return np.asarray(cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB), np.float32)
