"""A clip read frame by frame: upright RGB at a constant rate, one frame in memory; its sound goes along.

What opens the file (`pictures`, `sounds`) is confined: where a decoding child is on, it happens there, and only pixels
and samples come back. So sound is encoded anew rather than copied.
"""

from __future__ import annotations

import io
from collections.abc import Generator, Iterator
from fractions import Fraction
from types import TracebackType
from typing import Any, Self

import cv2
import msgspec
import numpy as np
from numpy.typing import NDArray

from ray_cluster.engines.confine import confined
from ray_cluster.engines.decode import MAX_PIXELS, Pixels, moving
from ray_cluster.engines.errors import TooLong, TooManyPixels, Undecodable
from ray_cluster.engines.interface import Plaintext
from ray_cluster.engines.wipe import wipe

MAX_FRAMES_PER_SECOND = 30
MAX_FRAMES = 3000
"""A hundred seconds at 30 a second; gateways allow less by default."""
DEFAULT_FRAMES_PER_SECOND = 24
MAX_DAMAGED_SHARE = 0.2
ENOUGH_DAMAGE = 3
SOUND_RATE = 48_000
CHANNELS = 2
MAX_SOUND_S = 120
SOUND_BITS_PER_SECOND = 192_000

_NOTE_DIMENSIONS = 2
"""Of what a reading yields, arrays of two dimensions are notes (MessagePack), those of three are frames."""


class Shape(msgspec.Struct, frozen=True):
    """What a clip is: `width` x `height` as shown, `frames` at `rate` (a fraction) a second, whether it has sound."""

    width: int
    height: int
    rate: tuple[int, int]
    frames: int
    sound: bool


class Clip:
    """A clip opened for reading. `rate` caps the frames a second that are read.

    Raises:
        Undecodable: not a clip, or one of too many damaged frames (also while its frames are read).
        TooLong, TooManyPixels: over a limit.

    """

    def __init__(self, data: Plaintext, *, rate: int = MAX_FRAMES_PER_SECOND, max_pixels: int = MAX_PIXELS) -> None:
        self._reading = pictures(data, rate=rate, max_pixels=max_pixels)
        self.shape = msgspec.msgpack.decode(next(self._reading).tobytes(), type=Shape)
        self.rate = Fraction(*self.shape.rate)
        self.damaged = 0
        """How many packets held no frame, once all frames are read: the frame before stands in for each."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._reading.close()

    def frames(self) -> Iterator[Pixels]:
        """`shape.frames` frames, ours to overwrite; one that is late, damaged or missing is the one before again."""
        last: Pixels | None = None
        for found in self._reading:
            if found.ndim > _NOTE_DIMENSIONS:
                last = found
                yield found
                continue
            note: int | None = msgspec.msgpack.decode(found.tobytes(), type=int | None)
            if note is not None:
                self.damaged = note
            elif last is not None:
                yield last


class Sound:
    """The sound of a clip as packets of AAC for another file, in step with its pictures."""

    def __init__(self, blocks: list[NDArray[np.uint8]]) -> None:
        """`blocks`: samples, int16 in native order, CHANNELS interleaved, SOUND_RATE a second; wiped on `close`."""
        self._blocks = blocks
        self._packets: Iterator[Any] = iter(())
        self._waiting: Any = None

    @classmethod
    def of(cls, data: Plaintext) -> Self | None:
        """The sound of a clip; None where there is none, or none that can be read."""
        blocks = list(sounds(data))
        return cls(blocks) if blocks else None

    @property
    def packets(self) -> int:
        """At most so many will come."""
        samples = sum(block.size for block in self._blocks) // (2 * CHANNELS)
        return samples // 1024 + 3

    def attach(self, target: Any) -> None:
        """Add a stream of sound to container `target`."""
        stream = target.add_stream("aac", rate=SOUND_RATE, layout="stereo")
        stream.codec_context.bit_rate = SOUND_BITS_PER_SECOND
        self._packets = self._encoded(stream)

    def until(self, seconds: float) -> Iterator[Any]:
        """Packets that begin before `seconds`."""
        while True:
            if self._waiting is None:
                self._waiting = next(self._packets, None)
            packet = self._waiting
            if packet is None or (packet.pts is not None and float(packet.pts * packet.time_base) >= seconds):
                return
            self._waiting = None
            yield packet

    def close(self) -> None:
        """Overwrite the samples."""
        wipe(*self._blocks)

    def _encoded(self, stream: Any) -> Iterator[Any]:
        import av  # noqa: PLC0415

        at = 0
        for block in self._blocks:
            samples = block.reshape(-1).view(np.int16).reshape(1, -1)
            frame = av.AudioFrame.from_ndarray(samples, format="s16", layout="stereo")
            frame.sample_rate, frame.pts, frame.time_base = SOUND_RATE, at, Fraction(1, SOUND_RATE)
            at += samples.size // CHANNELS
            yield from stream.encode(frame)
        yield from stream.encode(None)


@confined
def pictures(data: Plaintext, *, rate: int, max_pixels: int) -> Generator[NDArray[np.uint8], None, None]:
    """A note (`Shape`), then the frames; a note (nil) for each that is the one before again; a note (damaged packets).

    A frame that was yielded is the caller's: it may be overwritten.
    """
    import av  # noqa: PLC0415 - 0.3 s that stills need not pay

    try:
        shape = _look(data, rate, max_pixels)
        yield _note(shape)
        with av.open(Window(data), "r") as container:
            damage: list[int] = []
            yield from _paced(_decoded(container, damage), shape, max_pixels)
            yield _note(len(damage))
    except (av.FFmpegError, ValueError):
        raise _damaged("a damaged clip") from None


@confined
def sounds(data: Plaintext) -> Iterator[NDArray[np.uint8]]:
    """The sound's samples (see `Sound`), a second at a time, from the moment that the pictures begin; 1 x bytes.

    Sound that cannot be read ends there: the pictures go on.
    """
    import av  # noqa: PLC0415

    try:
        with av.open(Window(data), "r") as container:
            if not container.streams.audio or container.streams.audio[0].codec_context is None:
                return
            resampler = av.AudioResampler(format="s16", layout="stereo", rate=SOUND_RATE, frame_size=SOUND_RATE)
            total = 0
            for frame in container.decode(container.streams.audio[0]):
                for piece in resampler.resample(frame):
                    yield piece.to_ndarray().view(np.uint8).reshape(1, -1).copy()
                    total += piece.samples
                if total >= MAX_SOUND_S * SOUND_RATE:
                    return
            for piece in resampler.resample(None):
                yield piece.to_ndarray().view(np.uint8).reshape(1, -1).copy()
    except (av.FFmpegError, ValueError):
        return


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


def _note(value: Shape | int | None) -> NDArray[np.uint8]:
    return np.frombuffer(bytearray(msgspec.msgpack.encode(value)), np.uint8).reshape(1, -1)


def _paced(frames: Iterator[Any], shape: Shape, max_pixels: int) -> Iterator[NDArray[np.uint8]]:
    """`shape.frames` frames at its rate: extra ones are left out, missing ones are notes."""
    rate, count = Fraction(*shape.rate), shape.frames
    given, start, place = 0, 0.0, -1
    waiting: Pixels | None = None
    for frame in frames:
        if place < 0:
            start = frame.time or 0.0
        index = place + 1 if frame.time is None else round((frame.time - start) * rate)
        if index <= place:
            continue
        while place >= 0 and given < min(index, count):
            yield _note(None) if waiting is None else waiting
            waiting = None
            given += 1
        _check_pixels(frame.width, frame.height, max_pixels)
        waiting, place = _sized(_upright(frame), shape), index
    if place < 0:
        raise _damaged("a clip without a whole frame")
    while given < count:
        yield _note(None) if waiting is None else waiting
        waiting = None
        given += 1


def _decoded(container: Any, damage: list[int]) -> Iterator[Any]:
    """Frames; the number of each packet that held none goes into `damage`."""
    import av  # noqa: PLC0415

    for number, packet in enumerate(container.demux(moving(container))):
        try:
            yield from packet.decode()
        except av.FFmpegError:
            damage.append(number)
            if len(damage) > max(ENOUGH_DAMAGE, MAX_DAMAGED_SHARE * number):
                raise _damaged("a clip with too many damaged frames") from None


def _look(data: Plaintext, rate: int, max_pixels: int) -> Shape:
    """Sizes and counts, by reading packets without decoding more than the first frame."""
    import av  # noqa: PLC0415

    with av.open(Window(data), "r") as container:
        stream = moving(container)
        if stream.codec_context is None:
            raise _damaged("a clip in an unknown codec")
        wide, high = stream.codec_context.width, stream.codec_context.height
        _check_pixels(wide, high, max_pixels)
        own = stream.average_rate or stream.guessed_rate or Fraction(DEFAULT_FRAMES_PER_SECOND)
        kept = min(max(Fraction(1), Fraction(own)), Fraction(rate)).limit_denominator(1001)
        packets, first, last = 0, None, 0.0
        for packet in container.demux(stream):
            if packet.size == 0:
                continue
            packets += 1
            if packet.pts is not None and packet.time_base is not None:
                time = float(packet.pts * packet.time_base)
                first = time if first is None else min(first, time)
                last = max(last, time + float((packet.duration or 0) * packet.time_base))
        seconds = last - first if first is not None and last > first else packets / float(own)
        frames = max(1, round(seconds * float(kept))) if packets else 0
        sound = bool(container.streams.audio)
    if frames > MAX_FRAMES:
        raise TooLong(f"expected at most {MAX_FRAMES} frames, the clip has {frames}; cut it")
    with av.open(Window(data), "r") as container:
        frame = next(container.decode(moving(container)), None) if frames else None
        if frame is None:
            raise _damaged("a clip without a whole frame")
        height, width = _upright(frame).shape[:2]
    return Shape(width, height, (kept.numerator, kept.denominator), frames, sound)


def _check_pixels(wide: int, high: int, max_pixels: int) -> None:
    if wide * high > max_pixels:
        raise TooManyPixels(f"expected at most {max_pixels} pixels, the clip has {wide}x{high}; scale down")


def _sized(pixels: Pixels, shape: Shape) -> Pixels:
    """A clip may change its size on the way; engines need not know."""
    if pixels.shape[:2] == (shape.height, shape.width):
        return pixels
    return np.asarray(cv2.resize(pixels, (shape.width, shape.height), interpolation=cv2.INTER_AREA), np.uint8)


def _upright(frame: Any) -> Pixels:
    quarters = round(frame.rotation / 90) % 4  # counter-clockwise degrees, as displayed
    return np.ascontiguousarray(np.rot90(frame.to_ndarray(format="rgb24"), quarters), np.uint8)


def _damaged(what: str) -> Undecodable:
    return Undecodable(f"expected a whole clip, got {what}; send the file as the camera wrote it")
