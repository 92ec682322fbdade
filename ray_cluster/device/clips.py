"""A clip or a camera, frame by frame: one frame in memory, the sound of a file kept."""

from __future__ import annotations

import io
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from fractions import Fraction
from typing import Any, Final, NamedTuple

import cv2
import numpy as np

from ray_cluster.engines.decode import Pixels, decode
from ray_cluster.engines.encode import VideoWriter
from ray_cluster.engines.errors import Undecodable
from ray_cluster.engines.interface import Result

MEDIA_TYPE: Final = "video/mp4"
CAMERA_RATE: Final = 30
MAX_RATE: Final = 60
_SMALLEST_PX: Final = 16

Draw = Callable[[Pixels], Pixels]


class Made(NamedTuple):
    """A clip, and how many frames a second were drawn: what a screen could show, reading and writing left out."""

    result: Result
    drawn_per_s: float


def redraw(data: bytes, draw: Draw) -> Made:
    """Every frame of the clip `data` through `draw`; its sound as it was. Raises Undecodable."""
    import av  # noqa: PLC0415 - 0.3 s that stills need not pay

    decode(data)  # refuses what is no clip, or too large
    try:
        with av.open(io.BytesIO(data), "r") as container:
            stream = container.streams.video[0]
            rate = Fraction(stream.average_rate or 24).limit_denominator(1001)
            count = stream.frames or 1 + int(float((container.duration or 0) / av.time_base) * float(rate))
            frames = (_upright(frame) for frame in container.decode(stream))
            made = _drawn(frames, draw, round(min(max(rate, Fraction(1)), Fraction(MAX_RATE))), count)
    except (av.FFmpegError, ValueError, IndexError):
        raise Undecodable("expected a whole clip, got a damaged one; export it again") from None
    return Made(_with_sound(made.result, data), made.drawn_per_s)


def film(camera: int, seconds: float, draw: Draw) -> Made:
    """So many seconds of camera `camera` (0 is the first) through `draw`. Raises Undecodable where there is none."""
    source = cv2.VideoCapture(camera)
    try:
        frames = _filmed(source, round(seconds * CAMERA_RATE))
        return _drawn(frames, draw, CAMERA_RATE, round(seconds * CAMERA_RATE))
    finally:
        source.release()


def _filmed(source: Any, count: int) -> Iterator[Pixels]:
    for _ in range(count):
        there, bgr = source.read()
        if not there:
            raise Undecodable("expected a picture of the camera, got none; is one connected, and free?")
        yield np.asarray(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB), np.uint8)


def _drawn(frames: Iterator[Pixels], draw: Draw, rate: int, count: int) -> Made:
    first = next(frames, None)
    if first is None:
        raise Undecodable("expected a clip with pictures, got none; export it again")
    height, width = (max(_SMALLEST_PX, side - side % 2) for side in first.shape[:2])
    done, spent = 0, 0.0
    with VideoWriter(width, height, count, rate) as video:
        for frame in _chained(first, frames):
            began = time.perf_counter()
            drawn = draw(frame)
            spent += time.perf_counter() - began
            video.write(_fitted(drawn, width, height))
            done += 1
        media = video.close()
    return Made(Result(media, MEDIA_TYPE, done, width, height, {}), done / max(spent, 1e-9))


def _chained(first: Pixels, rest: Iterator[Pixels]) -> Iterator[Pixels]:
    yield first
    yield from rest


def _fitted(drawn: Pixels, width: int, height: int) -> Pixels:
    if drawn.ndim == 2:  # noqa: PLR2004 - a mask
        drawn = np.asarray(cv2.cvtColor(drawn, cv2.COLOR_GRAY2RGB), np.uint8)
    if drawn.shape[:2] != (height, width):
        drawn = np.asarray(cv2.resize(drawn, (width, height), interpolation=cv2.INTER_AREA), np.uint8)
    return drawn


def _upright(frame: Any) -> Pixels:
    quarters = round(frame.rotation / 90) % 4  # counter-clockwise degrees, as displayed
    return np.ascontiguousarray(np.rot90(frame.to_ndarray(format="rgb24"), quarters), np.uint8)


def _with_sound(result: Result, data: bytes) -> Result:
    """The pictures of `result` beside the sound of `data`, both copied as they are. Sound that no MP4 takes is left."""
    import av  # noqa: PLC0415

    file = io.BytesIO()
    with av.open(io.BytesIO(data), "r") as source, av.open(io.BytesIO(result.media), "r") as pictures:
        if not source.streams.audio:
            return result
        with suppress(av.FFmpegError, ValueError):
            with av.open(file, "w", format="mp4") as target:
                video = target.add_stream_from_template(pictures.streams.video[0])
                sound = target.add_stream_from_template(source.streams.audio[0])
                for reader, stream, written in (
                    (pictures, pictures.streams.video[0], video),
                    (source, source.streams.audio[0], sound),
                ):
                    for packet in reader.demux(stream):
                        if packet.dts is not None:
                            packet.stream = written
                            target.mux(packet)
            return Result(bytearray(file.getvalue()), MEDIA_TYPE, result.frames, result.width, result.height, {})
    return result
