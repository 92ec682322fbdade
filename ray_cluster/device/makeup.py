"""`live_makeup`: lips, cheeks and eyes in another colour; light and texture are the face's own."""

from __future__ import annotations

from typing import Final, NamedTuple, get_args

import cv2
import numpy as np
from numpy.typing import NDArray

from ray_cluster.device import face
from ray_cluster.device.face import Field
from ray_cluster.device.names import MakeupName
from ray_cluster.engines.decode import Pixels

NAMES: Final = get_args(MakeupName)
Colour = tuple[int, int, int]


class Style(NamedTuple):
    """Colours (RGB) and how much of each, 0..1."""

    lips: Colour
    lips_share: float
    cheeks: Colour
    cheeks_share: float
    lids: Colour
    lids_share: float
    line_share: float


STYLES: Final[dict[MakeupName, Style]] = {
    "natural": Style((190, 92, 96), 0.45, (230, 130, 120), 0.22, (150, 110, 95), 0.18, 0.35),
    "evening": Style((150, 18, 40), 0.75, (205, 90, 95), 0.28, (60, 45, 70), 0.45, 0.85),
    "rose": Style((214, 72, 118), 0.6, (240, 120, 140), 0.32, (200, 130, 160), 0.35, 0.5),
}


def live_makeup(picture: Pixels, faces: list[Field], name: MakeupName = "natural") -> Pixels:
    """A copy with every face made up; H x W x 3 RGB."""
    style, out = STYLES[name], picture.copy()
    for points in faces:
        where = face.box(points, 0.1, picture.shape)
        patch = np.ascontiguousarray(out[where])
        local = points - np.array([where[1].start, where[0].start, 0], np.float32)
        out[where] = _made_up(patch, local, style)
    return out


def _made_up(patch: Pixels, points: Field, style: Style) -> Pixels:
    size, shape = face.width_of(points), patch.shape
    lips = face.polygon(points, face.LIPS, shape)
    lips[face.polygon(points, face.MOUTH, shape) > 0] = 0
    cheeks = np.zeros(shape[:2], np.float32)
    for middle in (face.RIGHT_CHEEK, face.LEFT_CHEEK):
        cheeks = np.maximum(cheeks, _blob(points[middle, :2], size * 0.13, shape))
    cheeks *= face.soft(face.polygon(points, face.OVAL, shape), size * 0.05)
    lab = cv2.cvtColor(patch, cv2.COLOR_RGB2LAB).astype(np.float32)
    _tint(lab, face.soft(lips, size * 0.012), style.lips, style.lips_share)
    _tint(lab, cheeks, style.cheeks, style.cheeks_share)
    _tint(lab, face.soft(_lids(points, shape), size * 0.02), style.lids, style.lids_share)
    tinted = cv2.cvtColor(np.clip(np.rint(lab), 0, 255).astype(np.uint8), cv2.COLOR_LAB2RGB)
    return _lined(np.asarray(tinted, np.uint8), points, size, style.line_share)


def _lids(points: Field, shape: tuple[int, ...]) -> NDArray[np.uint8]:
    """H x W, 255 between the eyes and half the way to the brows."""
    lids = np.zeros(shape[:2], np.uint8)
    for lid, brow in ((face.RIGHT_LID, face.RIGHT_BROW), (face.LEFT_LID, face.LEFT_BROW)):
        edge = points[list(lid), :2]
        lift = (points[list(brow), :2].mean(0) - edge.mean(0)) * 0.45
        outline = np.rint(np.vstack([edge, edge[::-1] + lift]) * 16).astype(np.int32)
        cv2.fillPoly(lids, [outline], 255, cv2.LINE_8, 4)
    for eye in (face.RIGHT_EYE, face.LEFT_EYE):
        lids[face.polygon(points, eye, shape) > 0] = 0
    return lids


def _tint(lab: Field, mask: Field, colour: Colour, share: float) -> None:
    """The hue of `colour` under the mask, its lightness around the patch's own, in place: folds and shine stay."""
    target = cv2.cvtColor(np.array([[colour]], np.uint8), cv2.COLOR_RGB2LAB)[0, 0].astype(np.float32)
    weight = float(mask.sum())
    if weight < 1:
        return
    rows, columns = (
        slice(int(np.flatnonzero(mask.any(axis))[0]), int(np.flatnonzero(mask.any(axis))[-1]) + 1) for axis in (1, 0)
    )
    part, under = lab[rows, columns], mask[rows, columns]
    own = float((part[..., 0] * under).sum()) / weight
    amount = under[..., None] * np.float32(share)
    part[..., 1:] += (target[1:] - part[..., 1:]) * amount
    part[..., :1] += (target[0] - own) * 0.6 * amount


def _lined(patch: Pixels, points: Field, size: float, share: float) -> Pixels:
    line = np.zeros(patch.shape[:2], np.uint8)
    for lid in (face.RIGHT_LID, face.LEFT_LID):
        place = np.rint(points[list(lid), :2] * 16).astype(np.int32)
        cv2.polylines(line, [place], isClosed=False, color=255, thickness=max(1, round(size * 0.013)), shift=4)
    dark = 1 - face.soft(line, max(1.0, size * 0.005))[..., None] * np.float32(share)
    return np.rint(patch * dark).astype(np.uint8)


def _blob(centre: Field, radius: float, shape: tuple[int, ...]) -> Field:
    y, x = np.ogrid[: shape[0], : shape[1]]
    far = (np.square(x - centre[0]) + np.square(y - centre[1])) / np.float32(radius * radius)
    return np.asarray(np.exp(-far), np.float32)
