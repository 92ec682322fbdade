"""What strokes are made of: noise that is the same for a seed, and that moves along with a clip."""

from __future__ import annotations

import math
from typing import Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

Field = NDArray[np.float32]

PERIOD = 40
"""Frames after which a layer of noise begins anew: carried for longer it would be stretched out of shape."""
OFFSET = 1000
"""Between the seeds of the two layers."""


class Moves(Protocol):
    """Where each pixel was a frame ago (`steady.Motion`)."""

    def places(self, width: int, height: int) -> tuple[Field, Field]:
        """As x and y for cv2.remap."""


class Canvas:
    """Noise for one picture, or for the frames of one clip.

    On a clip two layers of noise are carried along with what is seen (Neyret, "Advected textures", SCA 2003). They
    begin anew in turns, each while it is out of sight, and together they always have the same strength.
    """

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._age = PERIOD // 2
        self._places: list[tuple[Field, Field]] = []

    def follow(self, motion: Moves | None, width: int, height: int) -> None:
        """The next frame of a clip has come; None: of another scene."""
        if motion is None or not self._places or self._places[0][0].shape != (height, width):
            self._places = [_still(width, height), _still(width, height)]
            self._age = PERIOD // 2
            return
        self._age = (self._age + 1) % PERIOD
        x, y = motion.places(width, height)
        for index, place in enumerate(self._places):
            if (self._age + index * PERIOD // 2) % PERIOD == 0:
                self._places[index] = _still(width, height)
                continue
            carried = [cv2.remap(axis, x, y, cv2.INTER_LINEAR, None, cv2.BORDER_REPLICATE) for axis in place]
            # Beyond the border a coordinate cannot be looked up, but it goes on as it did at the border.
            over = (x - np.clip(x, 0, width - 1), y - np.clip(y, 0, height - 1))
            first, second = (np.asarray(axis + beyond, np.float32) for axis, beyond in zip(carried, over, strict=True))
            self._places[index] = (first, second)

    def noise(self, shape: tuple[int, ...], index: int, sigma: float) -> Field:
        """Smooth noise number `index` of mean 0 and deviation about 1, H x W."""
        first = _noise(shape, self._seed + index, sigma)
        if not self._places:
            return first
        layers = (first, _noise(shape, self._seed + index + OFFSET, sigma))
        weights = [_weight(self._age + turn * PERIOD // 2) for turn in range(2)]
        out = np.zeros(shape, np.float32)
        for layer, (x, y), weight in zip(layers, self._places, weights, strict=True):
            if weight > 0:
                out += np.float32(weight) * cv2.remap(layer, x, y, cv2.INTER_LINEAR, None, cv2.BORDER_REFLECT)
        return np.asarray(out / np.float32(math.hypot(*weights)), np.float32)


def _weight(age: int) -> float:
    """0 as a layer begins, 1 in the middle of its time."""
    return 1 - abs(2 * (age % PERIOD) / PERIOD - 1)


def _still(width: int, height: int) -> tuple[Field, Field]:
    x = np.broadcast_to(np.arange(width, dtype=np.float32), (height, width)).copy()
    y = np.broadcast_to(np.arange(height, dtype=np.float32)[:, None], (height, width)).copy()
    return x, y


def _noise(shape: tuple[int, ...], seed: int, sigma: float) -> Field:
    coarse = max(1.0, sigma / 2)
    small = (max(2, round(shape[0] / coarse)), max(2, round(shape[1] / coarse)))
    field = np.random.default_rng(seed).standard_normal(small, np.float32)
    field = np.asarray(cv2.GaussianBlur(field, (0, 0), max(0.3, sigma / coarse)), np.float32)
    wide = cv2.resize(field, (shape[1], shape[0]), interpolation=cv2.INTER_CUBIC)
    return np.asarray((wide - wide.mean()) / (wide.std() + 1e-6), np.float32)
