"""From a coarse mask to a fine alpha: which share of each rim pixel is the thing, by the colours on either side."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from ray_cluster.engines.decode import Pixels
from ray_cluster.engines.wipe import wipe

Field = NDArray[np.float32]

SURE, NOTHING = 0.9, 0.08
REACH = 0.007
"""Half-width of the band that is not taken from the mask, as a share of the longer side; twice that blurs edges."""
WIDE = 5
"""Half-widths of the band, from the mask's edge: hair reaches so far."""
REACHES = (1.0, 2.5, 8.0)
"""Sigmas, in half-widths of the band, over which known colours are carried into it."""
APART = 0.10, 0.34
"""Distance between the two colours (0..1.7) from which their mixture says anything, and from which it says all."""
THIRD = 0.2, 0.6
"""Distance from the line between them, as a share of it: a third colour is explained by neither."""
CRISP = 0.22, 0.78
"""What a network calls a half is an edge that it saw at a quarter of the size."""
FAINT = 0.02
SPECK_ALPHA, SPECK_SHARE = 0.1, 0.02


def refine(rgb: Pixels, mask: Field) -> tuple[Field, Field]:
    """Alpha (H x W, 0..1) and the thing's own colours (H x W x 3, 0..1), from `mask` (H x W, 0..1).

    A rim pixel mixes a colour of the thing with one of what is behind it. Both are carried in from where the mask is
    sure; where they differ enough, the pixel's place between them is its alpha, elsewhere the mask's own edge is.
    """
    picture = np.asarray(rgb, np.float32) / np.float32(255)
    band = max(2, round(REACH * max(rgb.shape[:2])))
    inner, outer = _known(mask, band)
    rim = np.flatnonzero((inner | outer) == 0)  # a twentieth of a portrait: all else is known
    front, behind = _spread(picture, inner, band, rim), _spread(picture, outer, band, rim)
    seen = np.take(picture.reshape(-1, 3), rim, 0)
    along = front - behind
    gap = np.sqrt(np.maximum((along * along).sum(1), 1e-8))
    share = np.clip(((seen - behind) * along).sum(1) / (gap * gap), 0, 1)
    off = np.sqrt(((seen - behind - along * share[:, None]) ** 2).sum(1)) / (gap + np.float32(0.05))
    trust = _ramp(gap, *APART) * (1 - _ramp(off, *THIRD))
    edge = _ramp(np.take(mask, rim), *CRISP)
    alpha = inner.astype(np.float32)
    np.put(alpha, rim, edge + (share - edge) * trust)
    alpha = _whole(alpha)
    part = np.take(alpha, rim)[:, None]
    own = np.clip((seen - (1 - part) * behind) / np.maximum(part, FAINT), 0, 1)
    picture *= inner[..., None]
    picture.reshape(-1, 3)[rim] = front + (own - front) * part**2
    wipe(seen, front, behind, along, own)
    return alpha, picture


def _known(mask: Field, band: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Where the mask is believed: well inside the thing, and well outside.

    Next to the edge it must be sure, for there may be hair. Far from any edge its doubt is no half-clear thing: all of
    it is seen, or none.
    """
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * band + 1, 2 * band + 1))
    solid = (mask > 0.5).astype(np.uint8)  # noqa: PLR2004
    inner = cv2.erode(solid, kernel, borderType=cv2.BORDER_REPLICATE) & (mask > SURE)
    outer = (1 - cv2.dilate(solid, kernel)) & (mask < NOTHING)
    deep, away = (cv2.distanceTransform(one, cv2.DIST_L2, 3) > WIDE * band for one in (solid, 1 - solid))
    return np.asarray(inner | deep, np.uint8), np.asarray(outer | away, np.uint8)


def _whole(alpha: Field) -> Field:
    """Without loose specks."""
    count, labels, stats, _ = cv2.connectedComponentsWithStats((alpha > SPECK_ALPHA).astype(np.uint8), connectivity=8)
    if count <= 2:  # noqa: PLR2004 - the background and one thing
        return alpha
    keep = np.ones(count, np.float32)
    area = stats[1:, cv2.CC_STAT_AREA]
    keep[1:] = area >= SPECK_SHARE * area.max()
    return np.asarray(alpha * keep[labels], np.float32)


def _spread(picture: Field, where: NDArray[np.uint8], band: int, rim: NDArray[np.intp]) -> Field:
    """The colours of the known pixels carried outwards: from the nearest ones if there are any near, else from afar.

    `rim`: where they are asked for, N flat places; the answer is N x 3.
    """
    known = np.asarray(np.dstack([picture, np.ones_like(where, np.float32)]) * where[..., None], np.float32)
    out, total = np.zeros((len(rim), 3), np.float32), np.zeros((len(rim), 1), np.float32)
    for reach in REACHES:
        blur = _blur(known, max(1.0, reach * band))
        near = np.take(blur.reshape(-1, 4), rim, 0)
        share = near[:, 3:]
        fresh = (1 - total) * np.minimum(share * 20, 1)
        out += fresh / (share + np.float32(1e-5)) * near[:, :3]
        total += fresh
        wipe(blur, near)
    mean = known[..., :3].sum((0, 1)) / max(float(known[..., 3].sum()), 1.0)
    wipe(known)
    return np.asarray(out + (1 - total) * mean, np.float32)


def _blur(field: Field, sigma: float) -> Field:
    height, width = field.shape[:2]
    step = max(1, min(int(sigma / 2), min(height, width) // 8))
    if step == 1:
        return np.asarray(cv2.GaussianBlur(field, (0, 0), sigma), np.float32)
    small = cv2.resize(field, (width // step, height // step), interpolation=cv2.INTER_AREA)
    small = cv2.GaussianBlur(small, (0, 0), sigma / step)
    return np.asarray(cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR), np.float32)


def _ramp(value: Field, low: float, high: float) -> Field:
    return np.asarray(np.clip((value - low) / (high - low), 0, 1), np.float32)
