"""WebP (RFC 9649): one RIFF chunk of exactly the declared size, holding one still picture. Animations are not taken."""

from __future__ import annotations

from collections.abc import Generator

from services.gateway.intake.errors import MalformedMedia, UnsupportedMedia
from services.gateway.intake.facts import Limits
from services.gateway.intake.tape import Need, NothingForeign, Tape
from services.gateway.intake.walker import Frame

_RIFF_HEAD_BYTES = 8
_VP8X_BYTES = 10
_ANIMATED = 0x02
_VP8_HEAD_BYTES = 10
_VP8_START = b"\x9d\x01\x2a"
_VP8L_HEAD_BYTES = 5
_VP8L_SIGNATURE = 0x2F
_SIDE_BITS = 14
_SIDE_MASK = (1 << _SIDE_BITS) - 1


def walk(tape: Tape, limits: Limits) -> Generator[Need, None, Frame]:
    """Walk one WebP."""
    head = yield from tape.take(12)
    end = _RIFF_HEAD_BYTES + int.from_bytes(head[4:8], "little")
    limits.check_bytes(end)
    canvas: Frame | None = None
    frame: Frame | None = None
    while tape.at < end:
        kind, length = yield from _chunk(tape, end)
        start = tape.at
        if kind == b"VP8X" and canvas is None and frame is None:
            canvas = yield from _canvas(tape, limits, length)
        elif kind in {b"VP8 ", b"VP8L"} and frame is None:
            frame = yield from (_lossy if kind == b"VP8 " else _lossless)(tape, limits, length)
        elif kind in {b"VP8X", b"VP8 ", b"VP8L", b"ANIM", b"ANMF"}:
            raise MalformedMedia("expected one picture in a WebP, got parts of more: export it again")
        watchers = () if kind in {b"VP8 ", b"VP8L", b"ALPH"} else (NothingForeign(),)
        yield from tape.skip(start + length - tape.at, *watchers)
        if length % 2 and (yield from tape.take(1)) != b"\x00":
            raise MalformedMedia("expected a zero behind an odd RIFF chunk, got another byte: export it again")
    if frame is None or (canvas is not None and canvas != frame):
        raise MalformedMedia("expected one picture that fills its WebP canvas, got none: export it again")
    return frame


def _chunk(tape: Tape, end: int) -> Generator[Need, None, tuple[bytes, int]]:
    """Type and length of the next chunk, which lies within the file."""
    if end - tape.at < _RIFF_HEAD_BYTES:
        raise MalformedMedia("expected RIFF chunks to fill the declared size, got a rest: export it again")
    head = yield from tape.take(_RIFF_HEAD_BYTES)
    length = int.from_bytes(head[4:], "little")
    if tape.at + length + length % 2 > end:
        raise MalformedMedia("expected a RIFF chunk within the file, got one that leaves it: export it again")
    return head[:4], length


def _canvas(tape: Tape, limits: Limits, length: int) -> Generator[Need, None, Frame]:
    body = yield from _exactly(tape, length, _VP8X_BYTES)
    if body[0] & _ANIMATED:
        raise UnsupportedMedia("expected a still WebP, got an animation: send one picture of it")
    width, height = int.from_bytes(body[4:7], "little") + 1, int.from_bytes(body[7:10], "little") + 1
    limits.check_pixels(width, height)
    return Frame(width, height)


def _lossy(tape: Tape, limits: Limits, length: int) -> Generator[Need, None, Frame]:
    """The VP8 key frame's header (RFC 6386, 9.1)."""
    body = yield from _exactly(tape, length, _VP8_HEAD_BYTES)
    if body[0] & 1 or body[3:6] != _VP8_START:
        raise MalformedMedia("expected a VP8 key frame, got something else: export it again")
    width, height = (int.from_bytes(body[at : at + 2], "little") & _SIDE_MASK for at in (6, 8))
    limits.check_pixels(width, height)
    return Frame(width, height)


def _lossless(tape: Tape, limits: Limits, length: int) -> Generator[Need, None, Frame]:
    """The VP8L header (RFC 9649, 3.4): 14 bits of width - 1, 14 of height - 1, alpha, version 0."""
    body = yield from _exactly(tape, length, _VP8L_HEAD_BYTES)
    bits = int.from_bytes(body[1:], "little")
    if body[0] != _VP8L_SIGNATURE or bits >> 29:
        raise MalformedMedia("expected a VP8L picture, got something else: export it again")
    width, height = (bits & _SIDE_MASK) + 1, (bits >> _SIDE_BITS & _SIDE_MASK) + 1
    limits.check_pixels(width, height)
    return Frame(width, height)


def _exactly(tape: Tape, length: int, size: int) -> Generator[Need, None, bytes]:
    if length < size:
        raise MalformedMedia(f"expected at least {size} bytes in a WebP chunk, got {length}: export it again")
    return (yield from tape.take(size))
