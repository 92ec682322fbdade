"""Neon: contours as glowing tubes in the night."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from ray_cluster.engines.looks.canvas import Canvas
from ray_cluster.engines.looks.strokes import Grain, Image, blur, luma, scale_of, smoothstep, whole

TUBE_PX = 1.5
NIGHT_RGB = (0.05, 0.04, 0.14)
NIGHT_SHARE, NIGHT_POWER = 0.75, 1.85
PALE = 0.4
"""How far from its full hue what is lit is: with less of either, a face in the night is nobody's."""
SIGN_RGB, SIGN_SHARE = (0.95, 0.3, 0.75), 0.85
"""The light of a sign on what is warm. In its own hue, orange, skin of any colour would be brown in the night."""
SHORTEST_TUBE_PX2 = 24

Picture = NDArray[np.float32]


def neon(rgb: Image, canvas: Canvas) -> Image:
    """`rgb` (H x W x 3 uint8) as neon signs of its contours."""
    del canvas
    scale = scale_of(rgb)
    calm = np.asarray(cv2.bilateralFilter(rgb, 7, 30, 4 * scale), np.uint8)
    grey = luma(calm)
    sigma = TUBE_PX * scale
    # Lines of light on the dark side of edges, measured against the brightness around: a face in shadow is drawn too.
    around = blur(grey, 5 * sigma)
    edge = (blur(grey, 1.6 * sigma) - blur(grey, sigma)) / (np.float32(0.10) + around)
    (edge,) = Grain(grey, 3 * scale).smear(edge, reach_px=4 * scale)
    tube = whole(smoothstep(np.asarray(edge, np.float32), 0.008, 0.05), SHORTEST_TUBE_PX2 * scale * scale)
    hue = _hues(calm, scale)
    light = hue * tube[..., None]
    glow = blur(light, 4 * scale) * np.float32(0.7) + blur(light, 16 * scale) * np.float32(0.8)
    warm = smoothstep(hue[..., 0] - hue[..., 2], 0.1, 0.6)[..., None]
    fill = hue + (np.array(SIGN_RGB, np.float32) - hue) * (np.float32(SIGN_SHARE) * warm)
    lit = np.float32(NIGHT_SHARE) * (fill + np.float32(PALE) * (1 - fill))
    night = np.array(NIGHT_RGB, np.float32) + lit * np.power(grey, np.float32(NIGHT_POWER))[..., None]
    out = 1 - (1 - night) * (1 - np.minimum(light + glow, 1))  # screen: lights add, nothing burns out
    core = np.float32(0.8) * smoothstep(tube, 0.6, 1.0)[..., None]
    return np.asarray((out + core * (1 - out)) * 255 + np.float32(0.5)).astype(np.uint8)


def _hues(rgb: Image, scale: float) -> Picture:
    """The picture's own hues at full strength where it has colour; greys are lit magenta in shadow, cyan in light."""
    soft = cv2.cvtColor(blur(np.asarray(rgb, np.float32) / np.float32(255), 5 * scale), cv2.COLOR_RGB2HSV)
    own, lit = soft.copy(), soft.copy()
    own[..., 1], own[..., 2] = 0.88, 1
    lit[..., 0], lit[..., 1], lit[..., 2] = (310 - 125 * soft[..., 2]) % 360, 0.85, 1
    share = smoothstep(soft[..., 1] * np.sqrt(soft[..., 2]), 0.05, 0.25)[..., None]
    grey, full = (cv2.cvtColor(one, cv2.COLOR_HSV2RGB) for one in (lit, own))
    return np.asarray(grey + (full - grey) * share, np.float32)
