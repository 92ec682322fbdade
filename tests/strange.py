"""Files that people send and nobody tests with: a table of stills and clips, each with what must come of it.

All are made on the spot but those of `tests/vectors`. Where a person is, every operation can work with them.
"""

from __future__ import annotations

import functools
import io
import struct
import zlib
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import av
import cv2
import numpy as np

from ray_cluster.engines import samples_path
from ray_cluster.engines.decode import decode
from tests.clips import clip

VECTORS = Path(__file__).parent / "vectors"
ORIENTATION_TAG = 0x0112
GREY, RGB, PALETTE, GREY_ALPHA, RGBA = 0, 2, 3, 4, 6
"""Colour types of a PNG."""


class Strange(NamedTuple):
    """`size` is (width, height) upright, or None where all refuse it; `frames` is 0 for a still.

    `kinds`: by which errors it is refused. Who draws no frames takes a clip's first where it has a `size`.
    """

    media: bytes
    size: tuple[int, int] | None = None
    kinds: frozenset[str] = frozenset()
    person: bool = False
    frames: int = 0
    sound: bool = False
    rate: int = 24


def refused(media: bytes, *kinds: str) -> Strange:
    """A file that no operation takes."""
    return Strange(media, kinds=frozenset(kinds or {"undecodable-media"}))


@functools.cache
def person() -> np.ndarray:
    """Somebody from the waist up, RGB, 182 x 220: every operation works on it."""
    photo = decode(samples_path("portrait.jpg").read_bytes())
    return np.asarray(cv2.resize(photo[:440, 40:404], (182, 220), interpolation=cv2.INTER_AREA), np.uint8)


def png(array: np.ndarray, colour: int, extra: bytes = b"", bits: int = 0) -> bytes:
    """A PNG of any colour type and depth, `extra` chunks before its pixels."""
    height, width = array.shape[:2]
    bits = bits or 8 * array.itemsize
    rows = array.astype(">u2" if bits == 16 else np.uint8).reshape(height, -1)
    if bits < 8:
        rows = np.packbits(rows.astype(bool), axis=1)
    raw = b"".join(b"\0" + row.tobytes() for row in rows)
    header = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + _chunk(b"IHDR", header)
        + extra
        + _chunk(b"IDAT", zlib.compress(raw, 1))
        + _chunk(b"IEND", b"")
    )


def _chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def _tiff(orientation: int) -> bytes:
    return b"II*\0\x08\0\0\0" + struct.pack("<HHHIII", 1, ORIENTATION_TAG, 3, 1, orientation, 0)


def turned(array: np.ndarray, orientation: int, suffix: str) -> bytes:
    """RGB `array` as a file whose EXIF says how to hold it."""
    tiff = _tiff(orientation)
    if suffix == ".png":
        return png(array, RGB, _chunk(b"eXIf", tiff))
    coded = cv2.imencode(suffix, array[..., ::-1])[1].tobytes()
    if suffix == ".jpg":
        body = b"Exif\0\0" + tiff
        return coded[:2] + b"\xff\xe1" + struct.pack(">H", len(body) + 2) + body + coded[2:]
    height, width = array.shape[:2]
    sizes = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    head = b"VP8X" + struct.pack("<I", 10) + b"\x08\0\0\0" + sizes
    exif = b"EXIF" + struct.pack("<I", len(tiff)) + tiff
    body = b"WEBP" + head + coded[12:] + exif
    return b"RIFF" + struct.pack("<I", len(body)) + body


def jpeg(array: np.ndarray, *options: int) -> bytes:
    """RGB `array`."""
    return cv2.imencode(".jpg", array[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 95, *options])[1].tobytes()


def hidden(secret: int) -> bytes:
    """The person with a clear stripe beside them, under which the colour `secret` lies."""
    photo = person().copy()
    photo[:, :12] = secret
    alpha = np.full(photo.shape[:2], 255, np.uint8)
    alpha[:, :12] = 0
    return png(np.dstack([photo, alpha]), RGBA)


def stills() -> dict[str, Strange]:
    """By name."""
    photo = person()
    height, width = photo.shape[:2]
    size, grey = (width, height), cv2.cvtColor(photo, cv2.COLOR_RGB2GRAY)
    wide = photo.astype(np.uint16) * 257
    crowd = np.vstack([np.hstack([photo[:160, 20:180]] * 3)] * 2)
    bomb = bytearray(png(photo[:4, :4], RGB))
    bomb[16:24] = struct.pack(">II", 60_000, 60_000)
    whole = jpeg(photo)
    rng = np.random.default_rng(1)
    noise = rng.integers(0, 256, (90, 120, 3), np.uint8)
    palette = b"".join(_chunk(*part) for part in ((b"PLTE", bytes(range(30))), (b"tRNS", b"\0\x80")))
    return {
        "no face": Strange(png(np.full((90, 120, 3), 120, np.uint8), RGB), (120, 90)),
        "noise": Strange(png(noise, RGB), (120, 90)),
        "many faces": Strange(jpeg(crowd), (480, 320), person=True),
        "one pixel": Strange(png(photo[:1, :1], RGB), (1, 1)),
        "a sliver": Strange(png(photo[:, :1].repeat(3, 0), RGB), (1, 660)),
        "huge": Strange(jpeg(np.full((3000, 4000, 3), 120, np.uint8)), (4000, 3000)),
        "grey": Strange(png(grey, GREY), size, person=True),
        "16 bit grey and alpha": Strange(
            png(np.dstack([grey, np.full_like(grey, 255)]).astype(np.uint16) * 257, GREY_ALPHA), size, person=True
        ),
        "16 bit": Strange(png(wide, RGB), size, person=True),
        "alpha": Strange(hidden(0), size, person=True),
        "16 bit alpha": Strange(png(np.dstack([wide, np.full_like(wide[..., 0], 65535)]), RGBA), size, person=True),
        "two colours": Strange(png(grey[:, :176] > 128, GREY, bits=1), (176, height)),
        "palette": Strange(png(rng.integers(0, 10, (60, 60), np.uint8), PALETTE, palette), (60, 60)),
        "CMYK": Strange((VECTORS / "cmyk.jpg").read_bytes(), (24, 16)),
        "progressive": Strange(jpeg(photo, cv2.IMWRITE_JPEG_PROGRESSIVE, 1), size, person=True),
        "odd sides": Strange(jpeg(photo[: height - 1, 1:]), (width - 1, height - 1), person=True),
        "turned JPEG": Strange(turned(np.ascontiguousarray(np.rot90(photo)), 6, ".jpg"), size, person=True),
        "turned WebP": Strange(turned(np.ascontiguousarray(np.rot90(photo, -1)), 8, ".webp"), size, person=True),
        "turned PNG": Strange(turned(np.ascontiguousarray(photo[::-1]), 4, ".png"), size, person=True),
        "animated WebP": Strange((VECTORS / "animated.webp").read_bytes(), (40, 30)),
        "animated GIF": refused((VECTORS / "animated.gif").read_bytes()),
        "bomb": refused(bytes(bomb), "too-many-pixels"),
        "nothing": refused(b""),
        "text": refused(b"<svg xmlns='http://www.w3.org/2000/svg'/>"),
        "half a JPEG": refused(whole[: len(whole) // 2]),
        "half a PNG": refused(png(photo, RGB)[:-100]),
        "PNG with broken pixels": refused(_broken_png()),
    }


def _broken_png() -> bytes:
    return png(person(), RGB).replace(b"IDAT\x78\x01", b"IDAT\xff\xff", 1)


def frames(count: int, size: tuple[int, int] = (182, 220)) -> list[np.ndarray]:
    """The person, seen by a hand that trembles."""
    return [cv2.resize(np.roll(person(), index % 3, 1), size) for index in range(count)]


def sound_alone(*, cover: bool = False) -> bytes:
    """An MP4 with sound, and at most a picture of its cover."""
    made = clip(frames(6), sound="aac", video=False)
    if not cover:
        return made
    file = io.BytesIO()
    with av.open(io.BytesIO(made)) as source, av.open(file, "w", format="mp4") as target:
        tone = target.add_stream_from_template(source.streams.audio[0])
        picture = target.add_stream("mjpeg", rate=1)
        picture.width, picture.height, picture.pix_fmt = 182, 220, "yuvj420p"
        picture.disposition = av.stream.Disposition.attached_pic
        for packet in picture.encode(av.VideoFrame.from_ndarray(person(), format="rgb24")):
            target.mux(packet)
        for packet in source.demux(source.streams.audio[0]):
            if packet.size:
                packet.stream = tone
                target.mux(packet)
    return file.getvalue()


def turned_clip(degrees: int) -> bytes:
    """A clip whose track header says how to hold it."""
    made = bytearray(clip([np.ascontiguousarray(np.rot90(one, degrees // 90)) for one in frames(4, (192, 224))]))
    matrix = made.index(b"tkhd") + 4 + 40
    one = 1 << 16
    made[matrix : matrix + 36] = struct.pack(">9i", 0, one, 0, -one, 0, 0, 0, 0, 1 << 30)
    return bytes(made)


def growing() -> bytes:
    """A clip whose frames become larger on the way."""
    file = io.BytesIO()
    with av.open(file, "w", format="mov") as container:
        stream = container.add_stream("mjpeg", rate=24)
        stream.width, stream.height, stream.pix_fmt = *person().shape[1::-1], "yuvj420p"
        for index, frame in enumerate(frames(4)):
            packet = av.Packet(jpeg(frame if index < 2 else cv2.resize(frame, (400, 300))))
            packet.stream, packet.pts, packet.dts = stream, index, index
            packet.time_base, packet.duration, packet.is_keyframe = Fraction(1, 24), 1, True
            container.mux(packet)
    return file.getvalue()


def holed(media: bytes, share: float) -> bytes:
    """A clip with the middle of its coded pictures overwritten."""
    damaged = bytearray(media)
    start = media.index(b"mdat") + 4
    length = len(media) - start if media.index(b"moov") < start else media.index(b"moov") - 4 - start
    middle, half = start + length // 2, int(length * share / 2)
    damaged[middle - half : middle + half] = bytes(2 * half)
    return bytes(damaged)


def clips() -> dict[str, Strange]:
    """By name. A clip's frames are small: an operation draws each."""
    some, size = frames(3), (182, 220)
    whole = clip(some, sound="aac")
    lasting = clip(frames(8), rate=10)
    bomb = bytearray(whole)
    at = bomb.index(b"avc1", bomb.index(b"stsd")) + 28
    bomb[at : at + 4] = struct.pack(">HH", 60_000, 60_000)
    return {
        "clip with sound": Strange(whole, size, person=True, frames=3, sound=True),
        "silent clip": Strange(clip(some), size, person=True, frames=3),
        "one frame": Strange(clip(some[:1]), size, person=True, frames=1),
        "clip of odd sides": Strange(clip([one[:219, :181] for one in some[:2]]), (181, 219), person=True, frames=2),
        "clip of a sliver": Strange(clip([one[:, :2] for one in some[:2]]), (2, 220), frames=2),
        "turned clip": Strange(turned_clip(90), (192, 224), person=True, frames=4),
        "Matroska": Strange(clip(some[:2], kind="matroska", sound="flac"), size, person=True, frames=2, sound=True),
        "clip with a hole": Strange(holed(lasting, 0.1), size, frames=8, rate=10),
        "clip full of holes": refused(holed(clip(frames(24, (96, 112)), rate=24), 0.95)),
        "sound alone": refused(sound_alone()),
        "sound with a cover": refused(sound_alone(cover=True)),
        "clip that grows": Strange(growing(), size, person=True, frames=4),
        "clip that claims to be vast": Strange(bytes(bomb), size, person=True, frames=3, sound=True),
        "half a clip": refused(whole[: len(whole) // 2]),
        "too long": Strange(
            clip([np.zeros((16, 16, 3), np.uint8)] * 3010, rate=10),
            (16, 16),
            frozenset({"too-long"}),
            frames=3010,
            rate=10,
        ),
        "an empty box": refused(b"\0\0\0\x18ftypisom" + bytes(12)),
    }


def table() -> dict[str, Strange]:
    """All of them."""
    return stills() | clips()
