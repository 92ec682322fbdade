"""A clip read frame by frame: upright RGB at a constant rate, one frame in memory; its sound passes by unchanged."""

from __future__ import annotations

import io
from collections.abc import Iterator
from fractions import Fraction
from types import TracebackType
from typing import Any, Self

import msgspec
import numpy as np

from ray_cluster.engines.decode import MAX_PIXELS, Pixels
from ray_cluster.engines.errors import TooLong, TooManyPixels, Undecodable
from ray_cluster.engines.interface import Plaintext

MAX_FRAMES_PER_SECOND = 30
MAX_FRAMES = 3600
"""Two minutes at 30 a second; gateways allow less by default."""
DEFAULT_FRAMES_PER_SECOND = 24
MAX_DAMAGED_SHARE = 0.2
ENOUGH_DAMAGE = 3
COPIED_CODECS = frozenset({"aac", "alac", "flac", "opus"})
"""Sound that an MP4 may carry as it is; other sound is made AAC."""


class Window(io.RawIOBase):
    """A seekable file over `data` without a copy of it."""

    def __init__(self, data: Plaintext) -> None:
        self._view = memoryview(data)
        self._at = 0

    def readable(self) -> bool:
        """Yes."""
        return True

    def seekable(self) -> bool:
        """Yes."""
        return True

    def read(self, size: int = -1, /) -> bytes:
        """The next `size` bytes, or what is left."""
        end = len(self._view) if size < 0 else min(len(self._view), self._at + size)
        piece = bytes(self._view[self._at : end])
        self._at = max(self._at, end)
        return piece

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        """Move to an offset from the start, the place or the end."""
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: len(self._view)}[whence]
        self._at = max(0, base + offset)
        return self._at

    def tell(self) -> int:
        """The place."""
        return self._at


class Shape(msgspec.Struct, frozen=True):
    """What a clip is: `width` x `height` as shown, `frames` at `rate` a second, how many packets of sound."""

    width: int
    height: int
    rate: Fraction
    frames: int
    sounds: int


class Clip:
    """A clip opened for reading. `rate` caps the frames a second that are read."""

    def __init__(self, data: Plaintext, *, rate: int = MAX_FRAMES_PER_SECOND, max_pixels: int = MAX_PIXELS) -> None:
        import av  # noqa: PLC0415 - 0.3 s that stills need not pay

        self._av = av
        self._data = data
        self._damaged = 0
        try:
            self.shape = self._look(rate, max_pixels)
            self._container = av.open(Window(data), "r")
        except (av.FFmpegError, ValueError):
            raise _damaged("a damaged clip") from None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._container.close()

    @property
    def damaged(self) -> int:
        """How many packets held no frame: the frame before stands in for each."""
        return self._damaged

    def frames(self) -> Iterator[Pixels]:
        """`shape.frames` frames; one that is late, damaged or missing is the one before again (the same array)."""
        rate, count = self.shape.rate, self.shape.frames
        shown: Pixels | None = None
        given, start = 0, None
        for frame in self._decoded():
            start = frame.time if start is None else start
            index = given if frame.time is None else round((frame.time - (start or 0)) * rate)
            while shown is not None and given < min(index, count):
                yield shown
                given += 1
            if index < given and shown is not None:
                continue  # more frames a second than are read
            shown = _upright(frame)
        if shown is None:
            raise _damaged("a clip without a whole frame")
        while given < count:
            yield shown
            given += 1

    def _decoded(self) -> Iterator[Any]:
        stream = self._container.streams.video[0]
        for packets, packet in enumerate(self._container.demux(stream)):
            try:
                yield from packet.decode()
            except self._av.FFmpegError:
                self._damaged += 1
                if self._damaged > max(ENOUGH_DAMAGE, MAX_DAMAGED_SHARE * packets):
                    raise _damaged("a clip with too many damaged frames") from None

    def _look(self, rate: int, max_pixels: int) -> Shape:
        """Sizes and counts, by reading packets without decoding more than the first frame."""
        with self._av.open(Window(self._data), "r") as container:
            if not container.streams.video:
                raise _damaged("a clip without pictures")
            stream = container.streams.video[0]
            wide, high = stream.codec_context.width, stream.codec_context.height
            if wide * high > max_pixels:
                raise TooManyPixels(
                    f"expected at most {max_pixels} pixels, the clip declares {wide}x{high}; scale down"
                )
            own = stream.average_rate or stream.guessed_rate or Fraction(DEFAULT_FRAMES_PER_SECOND)
            kept = min(max(Fraction(1), Fraction(own)), Fraction(rate)).limit_denominator(1001)
            pictures, sounds, first, last = 0, 0, None, 0.0
            for packet in container.demux():
                if packet.size and packet.stream in container.streams.audio[:1]:
                    sounds += 1
                if packet.size == 0 or packet.stream is not stream:
                    continue
                pictures += 1
                if packet.pts is not None and packet.time_base is not None:
                    time = float(packet.pts * packet.time_base)
                    first = time if first is None else min(first, time)
                    last = max(last, time + float((packet.duration or 0) * packet.time_base))
            seconds = last - first if first is not None and last > first else pictures / float(own)
            frames = max(1, round(seconds * float(kept))) if pictures else 0
        if frames == 0:
            raise _damaged("a clip without a whole frame")
        if frames > MAX_FRAMES:
            raise TooLong(f"expected at most {MAX_FRAMES} frames, the clip has {frames}; cut it")
        with self._av.open(Window(self._data), "r") as container:
            frame = next(container.decode(video=0), None)
            if frame is None:
                raise _damaged("a clip without a whole frame")
            height, width = _upright(frame).shape[:2]
        return Shape(width, height, kept, frames, sounds)


class Sound:
    """The sound of a clip as packets for another MP4, in step with its pictures."""

    def __init__(self, data: Plaintext) -> None:
        import av  # noqa: PLC0415

        self._av = av
        self._container = av.open(Window(data), "r")
        self._source = self._container.streams.audio[0]
        self._packets: Iterator[Any] = iter(())
        self._waiting: Any = None

    @classmethod
    def of(cls, data: Plaintext, shape: Shape) -> Self | None:
        """The sound of the clip of that shape; None where it has none."""
        return cls(data) if shape.sounds else None

    def attach(self, target: Any) -> None:
        """Add a stream of sound to container `target`."""
        if self._source.codec_context.name.removeprefix("lib") in COPIED_CODECS:
            self._packets = self._copied(target.add_stream_from_template(self._source))
        else:
            layout, rate = self._source.codec_context.layout.name, self._source.codec_context.sample_rate
            made = target.add_stream("aac", rate=rate, layout="mono" if layout == "mono" else "stereo")
            self._packets = self._made(made)

    def until(self, seconds: float) -> Iterator[Any]:
        """Packets that begin before `seconds`. Sound that cannot be read ends there: the pictures go on."""
        while True:
            if self._waiting is None:
                self._waiting = next(self._packets, None)
            packet = self._waiting
            if packet is None or (packet.pts is not None and float(packet.pts * packet.time_base) >= seconds):
                return
            self._waiting = None
            yield packet

    def close(self) -> None:
        """Free the reader."""
        self._container.close()

    def _copied(self, target: Any) -> Iterator[Any]:
        try:
            for packet in self._container.demux(self._source):
                if packet.size and packet.dts is not None:
                    packet.stream = target
                    yield packet
        except self._av.FFmpegError:
            return

    def _made(self, target: Any) -> Iterator[Any]:
        context = target.codec_context
        resampler = self._av.AudioResampler(format=context.format, layout=context.layout, rate=context.sample_rate)
        try:
            for packet in self._container.demux(self._source):
                for frame in packet.decode():
                    for piece in resampler.resample(frame):
                        yield from target.encode(piece)
        except self._av.FFmpegError:
            pass
        yield from target.encode(None)


def _upright(frame: Any) -> Pixels:
    quarters = round(frame.rotation / 90) % 4  # counter-clockwise degrees, as displayed
    return np.ascontiguousarray(np.rot90(frame.to_ndarray(format="rgb24"), quarters), np.uint8)


def _damaged(what: str) -> Undecodable:
    return Undecodable(f"expected a whole clip, got {what}; send the file as the camera wrote it")
