"""Frames to an H.264 MP4 that browsers play, in memory, on a thread of its own beside the one that draws."""

from __future__ import annotations

import io
import queue
import threading
from collections.abc import Iterator
from fractions import Fraction
from types import TracebackType
from typing import Any, Protocol, Self

import cv2
import numpy as np
from numpy.typing import NDArray

from ray_cluster.engines import dead_stack, stamping
from ray_cluster.engines.errors import EngineFault
from ray_cluster.engines.wipe import wipe

MEDIA_TYPE = "video/mp4"
QUALITY_CRF = 20
PRESET = "veryfast"
FRAMES_IN_FLIGHT = 4
# What cv2 makes of RGB, as ITU-T H.273 numbers it. Untagged, players guess by the picture's size.
_BT601, _VIDEO_RANGE = 6, 1
# OpenCV's CV_CPU_AVX_512F (core/cvdef.h); its Python package does not name it.
_AVX_512F = 13
_INDEX_BYTES, _INDEX_BYTES_PER_FRAME, _INDEX_BYTES_PER_SOUND = 4096, 32, 24


class Sound(Protocol):
    """Packets of sound that go into the file beside the pictures (`clip.Sound`)."""

    def attach(self, target: Any) -> None:
        """Add its stream to the container."""

    def until(self, seconds: float) -> Iterator[Any]:
        """Packets that begin before `seconds`."""

    def close(self) -> None:
        """Free what reads them."""


class VideoWriter:
    """Takes `frames` RGB frames of an even size, then `close()` gives the file; leaving by an exception wipes it.

    The index is written in front of the pictures, as browsers want it (what ffmpeg calls faststart), into room
    reserved for it: rewriting the file afterwards would need a second copy of it, or a disk.
    """

    def __init__(
        self,
        width: int,
        height: int,
        frames: int,
        frames_per_second: int | Fraction,
        *,
        sound: Sound | None = None,
        sounds: int = 0,
    ) -> None:
        """`sounds`: how many packets `sound` will give, for the room of the index."""
        import av  # noqa: PLC0415 - loads libav only where a clip is made

        self._frame_type = av.VideoFrame
        self._file = io.BytesIO()
        size = _INDEX_BYTES + _INDEX_BYTES_PER_FRAME * frames + _INDEX_BYTES_PER_SOUND * sounds
        room = {"moov_size": str(size)}
        self._container = av.open(self._file, "w", format="mp4", options=room)
        # One thread, no wall clock and no AVX-512 in x264: the same frames give the same bytes. Its AVX-512 code for
        # the macroblock tree reads memory that it never wrote (libx264.so.165: a file per run; AVX2 and below: one).
        options = {"preset": PRESET, "crf": str(QUALITY_CRF), "threads": "1"}
        if cv2.checkHardwareSupport(_AVX_512F):  # x264 takes the set by its word, so only one that is there
            options["x264-params"] = "asm=avx2"
        self._stream: Any = self._container.add_stream("libx264", rate=frames_per_second, options=options)
        self._stream.width, self._stream.height, self._stream.pix_fmt = width, height, "yuv420p"
        context = self._stream.codec_context
        context.time_base = self._frame_s = 1 / Fraction(frames_per_second)
        context.colorspace = context.color_primaries = context.color_trc = _BT601
        context.color_range = _VIDEO_RANGE
        self._sound = sound
        if sound is not None:
            sound.attach(self._container)
        self._queue: queue.Queue[NDArray[np.uint8] | None] = queue.Queue(FRAMES_IN_FLIGHT)
        self._failure: Exception | None = None
        self._stamp = stamping.current()
        self._thread = threading.Thread(target=self._encode, name="encode", daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def write(self, rgb: NDArray[np.uint8]) -> None:
        """One frame, H x W x 3; it is converted here, so the caller may overwrite it at once."""
        planes = np.asarray(cv2.cvtColor(rgb, cv2.COLOR_RGB2YUV_I420), np.uint8)
        if self._stamp is not None:
            self._stamp.planes(planes)
        self._queue.put(planes)

    def close(self) -> bytearray:
        """The file; no frame can follow."""
        self._stop()
        if self._failure is not None:
            raise EngineFault("expected libx264 to take every frame, it failed; another attempt may") from None
        with self._file.getbuffer() as view:
            media = bytearray(view)
        self._wipe()
        return media

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._stop()
        self._wipe()

    def _stop(self) -> None:
        if self._thread.is_alive():
            self._queue.put(None)
            self._thread.join()
            if self._sound is not None:
                self._sound.close()

    def _wipe(self) -> None:
        if not self._file.closed:
            with self._file.getbuffer() as view:
                view[:] = bytes(len(view))
            self._file.close()

    def _encode(self) -> None:
        try:
            self._encode_all()
        finally:
            dead_stack.wipe()  # glibc keeps the upper 16 KiB of a thread that has ended

    def _encode_all(self) -> None:
        drawn = 0
        while (planes := self._queue.get()) is not None:
            if self._failure is None:
                try:
                    frame = self._frame_type.from_ndarray(planes, format="yuv420p")
                    self._container.mux(self._stream.encode(frame))
                    drawn += 1
                    self._mix(drawn)
                except Exception as error:  # noqa: BLE001 - carried to the drawing thread, which raises its own
                    self._failure = error
            wipe(planes)
        try:
            self._container.mux(self._stream.encode(None))
            self._container.close()
        except Exception as error:  # noqa: BLE001
            self._failure = self._failure or error

    def _mix(self, drawn: int) -> None:
        """Sound up to the end of the last frame, so that neither stream waits for the other in memory."""
        if self._sound is not None:
            for packet in self._sound.until(float(drawn * self._frame_s)):
                self._container.mux(packet)
