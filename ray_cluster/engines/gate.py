"""The content gate: how likely a picture shows naked people, and the refusal of one that likely does.

Yahoo's open_nsfw (a thin ResNet-50, BSD-2-Clause), run by OpenCV: decoding has it loaded already, so no process gets
a second inference runtime. It was trained on photos; of drawings it knows little. NudeNet would be finer, but its
network is under AGPL-3.0, which would reach the whole service.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np

from ray_cluster.engines import decode as decoding
from ray_cluster.engines import weights
from ray_cluster.engines.confine import confined
from ray_cluster.engines.decode import Pixels
from ray_cluster.engines.errors import ContentRefused, EngineFault
from ray_cluster.engines.interface import Plaintext
from ray_cluster.engines.wipe import wipe

WEIGHTS: Final = "open-nsfw.onnx"
SIDE_PX, MARGIN_PX = 256, 16  # scaled to a square, then its middle 224
MEAN_BGR: Final = (104, 117, 123)
FRAMES_LOOKED_AT = 24
"""Of a clip: its first key frames. They are what a codec stores whole, at every cut and every few seconds."""

_net: Any = None


def load(folder: Path) -> None:
    """Read, verify and build the network, once. Raises WeightsUnavailable."""
    global _net  # noqa: PLW0603 - one per process
    if _net is None:
        _net = cv2.dnn.readNetFromONNX(np.frombuffer(weights.read(folder, WEIGHTS), np.uint8))


def score(pixels: Pixels) -> float:
    """0..1: how likely `pixels` (RGB) show naked people. By its authors: under 0.2 hardly, over 0.8 very."""
    if _net is None:
        raise EngineFault("expected the content gate's network to be loaded, it is not; another attempt may work")
    square = cv2.resize(pixels, (SIDE_PX, SIDE_PX), interpolation=cv2.INTER_AREA)
    middle = square[MARGIN_PX:-MARGIN_PX, MARGIN_PX:-MARGIN_PX, ::-1].astype(np.float32)
    _net.setInput((middle - np.array(MEAN_BGR, np.float32))[None])
    found = float(_net.forward()[0, 1])
    _net.setInput(np.zeros((1, *middle.shape), np.float32))
    _net.forward()  # its memory would keep what it saw
    wipe(middle)
    return found


@confined
def examine(data: Plaintext, *, at_most: float) -> Iterator[Pixels]:
    """Look at a picture, or at a clip's key frames; nothing comes back. Call `load` before.

    Raises:
        ContentRefused: a `score` is over `at_most`.
        Undecodable, TooManyPixels: as `decode.decode`.

    """
    yield from ()
    for pixels in _key_frames(data) if decoding.is_clip(data) else (decoding.decode(data),):
        found = score(pixels)
        wipe(pixels)
        if found > at_most:
            raise ContentRefused("expected a picture that this app takes, got one that its content gate refuses")


def _key_frames(data: Plaintext) -> Iterator[Pixels]:
    import av  # noqa: PLC0415 - 0.3 s that stills need not pay

    yield decoding.decode(data)  # refuses what is no clip, or declares too many pixels
    file = io.BytesIO(data)
    try:
        with av.open(file, "r") as container:
            stream = decoding.moving(container)
            stream.codec_context.skip_frame = "NONKEY"
            for frame in islice(container.decode(stream), 1, FRAMES_LOOKED_AT):
                yield frame.to_ndarray(format="rgb24")
    except (av.FFmpegError, ValueError):
        return  # the engine will say what is wrong with it
    finally:
        with file.getbuffer() as copy:
            copy[:] = bytes(len(copy))
