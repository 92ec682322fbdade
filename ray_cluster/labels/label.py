"""Labels onto one result: marks in its pixels, metadata replaced by ours, a signature. What has none does not leave."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import cv2
import msgspec
import numpy as np

from ray_cluster.engines import features
from ray_cluster.engines.interface import Result
from ray_cluster.engines.wipe import wipe
from ray_cluster.labels import movies, stills, xmp
from ray_cluster.labels.errors import Unlabellable
from ray_cluster.labels.stamp import PixelStamp

STILLS: Final = {
    "image/jpeg": (".jpg", [cv2.IMWRITE_JPEG_QUALITY, 93]),
    "image/png": (".png", [cv2.IMWRITE_PNG_COMPRESSION, 6]),
    "image/webp": (".webp", [cv2.IMWRITE_WEBP_QUALITY, 92]),
}
MOVIE: Final = "video/mp4"
NOT_SEEN: Final = frozenset({features.MEDIA_TYPE, "application/octet-stream"})
"""Of the system's own use: nobody is shown it."""

Sign = Callable[[bytearray, str], bytearray]


def labelled(result: Result, stamp: PixelStamp, *, producer: str, sign: Sign | None) -> Result:
    """`result` with every label; its `media` is overwritten. `stamp` was there while it was drawn.

    Raises:
        Unlabellable: it is of another kind, is damaged, or a clip with a frame that was not marked.

    """
    if result.media_type in NOT_SEEN:
        return result
    media = result.media
    if result.media_type in STILLS and not stamp.count:
        media = _stamped(media, result.media_type, stamp)
    elif result.media_type == MOVIE and stamp.count < result.frames:
        raise Unlabellable(f"expected {result.frames} frames to be marked, {stamp.count} were: is VideoWriter used?")
    elif result.media_type != MOVIE and result.media_type not in STILLS:
        raise Unlabellable(f"expected a kind of media that can be labelled, got {result.media_type}")
    aigc = xmp.aigc(producer)
    packet = xmp.packet(aigc)
    made = [result.media, media]
    if result.media_type == MOVIE:
        media = movies.embed(media, packet, aigc)
    else:
        media = stills.embed(media, result.media_type, packet)
    if sign is not None:
        made.append(media)
        media = sign(media, result.media_type)
    wipe(*made)
    return msgspec.structs.replace(result, media=media)


def _stamped(media: bytearray, media_type: str, stamp: PixelStamp) -> bytearray:
    """An encoded still decoded, marked and encoded again: engines that do not use our encoders are labelled too."""
    pixels: Any = cv2.imdecode(np.frombuffer(media, np.uint8), cv2.IMREAD_UNCHANGED)
    if pixels is None or pixels.dtype != np.uint8:
        raise Unlabellable(f"expected a whole 8-bit {media_type} to label, got something else; another attempt may")
    if pixels.ndim == 2:  # noqa: PLR2004 - grey; the marks are grey too, but the stamp wants channels
        pixels = cv2.cvtColor(pixels, cv2.COLOR_GRAY2BGR)
    stamp.still(pixels)
    extension, options = STILLS[media_type]
    ok, coded = cv2.imencode(extension, pixels, options)
    if not ok:
        raise Unlabellable(f"expected OpenCV to encode {media_type} again, it did not; another attempt may")
    again = bytearray(coded.data)
    wipe(pixels, coded)
    return again
