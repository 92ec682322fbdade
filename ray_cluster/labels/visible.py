"""The visible mark: a few words in a corner, large enough for the law and no larger."""

from __future__ import annotations

import functools
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

SHARE: Final = 0.055
"""Height of the letters as a share of the shorter side: GB 45438-2025 wants 5 % at least."""
_MARGIN_SHARE: Final = 0.02
_SMALLEST_PX: Final = 7
_LETTERS, _SHADOW = 0.85, 0.45  # how opaque

Mask = NDArray[np.float32]


def draw(pixels: NDArray[np.uint8], text: str) -> None:
    """Write `text` into the lower right corner of H x W x 3 or 4 (colour order does not matter) in place.

    Where the picture is transparent it is made opaque under the letters: a mark is there to be seen.
    """
    where, letters, shadow = _placed(text, *pixels.shape[:2])
    corner = pixels[where].astype(np.float32)
    colours = corner[..., :3]
    colours *= 1 - shadow[..., None]
    colours += (255 - colours) * letters[..., None]
    if corner.shape[2] == 4:  # noqa: PLR2004 - alpha
        np.maximum(corner[..., 3], 255 * np.maximum(letters, shadow), out=corner[..., 3])
    pixels[where] = np.rint(corner)


def draw_planes(planes: NDArray[np.uint8], text: str) -> None:
    """The same on I420 (H * 3/2 x W, video range) in place."""
    height, width = planes.shape[0] * 2 // 3, planes.shape[1]
    where, letters, shadow = _placed(text, height, width)
    luma = planes[:height][where].astype(np.float32) - 16
    luma *= 1 - shadow
    luma += (219 - luma) * letters
    planes[:height][where] = np.rint(luma + 16)
    grey = np.maximum(letters, shadow)
    for plane in np.split(planes[height:].reshape(2, height // 2, width // 2), 2):
        area = tuple(slice(one.start // 2, one.stop // 2) for one in where)
        target = plane[0][area]
        share = cv2.resize(grey, target.shape[::-1], interpolation=cv2.INTER_AREA)
        target[:] = np.rint(128 + (target.astype(np.float32) - 128) * (1 - share))


@functools.lru_cache(8)
def _placed(text: str, height: int, width: int) -> tuple[tuple[slice, slice], Mask, Mask]:
    """Where in a picture of that size, and how opaque letters and shadow are there; sides are even."""
    letters = _letters(text, max(_SMALLEST_PX, round(min(height, width) * SHARE)))
    if letters.shape[1] > width:
        letters = cv2.resize(letters, (width, max(1, letters.shape[0] * width // letters.shape[1])))
    margin = round(min(height, width) * _MARGIN_SHARE)
    bottom, right = height - margin & ~1, width - margin & ~1
    tall, wide = (min(side + side % 2, end) & ~1 for side, end in zip(letters.shape, (bottom, right), strict=True))
    canvas = np.zeros((tall, wide), np.float32)
    fitted = letters[:tall, :wide]
    canvas[: fitted.shape[0], : fitted.shape[1]] = fitted
    radius = max(3, (tall // 6) | 1)
    shadow = np.minimum(1, cv2.GaussianBlur(cv2.dilate(canvas, np.ones((3, 3))), (radius, radius), 0) * 1.2)
    where = (slice(bottom - tall, bottom), slice(right - wide, right))
    return where, canvas * np.float32(_LETTERS), shadow.astype(np.float32) * np.float32(_SHADOW)


def _letters(text: str, height: int) -> Mask:
    """`text`, its letters `height` px high, cropped with a little room; 0..1. OpenCV's own font has Chinese too."""
    font = cv2.FontFace("sans")
    size = round(height / 0.72)  # capital letters' share of the font's size
    canvas = np.zeros((size * 2, size * (len(text) * 2 + 2), 3), np.uint8)
    cv2.putText(canvas, text, (size, round(size * 1.4)), (255, 255, 255), font, size, 500)
    ink = canvas[..., 0]
    rows, columns = np.nonzero(ink.any(1))[0], np.nonzero(ink.any(0))[0]
    room = max(2, height // 5)
    cropped = ink[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    return np.pad(cropped.astype(np.float32) / 255, room)
