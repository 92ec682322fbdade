"""What a camera wrote about its picture is blanked while the upload passes, before it is sealed: place, time, owner.

Same length, same structure: metadata become zeros (in an MP4 a `free` box, in a PNG a chunk that nobody reads). Of EXIF
only the orientation stays, without which a photo would lie on its side; colour profiles stay too. It follows `Intake`,
which has judged the same bytes a moment before, and holds back one segment of a JPEG at most (64 kB).
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Generator

from services.gateway.intake.facts import MediaType
from services.gateway.intake.tape import Need, Take, Tape

_SNIFF_BYTES = 12
_ORIENTATION = 0x0112
_EXIF = b"Exif\0\0"
_SOS, _EOI, _COM, _APP0, _APP1, _APP15 = 0xDA, 0xD9, 0xFE, 0xE0, 0xE1, 0xEF
_KEPT_APPS = frozenset({0xE0, 0xE2, 0xEE})  # JFIF, colour profile, Adobe's colour transform
_PNG_TOLD = frozenset({b"tEXt", b"zTXt", b"iTXt", b"tIME"})
_PNG_NOTHING = b"paDd"  # ancillary, private, safe to copy (PNG, 5.4)
_RIFF_TOLD = frozenset({b"EXIF", b"XMP "})
_BOXES_TOLD = frozenset({b"udta", b"meta", b"uuid"})
_BOXES_INSIDE = frozenset({b"moov", b"trak", b"mdia"})
_BOXES_DATED = frozenset({b"mvhd", b"tkhd", b"mdhd"})
_SMALL_BYTES = 65_536

Walk = Generator[Need | int, None, None]
"""Yields a need, whose bytes pass as they are unless they were taken; or how many bytes become zeros."""


class Strip:
    """Feed it what was judged; it gives back as many bytes, some of them later."""

    def __init__(self) -> None:
        self._head = bytearray()
        self._out = bytearray()
        self._walk: Walk | None = None
        self._need: Need | int | None = None

    def feed(self, chunk: bytes | bytearray | memoryview, media_type: MediaType | None) -> bytearray:
        """The next bytes, as far as they are decided. `media_type`: what `Intake` has found, None until it has."""
        view = memoryview(chunk).cast("B")
        if self._walk is None:
            self._head += view
            if media_type is None:
                return bytearray()
            self._walk = _WALKS[media_type](Tape(), self._out)
            self._advance()
            view = memoryview(bytes(self._head))
            self._head.clear()
        self._pass(view)
        given = self._out[:]
        self._out.clear()
        return given

    def wipe(self) -> None:
        """Overwrite what is held back."""
        for held in (self._head, self._out, getattr(self._need, "got", bytearray())):
            held[:] = bytes(len(held))

    def _pass(self, view: memoryview) -> None:
        while view:
            if self._need is None:  # nothing more can be metadata
                self._out += view
                return
            if isinstance(self._need, int):
                used = min(len(view), self._need)
                self._out += bytes(used)
                self._need -= used
                met = not self._need
            else:
                used = self._need.offer(view)
                if not isinstance(self._need, Take):
                    self._out += view[:used]
                met = self._need.met
            view = view[used:]
            if met:
                self._advance()

    def _advance(self) -> None:
        assert self._walk is not None
        self._need = next(self._walk, None)
        while self._need == 0:
            self._need = next(self._walk, None)


def _jpeg(tape: Tape, out: bytearray) -> Walk:
    yield from tape.skip(2)
    code = yield from _marker(tape, out)
    while code != _EOI:
        length: bytes = yield from tape.take(2)
        out += length
        size = int.from_bytes(length, "big") - 2
        if code == _COM or (_APP0 <= code <= _APP15 and code not in _KEPT_APPS):
            body: bytes = yield from tape.take(size)
            out += _blanked_app(code, body)
        else:
            yield from tape.skip(size)
        code = yield from tape.jpeg_marker() if code == _SOS else _marker(tape, out)


def _marker(tape: Tape, out: bytearray) -> Generator[Need, None, int]:
    """The next marker's code, behind any fill bytes (B.1.1.2)."""
    marker = yield from tape.take(2)
    out += marker
    while marker[-1] == 0xFF:  # noqa: PLR2004
        marker = yield from tape.take(1)
        out += marker
    return marker[-1]


def _blanked_app(code: int, body: bytes) -> bytes:
    if code == _APP1 and body.startswith(_EXIF):
        kept = _EXIF + upright(body[len(_EXIF) :])
        if len(_EXIF) < len(kept) <= len(body):
            return kept + bytes(len(body) - len(kept))
    return bytes(len(body))


def upright(tiff: bytes) -> bytes:
    """A TIFF header that says the orientation in `tiff`, and nothing else; empty where there is none."""
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(tiff[:4])
    if order is None or len(tiff) < 10:  # noqa: PLR2004 - header and a count
        return b""
    (at,) = struct.unpack_from(f"{order}I", tiff, 4)
    if at + 2 > len(tiff):
        return b""
    (count,) = struct.unpack_from(f"{order}H", tiff, at)
    for entry in range(at + 2, min(at + 2 + 12 * count, len(tiff) - 11), 12):
        tag, _, _, value = struct.unpack_from(f"{order}HHIH", tiff, entry)
        if tag == _ORIENTATION and 1 <= value <= 8:  # noqa: PLR2004 - as EXIF numbers them
            return b"II*\0" + struct.pack("<IHHHIHHI", 8, 1, _ORIENTATION, 3, 1, value, 0, 0)
    return b""


def _png(tape: Tape, out: bytearray) -> Walk:
    yield from tape.skip(8)
    kind = b""
    while kind != b"IEND":
        head: bytes = yield from tape.take(8)
        size, kind = int.from_bytes(head[:4], "big"), head[4:]
        if kind == b"eXIf" and size <= _SMALL_BYTES:
            body: bytes = yield from tape.take(size)
            kept = upright(body)
            kept = kept + bytes(size - len(kept)) if 0 < len(kept) <= size else b""
            yield from tape.take(4)
            name = kind if kept else _PNG_NOTHING
            body = kept or bytes(size)
            out += head[:4] + name + body + zlib.crc32(name + body).to_bytes(4, "big")
        elif kind in _PNG_TOLD or kind == b"eXIf":
            out += head[:4] + _PNG_NOTHING
            yield size
            yield from tape.take(4)
            out += _crc_of_zeros(_PNG_NOTHING, size).to_bytes(4, "big")
        else:
            out += head
            yield from tape.skip(size + 4)


def _crc_of_zeros(kind: bytes, size: int) -> int:
    crc = zlib.crc32(kind)
    for at in range(0, size, _SMALL_BYTES):
        crc = zlib.crc32(bytes(min(_SMALL_BYTES, size - at)), crc)
    return crc


def _webp(tape: Tape, out: bytearray) -> Walk:
    yield from tape.skip(12)
    while True:
        head: bytes = yield from tape.take(8)
        out += head
        size = int.from_bytes(head[4:], "little")
        size += size % 2
        if head[:4] in _RIFF_TOLD:
            yield size
        else:
            yield from tape.skip(size)


def _mp4(tape: Tape, out: bytearray) -> Walk:
    while True:
        yield from _box(tape, out)


def _box(tape: Tape, out: bytearray) -> Generator[Need | int, None, int]:
    """One box; how long it was."""
    head: bytes = yield from tape.take(8)
    size, kind, read = int.from_bytes(head[:4], "big"), head[4:], 8
    more = b""
    if size == 1:
        more = yield from tape.take(8)
        size, read = int.from_bytes(more, "big"), 16
    told = kind in _BOXES_TOLD
    out += head[:4] + (b"free" if told else kind) + more
    if told:
        yield size - read
    elif kind in _BOXES_INSIDE:
        while read < size:
            read += yield from _box(tape, out)
    elif kind in _BOXES_DATED and size - read > 4:  # noqa: PLR2004 - version and flags
        full: bytes = yield from tape.take(4)
        out += full
        dates = 16 if full[0] == 1 else 8  # when it was made and changed
        yield dates
        yield from tape.skip(size - read - 4 - dates)
    else:
        yield from tape.skip(size - read)
    return size


_WALKS: dict[MediaType, Callable[[Tape, bytearray], Walk]] = {
    MediaType.JPEG: _jpeg,
    MediaType.PNG: _png,
    MediaType.WEBP: _webp,
    MediaType.MP4: _mp4,
    MediaType.MOV: _mp4,
}
