"""JPEG (ITU-T T.81): SOI, segments, scans, EOI.

Strict on the end: behind EOI only zero bytes may follow, fewer than a disk sector of them, as some cameras pad. A
second picture (MPF) or a clip (motion photo) behind it is refused as trailing data: nobody would look at it, and it
would live on unseen.
"""

from __future__ import annotations

from collections.abc import Generator

from services.gateway.intake.errors import MalformedMedia, TrailingData, UnsupportedMedia
from services.gateway.intake.facts import Limits
from services.gateway.intake.tape import Need, NothingForeign, Tape
from services.gateway.intake.walker import Frame

_PADDING_MAX_BYTES = 511
_EOI, _SOS = 0xD9, 0xDA
_DECODABLE = frozenset({0xC0, 0xC1, 0xC2})  # baseline, extended sequential, progressive; Huffman, 8 bits
_OTHER_FRAMES = frozenset({0xC3, 0xC5, 0xC6, 0xC7, 0xC9, 0xCA, 0xCB, 0xCD, 0xCE, 0xCF})  # lossless, arithmetic, ...
_TABLES = frozenset({0xC4, 0xDB, 0xDD})  # DHT, DQT, DRI
_TEXT = frozenset({*range(0xE0, 0xF0), 0xFE})  # APPn, COM
_FRAME_HEADER_BYTES = 6


def walk(tape: Tape, limits: Limits) -> Generator[Need, None, Frame]:
    """Walk one JPEG."""
    yield from tape.take(2)  # SOI, sniffed
    frame: Frame | None = None
    scanned = False
    code = yield from _marker(tape)
    while code != _EOI:
        length = int.from_bytes((yield from tape.take(2)), "big") - 2
        if length < 0:
            raise MalformedMedia(f"expected a JPEG segment of at least 2 bytes, got {length + 2}: export it again")
        if code in _DECODABLE and frame is None:
            frame = yield from _frame(tape, limits, length)
        elif code in _OTHER_FRAMES:
            raise UnsupportedMedia(f"expected a baseline or progressive JPEG, got SOF{code - 0xC0}: export it again")
        elif code in _TABLES:
            yield from tape.skip(length)
        elif code in _TEXT:
            yield from tape.skip(length, NothingForeign())
        elif code == _SOS and frame is not None:
            scanned = True
            yield from tape.skip(length)
            code = yield from tape.jpeg_marker()
            continue
        else:
            raise MalformedMedia(f"expected another JPEG marker here, got 0xFF{code:02X}: export it again")
        code = yield from _marker(tape)
    if frame is None or not scanned:
        raise MalformedMedia("expected a picture before the end of the JPEG, got none: export it again")
    yield from _padding(tape)
    return frame


def _marker(tape: Tape) -> Generator[Need, None, int]:
    """The next marker's code, behind any fill bytes (B.1.1.2)."""
    prefix, code = yield from tape.take(2)
    if prefix != 0xFF:  # noqa: PLR2004
        raise MalformedMedia(f"expected a JPEG marker, got 0x{prefix:02X}: export it again")
    while code == 0xFF:  # noqa: PLR2004
        (code,) = yield from tape.take(1)
    return code


def _frame(tape: Tape, limits: Limits, length: int) -> Generator[Need, None, Frame]:
    if length < _FRAME_HEADER_BYTES:
        raise MalformedMedia(f"expected a JPEG frame header, got {length} bytes: export it again")
    header = yield from tape.take(_FRAME_HEADER_BYTES)
    height, width = int.from_bytes(header[1:3], "big"), int.from_bytes(header[3:5], "big")
    limits.check_pixels(width, height)  # a height of 0, to be told later (DNL), is refused with it
    yield from tape.skip(length - _FRAME_HEADER_BYTES)
    return Frame(width, height)


def _padding(tape: Tape) -> Generator[Need, None, None]:
    for _ in range(_PADDING_MAX_BYTES):
        byte = yield from tape.take_or_end(1)
        if not byte:
            return
        if byte != b"\x00":
            raise TrailingData("expected the end of the JPEG, got more: a motion photo? Export it as a plain picture")
