"""PNG (ISO/IEC 15948, third edition): signature, IHDR, chunks each with its CRC, IEND. An APNG counts as its still."""

from __future__ import annotations

import zlib
from collections.abc import Generator

from services.gateway.intake.errors import MalformedMedia
from services.gateway.intake.facts import Limits
from services.gateway.intake.tape import Crc32, Need, NothingForeign, Tape
from services.gateway.intake.walker import Frame

SIGNATURE = b"\x89PNG\r\n\x1a\n"
_CHUNK_MAX_BYTES = 2**31 - 1
_IHDR_BYTES = 13
_CRC_BYTES = 4
_PALETTE = 3
_DEPTHS = {0: {1, 2, 4, 8, 16}, 2: {8, 16}, 3: {1, 2, 4, 8}, 4: {8, 16}, 6: {8, 16}}  # colour type: bits (11.2.1)
_ORDERS = [[b"IDAT", b"IEND"], [b"PLTE", b"IDAT", b"IEND"]]  # behind IHDR (5.6)
_CODED = frozenset({b"IDAT", b"fdAT"})
_ANCILLARY_BIT = 0x20


def walk(tape: Tape, limits: Limits) -> Generator[Need, None, Frame]:
    """Walk one PNG."""
    yield from tape.take(len(SIGNATURE))
    frame, colour = yield from _header(tape, limits)
    allowed = _ORDERS[1:] if colour == _PALETTE else _ORDERS
    order: list[bytes] = []  # of the critical chunks so far, a run of IDAT as one
    previous = b""
    while previous != b"IEND":
        length, kind = yield from _chunk(tape, limits)
        if not kind[0] & _ANCILLARY_BIT and not (kind == previous == b"IDAT"):
            order.append(kind)
            if not any(order == whole[: len(order)] for whole in allowed):
                raise MalformedMedia("expected a PNG's critical chunks once and in order, got others: export it again")
        crc = Crc32(kind)
        yield from tape.skip(length, crc, *(() if kind in _CODED else (NothingForeign(),)))
        yield from _check(tape, crc.value)
        if kind == b"IEND" and length:
            raise MalformedMedia(f"expected an empty IEND, got {length} bytes: export it again")
        previous = kind
    return frame


def _header(tape: Tape, limits: Limits) -> Generator[Need, None, tuple[Frame, int]]:
    if (yield from _chunk(tape, limits)) != (_IHDR_BYTES, b"IHDR"):
        raise MalformedMedia("expected IHDR first in a PNG, got another chunk: export it again")
    body = yield from tape.take(_IHDR_BYTES)
    width, height = int.from_bytes(body[:4], "big"), int.from_bytes(body[4:8], "big")
    depth, colour, compression, filtering, interlace = body[8:]
    limits.check_pixels(width, height)
    if depth not in _DEPTHS.get(colour, ()) or compression or filtering or interlace > 1:
        raise MalformedMedia(f"expected a PNG header, got {depth} bits of colour type {colour}: export it again")
    yield from _check(tape, zlib.crc32(b"IHDR" + body))
    return Frame(width, height), colour


def _chunk(tape: Tape, limits: Limits) -> Generator[Need, None, tuple[int, bytes]]:
    """Length and type of the next chunk."""
    head = yield from tape.take(8)
    length, kind = int.from_bytes(head[:4], "big"), head[4:]
    if length > _CHUNK_MAX_BYTES or not (kind.isascii() and kind.isalpha()):
        raise MalformedMedia("expected a PNG chunk, got something else: export it again")
    limits.check_bytes(tape.at + length + _CRC_BYTES)
    return length, kind


def _check(tape: Tape, crc: int) -> Generator[Need, None, None]:
    if int.from_bytes((yield from tape.take(_CRC_BYTES)), "big") != crc:
        raise MalformedMedia("expected a PNG chunk's own CRC, got another: it was damaged on its way, send it again")
