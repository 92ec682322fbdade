"""What kind of picture or film a result is."""

from __future__ import annotations

import io
from typing import Final, NamedTuple

import av

EXTENSIONS: Final = {"image/jpeg": "jpg", "image/png": "png", "image/webp": "webp", "video/mp4": "mp4"}


class Length(NamedTuple):
    """A still picture is one frame that lasts no time."""

    frames: int
    seconds: float


def length_of(data: bytes, media_type: str) -> Length:
    """Counted in the container, not taken from its header."""
    if not media_type.startswith("video/"):
        return Length(1, 0.0)
    with av.open(io.BytesIO(data)) as container:
        stream = container.streams.video[0]
        frames = sum(1 for packet in container.demux(stream) if packet.size)
        return Length(frames, float(frames / stream.average_rate))
