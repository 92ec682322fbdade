"""Oil: colour dragged along forms, clumped into strokes, and a relief of bristles that catches the light."""

from __future__ import annotations

import cv2
import numpy as np

from ray_cluster.engines.looks.canvas import Canvas
from ray_cluster.engines.looks.strokes import Grain, Image, blur, luma, relief, scale_of, smoothstep

FORM_PX = 5.0
STROKE_PX = 8.0
BRISTLE_PX = 0.8
RELIEF = 0.20
DETAIL_PX = 20
"""How far from a detail the brush stays fine: a cheek lies between eyes and mouth."""
SATURATION = 1.22


def oil(rgb: Image, canvas: Canvas) -> Image:
    """`rgb` (H x W x 3 uint8) as an oil painting."""
    scale = scale_of(rgb)
    calm = cv2.bilateralFilter(rgb, 5, 32, 3 * scale)
    grey = luma(np.asarray(calm, np.uint8))
    grain = Grain(grey, FORM_PX * scale)
    bristles = canvas.noise(rgb.shape[:2], 0, BRISTLE_PX * scale)
    (fine,) = grain.smear(calm, reach_px=STROKE_PX * scale / 3)
    fine = _clump(np.asarray(fine, np.uint8), scale / 2)
    for _ in range(2):
        calm, bristles = grain.smear(calm, bristles, reach_px=STROKE_PX * scale)
        calm = _clump(np.asarray(calm, np.uint8), scale)
    bristles = bristles / (bristles.std() + 1e-6)
    # A broad brush and thick paint on plain ground, a fine one where it drew details: bristles across a face would be
    # wrinkles.
    busy = smoothstep(blur(np.abs(grey - blur(grey, 4 * scale)), DETAIL_PX * scale), 0.008, 0.04)
    lit = 1 + (relief(np.asarray(bristles, np.float32), RELIEF * min(1.0, scale)) - 1) * (1 - np.float32(0.85) * busy)
    calm = np.asarray(calm + (fine - np.asarray(calm, np.float32)) * (np.float32(0.9) * busy[..., None])).astype(
        np.uint8
    )
    hsv = cv2.cvtColor(np.asarray(calm, np.uint8), cv2.COLOR_RGB2HSV).astype(np.float32)
    hsv[..., 1] = np.minimum(hsv[..., 1] * SATURATION, 255)
    hsv[..., 2] = np.clip(hsv[..., 2] * lit, 0, 255)
    return np.asarray(cv2.cvtColor(hsv.astype(np.uint8), cv2.COLOR_HSV2RGB), np.uint8)


def _clump(rgb: Image, scale: float) -> Image:
    """A shock filter (Osher, Rudin 1990): dark sides darken, light sides lighten, so strokes get edges."""
    side = 2 * max(1, round(scale)) + 1
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side))
    soft = cv2.GaussianBlur(rgb, (0, 0), max(0.8, 1.6 * scale))
    bend = cv2.Laplacian(cv2.cvtColor(soft, cv2.COLOR_RGB2GRAY), cv2.CV_16S, ksize=3)
    low, high = cv2.erode(rgb, kernel), cv2.dilate(rgb, kernel)
    sharp = np.where((bend > 0)[..., None], low, np.where((bend < 0)[..., None], high, rgb))
    return np.asarray(cv2.medianBlur(sharp, min(side, 5)), np.uint8)
