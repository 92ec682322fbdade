"""Pencil: contours, tone in crossing hatches, on paper with a tooth."""

from __future__ import annotations

import cv2
import numpy as np

from ray_cluster.engines.looks.canvas import Canvas
from ray_cluster.engines.looks.strokes import Field, Image, blur, luma, scale_of, smoothstep

PAPER_RGB = (250, 248, 242)
LEAD_RGB = (46, 46, 52)
CONTOUR_PX = 1.0
HATCH_PX = 1.5
HATCH_LENGTH_PX = 22
TOOTH_PX = 0.9
HATCHES = ((50.0, 0.80, 0.55), (125.0, 0.50, 0.30), (78.0, 0.26, 0.08))
"""Angle in degrees; the lightness at which the hatch begins, and that at which it is full."""


def pencil(rgb: Image, canvas: Canvas) -> Image:
    """`rgb` (H x W x 3 uint8) drawn with a pencil."""
    scale = scale_of(rgb)
    grey = luma(np.asarray(cv2.bilateralFilter(rgb, 5, 30, 3 * scale), np.uint8))
    grey = _even_light(grey, scale)
    lead = np.maximum(_contours(grey, scale), 0)
    soft = blur(grey, 2.2 * scale)
    for index, (angle, begins, full) in enumerate(HATCHES):
        amount = 1 - smoothstep(soft, full, begins)
        lead = lead + (1 - lead) * amount * _hatch(canvas, index, grey.shape, angle, scale) * np.float32(0.62)
    shade = (1 - smoothstep(soft, 0.0, 0.95)) * np.float32(0.34)  # the side of the lead, rubbed
    lead = lead + (1 - lead) * shade
    tooth = canvas.noise(grey.shape, 9, TOOTH_PX * scale)
    lead = np.clip(lead * (1 + np.float32(0.16) * tooth * (1 - lead)), 0, 1)[..., None]
    paper, black = np.array(PAPER_RGB, np.float32), np.array(LEAD_RGB, np.float32)
    return np.asarray(paper + (black - paper) * lead + np.float32(0.5)).astype(np.uint8)


def _even_light(grey: Field, scale: float) -> Field:
    """A draughtsman's exposure: the photo's range stretched, deep shadows opened."""
    low, high = np.percentile(grey[:: max(1, round(4 * scale)), :: max(1, round(4 * scale))], (2, 98))
    wide = np.clip((grey - low) / max(0.15, float(high - low)), 0, 1)
    return np.asarray(wide**0.8, np.float32)


def _contours(grey: Field, scale: float) -> Field:
    """The dodge of a darkroom: light over its own blur leaves lines where it is darker than around."""
    lines = np.zeros_like(grey)
    for sigma, weight in ((CONTOUR_PX, 1.0), (3 * CONTOUR_PX, 0.75)):
        around = blur(grey, 2.0 * sigma * scale) + np.float32(0.06)
        fine = blur(grey, 0.5 * sigma * scale) + np.float32(0.06)
        lines = np.maximum(lines, np.float32(weight) * smoothstep(1 - fine / around, 0.035, 0.30))
    return lines


def _hatch(canvas: Canvas, index: int, shape: tuple[int, ...], angle: float, scale: float) -> Field:
    """Ink coverage 0..1 of parallel strokes: noise drawn out along `angle`."""
    length = max(5, round(HATCH_LENGTH_PX * scale)) | 1
    kernel = np.zeros((length, length), np.float32)
    middle = length // 2
    turn = np.deg2rad(angle)
    dx, dy = np.cos(turn) * middle, -np.sin(turn) * middle
    cv2.line(
        kernel,
        (round(middle - dx), round(middle - dy)),
        (round(middle + dx), round(middle + dy)),
        1.0,
        lineType=cv2.LINE_AA,
    )
    drawn = cv2.filter2D(
        canvas.noise(shape, index, HATCH_PX * 0.5 * scale), -1, kernel / kernel.sum(), borderType=cv2.BORDER_REFLECT
    )
    drawn = np.asarray(drawn / (drawn.std() + 1e-6), np.float32)
    return smoothstep(drawn, -0.35, 0.9)
