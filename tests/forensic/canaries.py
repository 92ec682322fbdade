"""What goes in, is erased, and is then sought: secrets, and every form in which each could come to lie somewhere."""

from __future__ import annotations

import base64
import secrets
import struct
import zlib
from dataclasses import dataclass, field

import cv2
import numpy as np

from tests.forensic.needles import SHORTEST_BYTES

STRIDE = 64
MOST = 1500
WINDOW = SHORTEST_BYTES
DISTINCT_BYTES = 9
"""A window with fewer different bytes (a header, a flat patch) could lie anywhere; 16 random ones have 15."""

TEXT_CHARS = 48
GROUP_BYTES = 12  # of which base64 makes SHORTEST_BYTES characters, wherever the string began


@dataclass(slots=True, frozen=True)
class Needle:
    """One form of one canary."""

    pattern: bytes
    canary: int
    form: str


@dataclass(slots=True)
class Flock:
    """All canaries, by number; `kinds[number]` says what each was."""

    kinds: list[str] = field(default_factory=list)
    needles: list[Needle] = field(default_factory=list)
    _known: set[bytes] = field(default_factory=set)

    def add(self, kind: str, secret: bytes, *, form: str = "raw") -> None:
        """One canary, sought in halves: as it is, and in base64 and hex."""
        if secret in self._known:
            return
        self._known.add(secret)
        number = len(self.kinds)
        self.kinds.append(kind)
        for at in range(0, len(secret) - WINDOW + 1, WINDOW):
            self._forms(number, secret[at : at + WINDOW], form)

    def add_media(self, kind: str, media: bytes) -> None:
        """One canary every 64 bytes of the file, and of its pixels as OpenCV decodes them."""
        # A JPEG's tables, before its scan, are those of many others; and every PNG begins alike.
        begins = b"\xff\xda" if media.startswith(b"\xff\xd8") else b"IDAT" if media.startswith(b"\x89PNG") else b""
        self.add_strides(kind, media[media.find(begins) :], "raw")
        pixels = cv2.imdecode(np.frombuffer(media, np.uint8), cv2.IMREAD_COLOR)
        if pixels is not None:
            self.add_strides(kind, pixels.tobytes(), "pixels")

    def add_strides(self, kind: str, data: bytes, form: str) -> None:
        """One canary every 64 bytes; of long data every so many times 64, so that there are at most `MOST`."""
        step = STRIDE * -(-len(data) // (STRIDE * MOST))
        for at in range(0, len(data) - WINDOW, step):
            if len(set(window := data[at : at + WINDOW])) >= DISTINCT_BYTES:
                self.add(kind, window, form=form)

    def _forms(self, number: int, window: bytes, form: str) -> None:
        patterns = {
            window: form,
            window.hex().encode(): "hex",
        }
        for skip in range(3):
            group = window[skip : skip + GROUP_BYTES]
            patterns[base64.b64encode(group)] = "base64"
            patterns[base64.urlsafe_b64encode(group)] = "base64"
        self.needles += [Needle(pattern, number, name) for pattern, name in patterns.items()]


def a_text() -> str:
    """A word nobody else says."""
    return secrets.token_urlsafe(TEXT_CHARS)[:TEXT_CHARS]


def a_noise(side: int = 64) -> bytes:
    """A PNG whose file holds its pixels as they are, all of them random."""
    return stored_png(np.frombuffer(secrets.token_bytes(side * side * 3), np.uint8).reshape(side, side, 3))


def a_portrait(photo: bytes, side: int = 448) -> bytes:
    """A PNG of somebody's face, its pixels as they are, with a grain that no other picture has."""
    pixels = cv2.imdecode(np.frombuffer(photo, np.uint8), cv2.IMREAD_COLOR)
    assert pixels is not None
    scale = side / max(pixels.shape[:2])
    small = cv2.resize(pixels, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA).astype(np.float32)
    grain = np.frombuffer(secrets.token_bytes(small.size), np.uint8).reshape(small.shape).astype(np.float32)
    return stored_png(np.clip(28 + small * (200 / 255) + (grain / 255 - 0.5) * 48, 0, 255).astype(np.uint8)[..., ::-1])


def stored_png(rgb: np.ndarray) -> bytes:  # type: ignore[type-arg]
    """A PNG that compresses nothing: rows behind a filter byte of 0, in stored deflate blocks."""
    height, width = rgb.shape[:2]
    rows = b"".join(b"\0" + row.tobytes() for row in rgb)
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = (b"IHDR", header), (b"IDAT", zlib.compress(rows, 0)), (b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        len(body).to_bytes(4, "big") + name + body + zlib.crc32(name + body).to_bytes(4, "big") for name, body in chunks
    )
