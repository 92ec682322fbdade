"""`live_filter`: a clip's colours in another mood, the same for every frame."""

from __future__ import annotations

import functools
from typing import Final, get_args

import cv2
import numpy as np
from numpy.typing import NDArray

from ray_cluster.device.names import FilterName
from ray_cluster.engines.decode import Pixels

NAMES: Final = get_args(FilterName)
_KNOTS: Final = np.array([0, 64, 128, 192, 255], np.float64)
_CURVES: Final[dict[FilterName, tuple[tuple[float, ...], ...]]] = {  # red, green, blue at the knots
    "warm": ((4, 74, 142, 206, 255), (0, 66, 131, 195, 252), (0, 54, 112, 172, 232)),
    "cool": ((0, 54, 113, 177, 240), (0, 64, 129, 195, 253), (10, 78, 146, 208, 255)),
    "vivid": ((0, 50, 130, 212, 255), (0, 50, 130, 212, 255), (0, 50, 130, 212, 255)),
    "vintage": ((34, 88, 142, 196, 238), (24, 76, 130, 184, 228), (40, 78, 118, 160, 200)),
    "mono": ((0, 56, 130, 208, 255),) * 3,
    "night": ((0, 30, 74, 134, 216), (6, 44, 94, 154, 228), (22, 72, 126, 182, 244)),
}
_COLOUR: Final[dict[FilterName, float]] = {"vivid": 1.35, "mono": 0.0, "vintage": 0.75, "night": 0.7}
_VIGNETTE: Final[dict[FilterName, float]] = {"vintage": 0.35, "night": 0.3, "mono": 0.15}


def live_filter(picture: Pixels, name: FilterName = "warm") -> Pixels:
    """A copy in the mood `name`; H x W x 3 RGB."""
    colour = _COLOUR.get(name, 1.0)
    out = picture
    if colour != 1.0:
        grey = cv2.cvtColor(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
        out = np.asarray(cv2.addWeighted(picture, colour, grey, 1 - colour, 0), np.uint8)
    out = np.asarray(cv2.LUT(out, _table(name)), np.uint8)
    if name in _VIGNETTE:
        shade = _shade(name, *picture.shape[:2])
        out = np.asarray(cv2.multiply(out, shade, scale=1 / 255), np.uint8)
    return out


@functools.cache
def _table(name: FilterName) -> NDArray[np.uint8]:
    curves = [np.interp(np.arange(256), _KNOTS, curve) for curve in _CURVES[name]]
    return np.rint(np.stack(curves, -1)).astype(np.uint8)[None]


@functools.lru_cache(2)
def _shade(name: FilterName, height: int, width: int) -> NDArray[np.uint8]:
    y, x = np.linspace(-1, 1, height)[:, None], np.linspace(-1, 1, width)
    dark = _VIGNETTE[name] * np.clip((x * x + y * y) / 2, 0, 1) ** 1.5
    return np.repeat(np.rint(255 * (1 - dark)).astype(np.uint8)[..., None], 3, -1)
