"""`face_retouch` and `face_enhance`: a face's skin evened, a face made clearer; all else stays, pixel by pixel."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from ray_cluster.device import face
from ray_cluster.device.face import Field
from ray_cluster.engines.decode import Pixels

_TEXTURE_KEPT = 0.4  # of pores and hairs: less looks like wax
_EDGE = 28.0  # levels: a deviation that is shape, not blotch
_LIGHT = 6.0


def face_retouch(picture: Pixels, faces: list[Field], strength: float = 0.7) -> Pixels:
    """Blemishes and unevenness of the skin go, its texture stays; `strength` 0..1. A copy, H x W x 3 RGB."""
    out = picture.copy()
    for points in faces:
        where = face.box(points, 0.1, picture.shape)
        patch = np.ascontiguousarray(out[where])
        local = points - np.array([where[1].start, where[0].start, 0], np.float32)
        size = face.width_of(points)
        share = face.skin(local, patch.shape)[..., None] * np.float32(strength)
        out[where] = _mixed(patch, _even(patch, size), share)
    return out


def face_enhance(picture: Pixels, faces: list[Field], strength: float = 0.7) -> Pixels:
    """Clearer: local contrast, crisp eyes and brows, light where a face is too dark; `strength` 0..1. A copy."""
    out = picture.copy()
    for points in faces:
        where = face.box(points, 0.15, picture.shape)
        patch = np.ascontiguousarray(out[where])
        local = points - np.array([where[1].start, where[0].start, 0], np.float32)
        size = face.width_of(points)
        share = face.soft(face.polygon(local, face.OVAL, patch.shape), size * 0.06)[..., None] * np.float32(strength)
        out[where] = _mixed(patch, _clear(patch, local, size), share)
    return out


def _even(patch: Pixels, size: float) -> NDArray[np.float32]:
    """Unevenness weaker than an edge smoothed (He et al., 2010); of the fine part, `_TEXTURE_KEPT` comes back."""
    guide = cv2.GaussianBlur(cv2.cvtColor(patch, cv2.COLOR_RGB2GRAY), (0, 0), max(0.6, size * 0.006))
    smooth = cv2.ximgproc.guidedFilter(guide, patch, max(3, round(size * 0.06)), _EDGE * _EDGE)
    fine = patch.astype(np.float32) - cv2.GaussianBlur(patch, (0, 0), max(0.8, size * 0.006)).astype(np.float32)
    return np.asarray(smooth + _TEXTURE_KEPT * np.clip(fine, -10, 10), np.float32)


def _clear(patch: Pixels, points: Field, size: float) -> NDArray[np.float32]:
    lab = cv2.cvtColor(patch, cv2.COLOR_RGB2LAB).astype(np.float32)
    light = lab[..., 0]
    wide = cv2.GaussianBlur(light, (0, 0), max(2.0, size * 0.08))
    fine = light - cv2.GaussianBlur(light, (0, 0), max(0.8, size * 0.008))
    inside = face.polygon(points, face.OVAL, patch.shape) > 0
    mean = float(light[inside].mean()) if inside.any() else 128.0
    lift = np.clip((140 - mean) * 0.25, 0, 25)
    crisp = np.zeros(patch.shape[:2], np.float32)
    for part in (face.RIGHT_EYE, face.LEFT_EYE, face.RIGHT_BROW, face.LEFT_BROW, face.LIPS):
        crisp = np.maximum(crisp, face.soft(face.polygon(points, part, patch.shape), size * 0.02))
    lab[..., 0] = np.clip(
        light + lift + 0.18 * (light - wide) + (0.4 + 0.9 * crisp) * fine + _LIGHT * crisp * 0.3, 0, 255
    )
    return np.asarray(cv2.cvtColor(np.rint(lab).astype(np.uint8), cv2.COLOR_LAB2RGB), np.float32)


def _mixed(under: Pixels, over: NDArray[np.float32], share: NDArray[np.float32]) -> Pixels:
    return np.clip(np.rint(under + (over - under) * share), 0, 255).astype(np.uint8)
