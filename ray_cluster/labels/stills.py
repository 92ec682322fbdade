"""Metadata of encoded stills: all that there are leave, ours comes in. Pixels are not touched."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from typing import Final

from ray_cluster.labels.errors import Unlabellable

PNG: Final = b"\x89PNG\r\n\x1a\n"
_JPEG_XMP: Final = b"http://ns.adobe.com/xap/1.0/\0"
_PNG_XMP: Final = b"XML:com.adobe.xmp\0\0\0\0\0"
_JPEG_KEPT: Final = frozenset({0xE0, 0xE2, 0xEE, *range(0xC0, 0xD0), 0xDB, 0xDD})  # JFIF, ICC, Adobe, coding
_PNG_DROPPED: Final = frozenset({b"eXIf", b"tEXt", b"zTXt", b"iTXt", b"tIME", b"caBX"})
_WEBP_DROPPED: Final = frozenset({b"EXIF", b"XMP ", b"C2PA"})
_SOS, _APP1, _FF = 0xDA, 0xE1, 0xFF
_WEBP_XMP_FLAG, _WEBP_ALPHA_FLAG, _WEBP_EXIF_FLAG = 0x04, 0x10, 0x08
_VP8X_BYTES: Final = 10


def embed(media: bytes | bytearray | memoryview, media_type: str, xmp: bytes) -> bytearray:
    """A copy of `media` whose only metadata is the packet `xmp`; colour profiles stay. Raises Unlabellable."""
    return {"image/jpeg": _jpeg, "image/png": _png, "image/webp": _webp}[media_type](memoryview(media), xmp)


def read(media: bytes | bytearray | memoryview, media_type: str) -> tuple[bytes, tuple[str, ...]]:
    """The XMP packet, empty where there is none; and the names of what else there is. Raises Unlabellable."""
    view = memoryview(media)
    parts = {"image/jpeg": _jpeg_metadata, "image/png": _png_metadata, "image/webp": _webp_metadata}[media_type](view)
    xmp, others = b"", []
    for name, body in parts:
        if name == "XMP":
            xmp = xmp or body
        else:
            others.append(name)
    return xmp, tuple(dict.fromkeys(others))


def _jpeg(view: memoryview, xmp: bytes) -> bytearray:
    out = bytearray(view[:2])
    body = _JPEG_XMP + xmp
    packet = bytes([_FF, _APP1]) + (len(body) + 2).to_bytes(2, "big") + body
    placed = False
    for code, start, end in _segments(view):
        if code != 0xE0 and not placed:  # noqa: PLR2004 - behind JFIF's, which must be first
            out += packet
            placed = True
        if code == _SOS:
            return out + view[start:]
        if code in _JPEG_KEPT:
            out += view[start:end]
    raise _broken("JPEG")


def _segments(view: memoryview) -> Iterator[tuple[int, int, int]]:
    """(marker, start, end) up to the first scan's header."""
    at = 2
    while at + 4 <= len(view) and view[at] == _FF:
        code, length = view[at + 1], int.from_bytes(view[at + 2 : at + 4], "big")
        if length < 2:  # noqa: PLR2004 - it counts itself
            return
        yield code, at, at + 2 + length
        if code == _SOS:
            return
        at += 2 + length


def _jpeg_metadata(view: memoryview) -> Iterator[tuple[str, bytes]]:
    for code, start, end in _segments(view):
        body = bytes(view[start + 4 : end])
        if body.startswith(_JPEG_XMP) and code == _APP1:
            yield "XMP", body[len(_JPEG_XMP) :]
        elif code == _APP1:
            yield "EXIF", body
        elif code == 0xED:  # noqa: PLR2004 - APP13
            yield "IPTC", body
        elif code == 0xFE:  # noqa: PLR2004 - COM
            yield "comment", body


def _png(view: memoryview, xmp: bytes) -> bytearray:
    out = bytearray(PNG)
    for kind, start, end in _chunks(view):
        if kind not in _PNG_DROPPED:
            out += view[start:end]
        if kind == b"IHDR":
            body = b"iTXt" + _PNG_XMP + xmp
            out += (len(body) - 4).to_bytes(4, "big") + body + zlib.crc32(body).to_bytes(4, "big")
        if kind == b"IEND":
            return out
    raise _broken("PNG")


def _chunks(view: memoryview) -> Iterator[tuple[bytes, int, int]]:
    at = len(PNG)
    while at + 12 <= len(view):
        end = at + 12 + int.from_bytes(view[at : at + 4], "big")
        if end > len(view):
            return
        yield bytes(view[at + 4 : at + 8]), at, end
        at = end


def _png_metadata(view: memoryview) -> Iterator[tuple[str, bytes]]:
    names = {b"eXIf": "EXIF", b"tEXt": "text", b"zTXt": "text", b"iTXt": "text", b"tIME": "time"}
    for kind, start, end in _chunks(view):
        body = bytes(view[start + 8 : end - 4])
        if kind == b"iTXt" and body.startswith(_PNG_XMP[:18]):
            yield "XMP", body[len(_PNG_XMP) :]
        elif kind in names:
            yield names[kind], body


def _webp(view: memoryview, xmp: bytes) -> bytearray:
    chunks = [(kind, bytes(view[start:end])) for kind, start, end in _riff(view)]
    if not chunks:
        raise _broken("WebP")
    kind, first = chunks[0]
    if kind == b"VP8X":
        flags = first[0]
        head = bytearray(first)
        chunks = chunks[1:]
    else:
        width, height, alpha = _webp_size(kind, first)
        flags = _WEBP_ALPHA_FLAG if alpha else 0
        head = bytearray(4) + (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    head[0] = (flags | _WEBP_XMP_FLAG) & ~_WEBP_EXIF_FLAG
    kept = [(kind, body) for kind, body in chunks if kind not in _WEBP_DROPPED]
    out = bytearray(b"RIFF\0\0\0\0WEBP")
    for kind, body in [(b"VP8X", bytes(head)), *kept, (b"XMP ", xmp)]:
        out += kind + len(body).to_bytes(4, "little") + body + bytes(len(body) % 2)
    out[4:8] = (len(out) - 8).to_bytes(4, "little")
    return out


def _webp_size(kind: bytes, body: bytes) -> tuple[int, int, bool]:
    """RFC 9649, 2.5 and 2.6."""
    if kind == b"VP8 " and len(body) >= _VP8X_BYTES:
        width, height = (int.from_bytes(body[at : at + 2], "little") & 0x3FFF for at in (6, 8))
        return width, height, False
    if kind == b"VP8L" and len(body) >= 5:  # noqa: PLR2004 - its header
        bits = int.from_bytes(body[1:5], "little")
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF), bool(bits >> 28 & 1)
    raise _broken("WebP")


def _riff(view: memoryview) -> Iterator[tuple[bytes, int, int]]:
    at = 12
    while at + 8 <= len(view):
        size = int.from_bytes(view[at + 4 : at + 8], "little")
        if at + 8 + size > len(view):
            return
        yield bytes(view[at : at + 4]), at + 8, at + 8 + size
        at += 8 + size + size % 2


def _webp_metadata(view: memoryview) -> Iterator[tuple[str, bytes]]:
    for kind, start, end in _riff(view):
        if kind in (b"XMP ", b"EXIF"):
            yield kind.decode().strip(), bytes(view[start:end])


def _broken(what: str) -> Unlabellable:
    return Unlabellable(f"expected a whole {what} to label, got something else; another attempt may work")
