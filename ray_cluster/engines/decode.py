"""Encoded bytes to pixels: RGB uint8, H x W x 3, upright, opaque.

JPEG, PNG and WebP by OpenCV, the first frame of MP4/MOV/WebM/MKV by libav. The declared size is read from the header
before anything is decoded, so a decompression bomb costs nothing.
"""

from __future__ import annotations

import io
import struct
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from ray_cluster.engines.confine import confined
from ray_cluster.engines.errors import TooManyPixels, Undecodable
from ray_cluster.engines.interface import Plaintext

Pixels = NDArray[np.uint8]
"""H x W x 3, RGB, 0..255, C-contiguous."""

MAX_PIXELS = 50_000_000
SMALLEST_SIDE_PX = 16
WHITE = 255
JPEG_FIRST_BYTE = 0xFF

_SOF = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}  # T.81 B.1.1.3: every start-of-frame marker
_ORIENTATION_TAG = 0x0112
_MOVIE = (b"\x1aE\xdf\xa3",)
_MOVIE_BOXES = (b"ftyp",)


@confined
def decode(data: Plaintext, *, max_pixels: int = MAX_PIXELS) -> Pixels:
    """The picture, or the first frame of the clip, in `data`.

    EXIF orientation and a clip's display rotation are applied, alpha is laid on white, grey and CMYK become RGB,
    16 bits become 8.

    Raises:
        Undecodable: not a whole file of a format read here.
        TooManyPixels: it declares more than `max_pixels`.

    """
    if is_clip(data):
        return _first_frame(data, max_pixels)
    width, height = _declared(data)
    _check_pixels(width, height, max_pixels)
    return _still(data)


def is_clip(data: Plaintext) -> bool:
    """Whether `data` begins as a clip does (MP4, MOV, WebM, MKV)."""
    head = bytes(data[:16])
    return head.startswith(_MOVIE) or head[4:8] in _MOVIE_BOXES


def moving(container: Any) -> Any:
    """The stream of pictures in a libav container; the cover of a song is none. Raises Undecodable."""
    import av  # noqa: PLC0415 - as below

    for stream in container.streams.video:
        if not stream.disposition & av.stream.Disposition.attached_pic:
            return stream
    raise _undecodable("a clip without pictures")


def fit(pixels: Pixels, longer_side_px: int) -> Pixels:
    """`pixels` scaled down, aspect kept, so that neither side is over `longer_side_px`; never scaled up."""
    height, width = pixels.shape[:2]
    scale = longer_side_px / max(height, width)
    if scale >= 1:
        return pixels
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return np.asarray(cv2.resize(pixels, size, interpolation=cv2.INTER_AREA), np.uint8)


def even(pixels: Pixels) -> Pixels:
    """`pixels` at even sides (4:2:0 needs them) of at least SMALLEST_SIDE_PX."""
    height, width = (max(SMALLEST_SIDE_PX, side - side % 2) for side in pixels.shape[:2])
    if (height, width) == pixels.shape[:2]:
        return pixels
    return np.asarray(cv2.resize(pixels, (width, height), interpolation=cv2.INTER_LINEAR), np.uint8)


def _check_pixels(width: int, height: int, max_pixels: int) -> None:
    if width * height > max_pixels:
        raise TooManyPixels(f"expected at most {max_pixels} pixels, the header declares {width}x{height}; scale down")


def _undecodable(what: str) -> Undecodable:
    return Undecodable(f"expected a whole JPEG, PNG, WebP or clip, got {what}; send the file as the camera wrote it")


def _declared(data: Plaintext) -> tuple[int, int]:
    """Width and height as the header of a still says, after a look for the end marker (a codec would grey-fill)."""
    view = memoryview(data)
    head = bytes(view[:12])
    if head[:8] == b"\x89PNG\r\n\x1a\n":
        if len(view) < 33 or bytes(view[-64:]).find(b"IEND") < 0:  # noqa: PLR2004 - signature and IHDR chunk
            raise _undecodable("a PNG without its end")
        width, height = struct.unpack(">II", view[16:24])
        return width, height
    if head[:4] == b"RIFF" and head[8:] == b"WEBP":
        return _declared_webp(view)
    if head[:2] == b"\xff\xd8":
        return _declared_jpeg(view)
    raise _undecodable(f"{len(view)} bytes of another format" if view else "0 bytes")


def _declared_webp(view: memoryview) -> tuple[int, int]:
    """RFC 9649 section 2.5 to 2.7: the first chunk carries the canvas."""
    if len(view) < 30 or len(view) < 8 + int.from_bytes(view[4:8], "little"):  # noqa: PLR2004
        raise _undecodable("a WebP without its end")
    chunk = bytes(view[12:16])
    if chunk == b"VP8X":
        return 1 + int.from_bytes(view[24:27], "little"), 1 + int.from_bytes(view[27:30], "little")
    if chunk == b"VP8L":
        bits = int.from_bytes(view[21:25], "little")
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    if chunk == b"VP8 ":
        width, height = struct.unpack("<HH", view[26:30])
        return width & 0x3FFF, height & 0x3FFF
    raise _undecodable("a WebP of an unknown kind")


def _declared_jpeg(view: memoryview) -> tuple[int, int]:
    if bytes(view[-1024:]).rfind(b"\xff\xd9") < 0:
        raise _undecodable("a JPEG without its end")
    at = 2
    while at + 9 <= len(view) and view[at] == 0xFF:  # noqa: PLR2004 - marker prefix
        marker = view[at + 1]
        if marker in _SOF:
            height, width = struct.unpack(">HH", view[at + 5 : at + 9])
            return width, height
        at += 1 if marker == 0xFF else 2 + int.from_bytes(view[at + 2 : at + 4], "big")  # noqa: PLR2004 - fill byte
    raise _undecodable("a JPEG without a frame header")


def _still(data: Plaintext) -> Pixels:
    coded = np.frombuffer(data, np.uint8)
    try:
        if data[0] != JPEG_FIRST_BYTE:  # OpenCV keeps alpha only together with ignoring the EXIF orientation
            raw: Any = cv2.imdecode(coded, cv2.IMREAD_UNCHANGED)
            if raw is not None and raw.ndim == 3 and raw.shape[2] == 4:  # noqa: PLR2004 - BGRA
                return _on_white(raw)
        image: Any = cv2.imdecode(coded, cv2.IMREAD_COLOR_RGB)
    except cv2.error:  # its text can quote the source expression and sizes; ours says all that helps
        image = None
    if image is None:
        raise _undecodable("a damaged still")
    return np.ascontiguousarray(image, np.uint8)


def _on_white(bgra: NDArray[Any]) -> Pixels:
    """Blend over white; integers, rounded, so that opaque stays exact."""
    if bgra.dtype == np.uint16:
        bgra = (bgra >> 8).astype(np.uint8)
    alpha = bgra[..., 3:].astype(np.uint16)
    mixed = (bgra[..., 2::-1] * alpha + WHITE * (WHITE - alpha) + WHITE // 2) // WHITE
    return np.ascontiguousarray(mixed, np.uint8)


def _first_frame(data: Plaintext, max_pixels: int) -> Pixels:
    import av  # noqa: PLC0415 - 0.3 s that stills need not pay

    file = io.BytesIO(data)
    try:
        with av.open(file, "r") as container:
            stream = moving(container)
            if stream.codec_context is None:
                raise _undecodable("a clip in an unknown codec")
            _check_pixels(stream.codec_context.width, stream.codec_context.height, max_pixels)
            frame = next(container.decode(stream), None)
            if frame is None:
                raise _undecodable("a clip without a whole frame")
            quarters = round(frame.rotation / 90) % 4  # counter-clockwise degrees, as displayed
            return np.ascontiguousarray(np.rot90(frame.to_ndarray(format="rgb24"), quarters), np.uint8)
    except (av.FFmpegError, ValueError):
        raise _undecodable("a damaged clip") from None
    finally:
        with file.getbuffer() as copy:
            copy[:] = bytes(len(copy))
