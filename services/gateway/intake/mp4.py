"""MP4 and MOV (ISO/IEC 14496-12, QuickTime): boxes from the first byte to the last, one `moov`, at least one video.

The coded size in a sample description and the shown size in its track header must both be under the pixel cap. A file
whose last box runs "to the end" could be cut unnoticed, and a fragmented one does not tell its duration: both are
refused.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass

from services.gateway.intake.errors import MalformedMedia, TruncatedMedia, UnsupportedMedia
from services.gateway.intake.facts import Limits
from services.gateway.intake.tape import Need, NothingForeign, Tape
from services.gateway.intake.walker import Frame

_HEAD_BYTES = 8
_LARGE = 1
_INSIDE = {b"moov": b"trak", b"trak": b"mdia", b"mdia": b"minf", b"minf": b"stbl"}  # where a walk goes down
_FRAGMENTS = frozenset({b"moof", b"mvex", b"sidx", b"styp"})
_TABLES = frozenset({b"stts", b"ctts", b"stss", b"stsc", b"stsz", b"stz2", b"stco", b"co64", b"sdtp", b"sgpd", b"sbgp"})
_CLOCK_BYTES = {0: 20, 1: 32}  # of mvhd and mdhd up to the duration, by version
_TKHD_BYTES = {0: 84, 1: 96}
_HDLR_BYTES = 12
_ENTRY_BYTES = 28  # of a visual sample entry up to its height


@dataclass
class _Track:
    handler: bytes = b""
    seconds: float = 0.0
    shown: tuple[int, int] = (0, 0)
    coded: tuple[int, int] = (0, 0)


@dataclass
class _Movie:
    tracks: list[_Track]
    seconds: float = 0.0


def walk(tape: Tape, limits: Limits) -> Generator[Need, None, Frame]:
    """Walk one MP4 or MOV."""
    movie: _Movie | None = None
    samples = False
    while head := (yield from tape.take_or_end(_HEAD_BYTES)):
        first = tape.at == _HEAD_BYTES
        kind, end = yield from _box(tape, head)
        limits.check_bytes(end)
        if (kind == b"ftyp") != first:
            raise MalformedMedia("expected ftyp once and first, got it elsewhere: export it again")
        if kind == b"moov":
            if movie is not None:
                raise MalformedMedia("expected one moov, got two: export it again")
            movie = _Movie([])
            yield from _children(tape, limits, kind, end, movie)
        else:
            samples |= kind == b"mdat"
            yield from tape.skip(end - tape.at, *(() if kind == b"mdat" else (NothingForeign(),)))
    if movie is None or not samples:
        raise TruncatedMedia("expected moov and mdat, the file ended before both had come: send it again")
    return _frame(movie)


def _box(tape: Tape, head: bytes, parent_end: int | None = None) -> Generator[Need, None, tuple[bytes, int]]:
    """Type of the box with this head, and where it ends."""
    start = tape.at - _HEAD_BYTES
    size, kind = int.from_bytes(head[:4], "big"), head[4:]
    if size == _LARGE:
        size = int.from_bytes((yield from tape.take(8)), "big")
    end = start + size
    if end < tape.at or (parent_end is not None and end > parent_end):
        raise MalformedMedia(f"expected a box that ends within the file, got one of {size} bytes: export it again")
    if kind in _FRAGMENTS:
        raise UnsupportedMedia("expected a plain MP4, got a fragmented one: export it as one file")
    return kind, end


def _children(tape: Tape, limits: Limits, parent: bytes, end: int, movie: _Movie) -> Generator[Need, None, None]:
    while tape.at < end:
        kind, stop = yield from _box(tape, (yield from _within(tape, end, _HEAD_BYTES)), end)
        if kind == _INSIDE.get(parent):
            if kind == b"trak":
                movie.tracks.append(_Track())
            yield from _children(tape, limits, kind, stop, movie)
            if kind == b"trak":
                _check(movie.tracks[-1], limits)
        else:
            yield from _leaf(tape, limits, (parent, kind), stop, movie)


def _leaf(
    tape: Tape, limits: Limits, path: tuple[bytes, bytes], end: int, movie: _Movie
) -> Generator[Need, None, None]:
    track = movie.tracks[-1] if movie.tracks else _Track()
    match path:
        case (b"moov", b"mvhd"):
            movie.seconds = yield from _seconds(tape, end)
            limits.check_duration(movie.seconds)
        case (b"trak", b"tkhd"):
            body = yield from _versioned(tape, end, _TKHD_BYTES)
            track.shown = int.from_bytes(body[-8:-6], "big"), int.from_bytes(body[-4:-2], "big")  # 16.16 each
        case (b"mdia", b"mdhd"):
            track.seconds = yield from _seconds(tape, end)
        case (b"mdia", b"hdlr"):
            track.handler = (yield from _within(tape, end, _HDLR_BYTES))[8:]
        case (b"stbl", b"stsd"):
            yield from _within(tape, end, _HEAD_BYTES)
            track.coded = yield from _coded(tape, end)
    yield from tape.skip(end - tape.at, *(() if path[1] in _TABLES else (NothingForeign(),)))


def _coded(tape: Tape, end: int) -> Generator[Need, None, tuple[int, int]]:
    """The largest width and height that any sample description declares; meaningless unless the track is video."""
    width = height = 0
    while tape.at < end:
        _, stop = yield from _box(tape, (yield from _within(tape, end, _HEAD_BYTES)), end)
        entry = yield from _within(tape, stop, min(stop - tape.at, _ENTRY_BYTES))
        width, height = max(width, int.from_bytes(entry[24:26], "big")), max(height, int.from_bytes(entry[26:], "big"))
        yield from tape.skip(stop - tape.at)
    return width, height


def _seconds(tape: Tape, end: int) -> Generator[Need, None, float]:
    body = yield from _versioned(tape, end, _CLOCK_BYTES)
    ticks = 4 if body[0] == 0 else 8
    scale, duration = int.from_bytes(body[-ticks - 4 : -ticks], "big"), int.from_bytes(body[-ticks:], "big")
    if not scale:
        raise MalformedMedia("expected a time scale, got 0 ticks per second: export it again")
    return duration / scale


def _versioned(tape: Tape, end: int, sizes: dict[int, int]) -> Generator[Need, None, bytes]:
    """The front of a full box, whose size depends on its version."""
    head = yield from _within(tape, end, 4)
    if head[0] not in sizes:
        raise MalformedMedia(f"expected a box of version 0 or 1, got {head[0]}: export it again")
    return head + (yield from _within(tape, end, sizes[head[0]] - 4))


def _within(tape: Tape, end: int, size: int) -> Generator[Need, None, bytes]:
    if end - tape.at < size:
        raise MalformedMedia(f"expected {size} bytes more in a box, it ends after {end - tape.at}: export it again")
    return (yield from tape.take(size))


def _check(track: _Track, limits: Limits) -> None:
    if track.handler == b"vide":
        limits.check_pixels(*track.coded)
        limits.check_pixels(*(max(side, 1) for side in track.shown))  # 0 x 0 is "as coded"
        limits.check_duration(track.seconds)


def _frame(movie: _Movie) -> Frame:
    """The first video track's, as decoders choose it; the longest duration that anything declares."""
    video = [track for track in movie.tracks if track.handler == b"vide"]
    if not video:
        raise UnsupportedMedia("expected a video track, got none: send a video")
    return Frame(*video[0].coded, duration_s=max(movie.seconds, *(track.seconds for track in video)))
