"""What goes behind a cutout: nothing, a colour, the picture's own background blurred, or another picture."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from ray_cluster.engines.decode import Pixels
from ray_cluster.engines.wipe import wipe

Field = NDArray[np.float32]

BLUR = 0.022
"""Sigma at strength 1, as a share of the longer side."""


def compose(colour: Field, alpha: Field, behind: NDArray[np.uint8] | Field) -> Pixels:
    """`colour` (H x W x 3, 0..1) by `alpha` (H x W) over `behind` (RGB 0..255, H x W x 3 or one colour)."""
    share = alpha[..., None]
    mixed = colour * (share * np.float32(255)) + np.asarray(behind, np.float32) * (1 - share)
    out = np.asarray(np.clip(mixed + np.float32(0.5), 0, 255)).astype(np.uint8)
    wipe(mixed)
    return out


def straight(colour: Field, alpha: Field) -> NDArray[np.uint8]:
    """RGBA, not premultiplied; nothing of the picture is left where alpha is zero."""
    both = np.asarray(np.dstack([colour, alpha]) * np.float32(255) + np.float32(0.5)).astype(np.uint8)
    both[both[..., 3] == 0] = 0
    return both


def blurred(rgb: Pixels, alpha: Field, strength: float) -> Pixels:
    """`rgb` out of focus, without the thing: its colours do not bleed into what is behind it."""
    sigma = max(1.0, BLUR * strength * max(rgb.shape[:2]))
    step = max(1, min(int(sigma / 3), min(rgb.shape[:2]) // 8))
    size = (max(1, rgb.shape[1] // step), max(1, rgb.shape[0] // step))
    weight = 1 - alpha
    known = np.asarray(rgb, np.float32) * weight[..., None]
    small = [cv2.resize(one, size, interpolation=cv2.INTER_AREA) for one in (known, weight)]
    near, share = (cv2.GaussianBlur(one, (0, 0), sigma / step) for one in small)
    # Under the thing's middle nothing is known even so; what is known further away goes there.
    far, rest = (cv2.GaussianBlur(one, (0, 0), 5 * sigma / step) for one in small)
    total = (share + np.float32(0.02) * rest)[..., None] + np.float32(1e-6)
    soft = (near + np.float32(0.02) * far) / total
    wide = cv2.resize(soft, rgb.shape[1::-1], interpolation=cv2.INTER_CUBIC)
    wipe(known)
    return np.asarray(np.clip(wide, 0, 255)).astype(np.uint8)


def covering(picture: Pixels, width: int, height: int) -> Pixels:
    """`picture` scaled and cropped to cover `height` x `width`."""
    scale = max(width / picture.shape[1], height / picture.shape[0])
    size = (max(width, round(picture.shape[1] * scale)), max(height, round(picture.shape[0] * scale)))
    wide = cv2.resize(picture, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC)
    top, left = (wide.shape[0] - height) // 2, (wide.shape[1] - width) // 2
    return np.ascontiguousarray(wide[top : top + height, left : left + width], np.uint8)
