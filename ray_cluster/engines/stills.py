"""Pixels to an encoded still: JPEG, PNG or WebP."""

from __future__ import annotations

from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from ray_cluster.engines import stamping
from ray_cluster.engines.errors import EngineFault
from ray_cluster.engines.wipe import wipe

Format = Literal["jpeg", "png", "webp"]

_OPTIONS: dict[Format, list[int]] = {
    "jpeg": [cv2.IMWRITE_JPEG_QUALITY, 93],
    "png": [cv2.IMWRITE_PNG_COMPRESSION, 3],
    "webp": [cv2.IMWRITE_WEBP_QUALITY, 92],
}
_RGBA = 4


def encode(pixels: NDArray[np.uint8], as_format: Format) -> bytearray:
    """`pixels` H x W x 3 (RGB) or H x W x 4 (RGBA, not premultiplied; JPEG cannot hold it); they are stamped."""
    stamp = stamping.current()
    if stamp is not None:
        stamp.still(pixels)
    turned = cv2.cvtColor(pixels, cv2.COLOR_RGBA2BGRA if pixels.shape[2] == _RGBA else cv2.COLOR_RGB2BGR)
    ok, coded = cv2.imencode(f".{as_format}", turned, _OPTIONS[as_format])
    if not ok:
        raise EngineFault(f"expected OpenCV to encode {as_format}, it did not; another attempt may")
    media = bytearray(coded.data)
    wipe(coded, turned)
    return media
