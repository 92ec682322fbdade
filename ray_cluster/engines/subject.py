"""Who or what a picture is of: what stands out, corrected by the network that knows people."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from ray_cluster.engines.decode import Pixels
from ray_cluster.engines.litert import Model
from ray_cluster.engines.salience import Box, Salience

Field = NDArray[np.float32]

SELFIE_PX = 256
SURELY, MOSTLY, HARDLY = 0.9, 0.6, 0.25
CLOSED = 0.015
"""Radius of the holes that are filled in a clip, as a share of the longer side."""
SMALLEST_PERSON = 0.02
"""Share of the picture's pixels."""
AGREED = 0.75
"""If at least so much of the person stands out, and they are at least so much of what does, the picture is of them."""
AROUND_PERSON = 0.035
"""How far hair and what is held may reach beyond the person's coarse mask, as a share of the longer side."""
LEAST = 0.35


class Subject:
    """Both networks. Not thread-safe."""

    def __init__(self, folder: Path) -> None:
        self._salience = Salience(folder)
        self._selfie = Model(folder, "selfie_segmentation.tflite")

    def __call__(self, rgb: Pixels) -> Field:
        """The mask of what the picture is of, H x W, 0..1."""
        seen, box = self._salience(rgb)
        person = self.person(rgb, box)
        return _correct(seen, person) if _is_of(seen, person) else seen

    def quick(self, rgb: Pixels) -> Field:
        """The mask of people alone, generous and without holes: what a frame of a clip has time for."""
        mask = np.clip((self.person(rgb) - HARDLY) / (MOSTLY - HARDLY), 0, 1)
        side = 2 * max(1, round(CLOSED * max(mask.shape))) + 1
        kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side))
        return np.asarray(cv2.morphologyEx(mask, cv2.MORPH_CLOSE, kernel), np.float32)

    def is_person(self, rgb: Pixels) -> bool:
        """Whether `quick` finds what the picture is of (in a tenth of the time)."""
        seen, box = self._salience(rgb)
        return _is_of(seen, self.person(rgb, box))

    def person(self, rgb: Pixels, box: Box | None = None) -> Field:
        """The mask of people in `box`, H x W, 0..1: a glance of 10 ms."""
        height, width = rgb.shape[:2]
        x0, y0, x1, y1 = box or (0, 0, width, height)
        patch = cv2.resize(rgb[y0:y1, x0:x1], (SELFIE_PX, SELFIE_PX), interpolation=cv2.INTER_AREA)
        found = self._selfie(np.asarray(patch, np.float32) / np.float32(255))[SELFIE_PX * SELFIE_PX]
        mask = np.zeros((height, width), np.float32)
        square = found.reshape(SELFIE_PX, SELFIE_PX)
        mask[y0:y1, x0:x1] = cv2.resize(square, (x1 - x0, y1 - y0), interpolation=cv2.INTER_LINEAR)
        return mask


def _is_of(seen: Field, person: Field) -> bool:
    sure, out = person > SURELY, seen > 0.5  # noqa: PLR2004
    if sure.mean() < SMALLEST_PERSON:
        return False
    both = float((sure & out).sum())
    return bool(both >= AGREED * sure.sum() and both >= LEAST * out.sum())


def _correct(seen: Field, person: Field) -> Field:
    """Fine edges from what stands out; holes in the person filled, things away from them dropped."""
    scale = min(1.0, SELFIE_PX / max(seen.shape))  # the network saw no more
    small = cv2.resize(person, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA) if scale < 1 else person
    side = 2 * max(1, round(AROUND_PERSON * max(small.shape))) + 1
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side))
    wide = cv2.dilate((small > HARDLY).astype(np.float32), kernel)
    sure = cv2.erode((small > SURELY).astype(np.float32), kernel)
    near, core = (cv2.resize(cv2.GaussianBlur(one, (0, 0), side / 8), seen.shape[::-1]) for one in (wide, sure))
    return np.asarray(np.maximum(seen * near, core), np.float32)
