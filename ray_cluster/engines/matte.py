"""Cuts the person out of the photo: a soft alpha, the person's own colours at its rim, and the picture without them."""

from __future__ import annotations

import cv2
import msgspec
import numpy as np
from numpy.typing import NDArray

from ray_cluster.engines.wipe import wipe

Image = NDArray[np.uint8]
Field = NDArray[np.float32]

GUIDE_EPS = 1e-3
SOLID = 0.92
RIM_SIGMA = 0.012
"""Widths below are fractions of the picture's longer side."""
GUIDE_RADIUS = 0.008
BAND = 0.006
HALO = 0.011
"""How far beyond the alpha the person still tints the background (hair, blur, JPEG)."""
FILL_SIDE_PX = 448


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
    background = _fill(rgb, alpha, longer)
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
    solid = (alpha > SOLID).astype(np.float32)
    sigma = max(1.0, RIM_SIGMA * longer)
    near = cv2.GaussianBlur(rgb.astype(np.float32) * solid[..., None], (0, 0), sigma)
    share = cv2.GaussianBlur(solid, (0, 0), sigma)[..., None]
    colour = np.where(share > 1e-3, near / np.maximum(share, 1e-3), rgb)  # noqa: PLR2004
    keep = np.clip(alpha / np.float32(SOLID), 0, 1)[..., None] ** 2
    return np.asarray(rgb * keep + colour * (1 - keep) + 0.5).astype(np.uint8)


def _premultiply(rgb: Image, alpha: Field) -> Image:
    return np.dstack([rgb * alpha[..., None] + 0.5, alpha * 255 + 0.5]).astype(np.uint8)


def _fill(rgb: Image, alpha: Field, longer: int) -> Image:
    """The photo without the person: continued from outside (Telea 2004), at low resolution, softer with depth."""
    reach = 2 * round(HALO * longer) + 1
    hole = cv2.dilate((alpha > 0.03).astype(np.uint8), cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (reach, reach)))  # noqa: PLR2004
    if hole.all():  # nothing to continue from
        return np.asarray(cv2.GaussianBlur(rgb, (0, 0), 0.1 * longer), np.uint8)
    scale = min(1.0, FILL_SIDE_PX / longer)
    small = cv2.resize(rgb, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    small_hole = (cv2.resize(hole, small.shape[1::-1], interpolation=cv2.INTER_AREA) > 0).astype(np.uint8)
    filled = cv2.inpaint(small, small_hole, 4, cv2.INPAINT_TELEA)
    depth = cv2.distanceTransform(small_hole, cv2.DIST_L2, 3)[..., None]
    blurred = cv2.GaussianBlur(filled, (0, 0), 6)
    mix = np.clip(depth / 24, 0, 1)
    filled = (filled * (1 - mix) + blurred * mix).astype(np.uint8)
    wide = cv2.resize(filled, rgb.shape[1::-1], interpolation=cv2.INTER_CUBIC)
    feather = cv2.GaussianBlur(hole.astype(np.float32), (0, 0), 1.5)[..., None]
    out = np.where(feather > 0, rgb * (1 - feather) + wide * feather + 0.5, rgb).astype(np.uint8)
    wipe(small, filled, wide)
    return out
