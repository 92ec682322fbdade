"""Clips made on the spot: a picture that the camera pans over, with or without sound."""

from __future__ import annotations

import io

import av
import cv2
import numpy as np

RATE = 44_100


def pan(picture: np.ndarray, frames: int, size: tuple[int, int], *, step: float = 2.0, noise: float = 0.0) -> list:
    """`frames` views of `size` (width, height) onto RGB `picture`, each `step` px further right, with sensor noise."""
    rng = np.random.default_rng(0)
    views = []
    for index in range(frames):
        matrix = np.array([[1, 0, -step * index], [0, 1, 0]], np.float32)
        view = cv2.warpAffine(picture, matrix, size, flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT)
        views.append(np.clip(view + rng.normal(0, noise, view.shape), 0, 255).astype(np.uint8))
    return views


def clip(frames: list, *, rate: int = 24, kind: str = "mp4", sound: str = "", video: bool = True) -> bytes:
    """An encoded clip of RGB `frames`, with a tone in codec `sound`, if any, as long as the pictures."""
    file = io.BytesIO()
    with av.open(file, "w", format=kind) as container:
        pictures = tone = None
        if video:
            pictures = container.add_stream("libx264", rate=rate)
            pictures.height, pictures.width = frames[0].shape[:2]
            even = frames[0].shape[0] % 2 == frames[0].shape[1] % 2 == 0
            pictures.pix_fmt, pictures.options = "yuv420p" if even else "yuv444p", {"crf": "16"}
        if sound:
            tone = container.add_stream(sound, rate=RATE, layout="mono")
        for frame in frames if pictures else ():
            container.mux(pictures.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        if pictures:
            container.mux(pictures.encode(None))
        if tone:
            for at in range(0, RATE * len(frames) // rate, 1024):
                wave = 0.3 * np.sin(2 * np.pi * 440 * np.arange(at, at + 1024) / RATE, dtype=np.float64)
                piece = av.AudioFrame.from_ndarray(wave.astype(np.float32)[None], format="fltp", layout="mono")
                piece.sample_rate, piece.pts = RATE, at
                container.mux(tone.encode(piece))
            container.mux(tone.encode(None))
    return file.getvalue()


def read(media: bytes | bytearray) -> tuple[list, list[bytes]]:
    """Frames as RGB arrays, and packets of sound."""
    with av.open(io.BytesIO(media)) as container:
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    with av.open(io.BytesIO(media)) as container:
        sounds = (
            [bytes(packet) for packet in container.demux(audio=0) if packet.size] if container.streams.audio else []
        )
    return frames, sounds
