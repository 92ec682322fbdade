"""Does the imperceptible mark survive what happens to pictures? Each check: (name, value, bar, ok).

The value is the share of pictures, copies of them included, in which the mark is found; the bar is all.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from ray_cluster.labels import watermark
from ray_cluster.labels.stamp import PixelStamp

Pixels = NDArray[np.uint8]
Check = tuple[str, float, float, bool]

JPEG_QUALITY = 60
SCALES = (0.5, 0.7, 1.5, 2.0)
SHAPES = ((640, 480), (480, 640))
BAR = 1.0


def label_survives_jpeg60(pictures: Sequence[Pixels]) -> Check:
    """Marked (H x W x 3, RGB; at least one, each of 128 px or more), saved as JPEG at quality 60."""
    return _judged("label_survives_jpeg60", (_saved(_marked(one)) for one in pictures))


def label_survives_resize(pictures: Sequence[Pixels]) -> Check:
    """Marked, then smaller, larger, and squeezed into other shapes."""
    return _judged("label_survives_resize", (copy for one in pictures for copy in _resized(_marked(one))))


def label_found_unmarked(pictures: Sequence[Pixels]) -> Check:
    """The control: the share of pictures without a mark in which one is found must be none."""
    _, share, _, _ = _judged("", pictures)
    return "label_found_unmarked", share, 0.0, share <= 0.0


def _judged(name: str, copies: Iterable[Pixels]) -> Check:
    found = [watermark.read(cv2.cvtColor(copy, cv2.COLOR_RGB2GRAY)).ours for copy in copies]
    share = sum(found) / len(found)
    return name, share, BAR, share >= BAR


def _marked(picture: Pixels) -> Pixels:
    marked = picture.copy()
    PixelStamp("").still(marked)
    return marked


def _saved(picture: Pixels) -> Pixels:
    _, coded = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    return np.asarray(cv2.imdecode(coded, cv2.IMREAD_COLOR), np.uint8)


def _resized(picture: Pixels) -> Iterable[Pixels]:
    for scale in SCALES:
        how = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
        yield np.asarray(cv2.resize(picture, None, fx=scale, fy=scale, interpolation=how), np.uint8)
    for shape in SHAPES:
        yield np.asarray(cv2.resize(picture, shape, interpolation=cv2.INTER_AREA), np.uint8)
