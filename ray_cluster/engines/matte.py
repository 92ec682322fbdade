"""Cuts the person out of the photo: a soft alpha, the person's own colours at its rim, and the picture without them."""

from __future__ import annotations

import cv2
import msgspec
import numpy as np
from numpy.typing import NDArray

from ray_cluster.engines.behind import continued
from ray_cluster.engines.wipe import wipe

Image = NDArray[np.uint8]
Field = NDArray[np.float32]

GUIDE_EPS = 1e-3
SOLID = 0.92
RIM_SIGMA = 0.012
"""Widths here are fractions of the picture's longer side."""
RIM_PX = 4.0
GUIDE_RADIUS = 0.008
BAND = 0.006
HALO = 0.011
"""How far beyond the alpha the person still tints the background (hair, blur, JPEG)."""


class Layers(msgspec.Struct, frozen=True):
    """`person` is H x W x 4 premultiplied RGBA, `background` H x W x 3 RGB; both are plaintext."""

    person: Image
    background: Image

    def __repr__(self) -> str:
        """Sizes only."""
        return f"Layers({self.background.shape[1]}x{self.background.shape[0]})"


def separate(rgb: Image, mask: Field) -> Layers:
    """Layers of `rgb` by the coarse `mask` (0..1) of the person, both H x W."""
    longer = max(rgb.shape[:2])
    alpha = refine(rgb, mask, longer)
    person = _premultiply(clean_rim(rgb, alpha, longer), alpha)
    background = continued(rgb, hole(alpha, longer))
    return Layers(person, background)


def refine(rgb: Image, mask: Field, longer: int) -> Field:
    """The alpha 0..1 of the coarse `mask` (0..1) in a picture whose longer side is `longer` px.

    The mask's edge is moved onto the photo's (guided filter, He et al. 2010), then made crisp; specks are dropped.
    """
    radius = max(2, round(GUIDE_RADIUS * longer))
    guide = rgb.astype(np.float32) / np.float32(255)
    soft = cv2.ximgproc.guidedFilter(guide, mask, radius, GUIDE_EPS)
    near = cv2.GaussianBlur((mask > 0.5).astype(np.float32), (0, 0), BAND * longer)  # noqa: PLR2004
    # Far from the mask's own edge the guide must not speak: a flag of the coat's colour is not the coat.
    bounded = np.where(near < 0.12, 0, np.where(near > 0.88, 1, np.asarray(soft, np.float32)))  # noqa: PLR2004
    alpha = np.clip((bounded - 0.4) / 0.4, 0, 1)
    count, labels, stats, _ = cv2.connectedComponentsWithStats((alpha > 0.1).astype(np.uint8))  # noqa: PLR2004
    keep = np.zeros(count, np.float32)
    if count > 1:
        area = stats[1:, cv2.CC_STAT_AREA]
        keep[1:] = area > 0.05 * area.max()
    wipe(guide)
    return np.asarray(alpha * keep[labels], np.float32)


def clean_rim(rgb: Image, alpha: Field, longer: int) -> Image:
    """Rim pixels are a mixture with the old background; give them the colour of the solid pixels nearby."""
    sigma = max(1.0, RIM_SIGMA * longer)
    scale = min(1.0, RIM_PX / sigma)  # a blur needs no more pixels than show it
    solid = (alpha > SOLID).astype(np.float32)
    layers = np.dstack([rgb * solid[..., None], solid])
    small = cv2.resize(layers, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA) if scale < 1 else layers
    soft = cv2.GaussianBlur(small, (0, 0), sigma * scale)
    near = np.asarray(cv2.resize(soft, rgb.shape[1::-1], interpolation=cv2.INTER_LINEAR), np.float32)
    share = near[..., 3:]
    colour = np.where(share > 1e-3, near[..., :3] / np.maximum(share, 1e-3), rgb)  # noqa: PLR2004
    wipe(layers, small, soft, near)
    keep = np.clip(alpha / np.float32(SOLID), 0, 1)[..., None] ** 2
    return np.asarray(rgb * keep + colour * (1 - keep) + 0.5).astype(np.uint8)


def _premultiply(rgb: Image, alpha: Field) -> Image:
    return np.dstack([rgb * alpha[..., None] + 0.5, alpha * 255 + 0.5]).astype(np.uint8)


def hole(alpha: Field, longer: int) -> Image:
    """1 where the person is or tints what is behind them, 0 where the photo shows the place alone."""
    reach = 2 * round(HALO * longer) + 1
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (reach, reach))
    return np.asarray(cv2.dilate((alpha > 0.03).astype(np.uint8), kernel), np.uint8)  # noqa: PLR2004
