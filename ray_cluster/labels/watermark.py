"""An imperceptible mark of 32 bits that survives re-encoding and resizing: spread spectrum, embedded with a look.

The picture's luma is scaled to a square of SIDE px, whatever its shape, so that a detector needs no size and no
position. There, each bit is spread over some 180 coefficients of one discrete cosine transform (Cox et al., 1997), at
frequencies that JPEG keeps and that a half-size copy still has. The embedder knows the picture: it adds only what each
bit's sum lacks to reach its margin, so that the picture itself never disturbs its mark (Malvar and Florêncio, 2003).
What is added is larger in textures than in smooth places.

The mark says what the content is, never whose: every output carries the same PAYLOAD.
"""

from __future__ import annotations

import functools
from typing import Any, Final, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

SIDE: Final = 256
SMALLEST_SIDE_PX: Final = 128
"""A smaller picture cannot hold the waves."""
BITS: Final = 32
PAYLOAD: Final = 0xA16C4D59
"""What every output carries. Its halves say nothing of anybody: "AIGC" and "Mayfly", squeezed into 16 bits each."""
MAX_BIT_ERRORS: Final = 3
"""With which a mark still counts as PAYLOAD: a picture without one has as few by chance once in 780,000."""
MARGIN: Final = 300.0
CUT: Final = 15.0
ROUNDS: Final = 3

_LOW, _HIGH = 30, 110  # band, in half periods per side: 15 to 55 waves across the picture
_SEED = 0x4D59
_SMOOTH, _ROUGH, _ROUGH_STD = 0.6, 1.6, 12.0  # how much of the mark a place gets, by its standard deviation
_BLANK = 128.0

Plane = NDArray[np.uint8]
Field = NDArray[np.float32]


class Found(NamedTuple):
    """What a detector reads. `margin`: the weakest right bit's sum, in units of MARGIN; below 0 it was read wrong."""

    bits: int
    errors: int
    margin: float

    @property
    def ours(self) -> bool:
        """Whether it is PAYLOAD, up to MAX_BIT_ERRORS."""
        return self.errors <= MAX_BIT_ERRORS


def residual(luma: Plane, alpha: Plane | None = None, *, payload: int = PAYLOAD, rounds: int = ROUNDS) -> Field:
    """What to add to `luma` (H x W; or to each of red, green and blue) for it to carry `payload`.

    `alpha`: 0..255, where the picture shows; elsewhere nothing is added.
    """
    height, width = luma.shape
    small = _square(luma, alpha)
    shape = _mask(small) * (1 if alpha is None else _scaled(alpha) / np.float32(255))
    signs = _signs(payload)
    chips = _chips()
    spectrum = np.zeros((SIDE, SIDE), np.float32)
    added = np.zeros((SIDE, SIDE), np.float32)
    for _ in range(rounds):
        seen = _seen(small + added)
        lacking = np.maximum(0, MARGIN - signs * np.bincount(chips.bits, chips.signs * seen, BITS)) * signs
        push = chips.signs * lacking[chips.bits]
        free = (np.abs(seen) < CUT) | (push * seen < 0)  # what is cut off already would not show more
        count = np.maximum(1, np.bincount(chips.bits, free, BITS))
        spectrum[chips.rows, chips.columns] += free * push / count[chips.bits] / chips.weights
        added = shape * cv2.dct(spectrum, flags=cv2.DCT_INVERSE)
    whole: Field = cv2.resize(added, (width, height), interpolation=cv2.INTER_CUBIC)
    return whole if alpha is None else np.asarray(whole * (alpha / np.float32(255)), np.float32)


def read(luma: Plane, alpha: Plane | None = None, *, payload: int = PAYLOAD) -> Found:
    """The mark in a picture."""
    return judge(sums(luma, alpha), payload=payload)


def sums(luma: Plane, alpha: Plane | None = None) -> Field:
    """32 sums, one per bit."""
    return _sums(_square(luma, alpha))


def judge(found: Field, *, payload: int = PAYLOAD) -> Found:
    """Sums as bits, compared with `payload`."""
    bits = int(sum(1 << index for index, value in enumerate(found) if value > 0))
    right = _signs(payload) * found
    return Found(bits, int((right <= 0).sum()), float(right.min() / MARGIN))


class _Chips(NamedTuple):
    rows: NDArray[np.intp]
    columns: NDArray[np.intp]
    bits: NDArray[np.intp]
    signs: Field
    weights: Field


@functools.cache
def _chips() -> _Chips:
    row, column = np.indices((SIDE, SIDE))
    radius = np.hypot(row, column)
    rows, columns = np.nonzero((radius >= _LOW) & (radius < _HIGH))
    random = np.random.Generator(np.random.PCG64(_SEED))
    bits = random.permutation(np.arange(len(rows)) % BITS)
    signs = random.choice(np.array([-1, 1], np.float32), len(rows))
    weights = (radius[rows, columns] / _HIGH).astype(np.float32)  # photos have 1/f spectra
    return _Chips(rows, columns, bits, signs, weights)


def _seen(square: Field) -> Field:
    """Each chip's coefficient as the detector takes it: equalised, and cut off, so that no strong edge outvotes."""
    chips = _chips()
    return np.asarray(np.clip(cv2.dct(square)[chips.rows, chips.columns] * chips.weights, -CUT, CUT), np.float32)


def _sums(square: Field) -> Field:
    chips = _chips()
    found: Field = np.bincount(chips.bits, chips.signs * _seen(square), BITS).astype(np.float32)
    return found


def _signs(payload: int) -> Field:
    return np.array([1 if payload >> index & 1 else -1 for index in range(BITS)], np.float32)


def _square(luma: Plane, alpha: Plane | None) -> Field:
    """The luma at SIDE x SIDE, around zero; where nothing shows it is grey."""
    if alpha is None:
        return _scaled(luma) - _BLANK
    share = alpha.astype(np.float32) / 255
    return np.asarray(_resized((luma.astype(np.float32) - _BLANK) * share), np.float32)


def _scaled(plane: Plane) -> Field:
    return np.asarray(_resized(plane), np.float32)


def _resized(plane: NDArray[Any]) -> NDArray[Any]:
    larger = min(plane.shape) >= SIDE
    return np.asarray(cv2.resize(plane, (SIDE, SIDE), interpolation=cv2.INTER_AREA if larger else cv2.INTER_CUBIC))


def _mask(square: Field) -> Field:
    mean = cv2.blur(square, (9, 9))
    spread = np.sqrt(np.maximum(0, cv2.blur(square * square, (9, 9)) - mean * mean))
    return np.asarray(_SMOOTH + (_ROUGH - _SMOOTH) * np.minimum(1, spread / _ROUGH_STD), np.float32)
