"""What stands out in a picture: U2-Net, small (Apache-2.0), on OpenCV, which every process of ours has anyway."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from ray_cluster.engines import weights
from ray_cluster.engines.decode import Pixels

WEIGHTS = "u2netp.onnx"
SIDE_PX = 320
GLANCE_PX = 128
FOUND = 0.3
"""Above this something stands out at all."""
WHOLE = 0.6
"""A thing that fills more of the picture than this is not looked at again."""
MARGIN = 0.18
_MEAN, _SCALE = (123.675, 116.28, 103.53), 1 / (255 * 0.226)
_OUTPUT = "1959"  # of seven, the fused one

Field = NDArray[np.float32]
Box = tuple[int, int, int, int]


class Salience:
    """The network's file in memory. Each picture has a network of its own, which is freed, and so overwritten."""

    def __init__(self, folder: Path) -> None:
        self._model = np.frombuffer(weights.read(folder, WEIGHTS), np.uint8)

    def __call__(self, rgb: Pixels) -> tuple[Field, Box]:
        """H x W, 0..1: a glance finds the thing, a second look is at its surroundings only; and their box."""
        height, width = rgb.shape[:2]
        network = cv2.dnn.readNetFromONNX(self._model)
        box = _around(_look(network, rgb, GLANCE_PX))
        x0, y0, x1, y1 = box
        seen = np.zeros((height, width), np.float32)
        if (x1 - x0) * (y1 - y0) > WHOLE * width * height:
            box = (0, 0, width, height)
            seen[:] = _look(network, rgb, SIDE_PX)
        else:
            seen[y0:y1, x0:x1] = _look(network, np.ascontiguousarray(rgb[y0:y1, x0:x1]), SIDE_PX)
        return seen, box


def plain(model: NDArray[np.uint8], rgb: Pixels) -> Field:
    """What the network says of the whole picture, once: the yardstick of `benchmarks.quality`."""
    return _look(cv2.dnn.readNetFromONNX(model), rgb, SIDE_PX)


def _look(network: cv2.dnn.Net, rgb: Pixels, side: int) -> Field:
    network.setInput(cv2.dnn.blobFromImage(rgb, _SCALE, (side, side), _MEAN))
    seen = network.forward(_OUTPUT)[0, 0]
    low, high = float(seen.min()), float(seen.max())
    even = (seen - low) / max(high - low, 1e-6)
    return np.asarray(cv2.resize(even, rgb.shape[1::-1], interpolation=cv2.INTER_LINEAR), np.float32)


def _around(seen: Field) -> Box:
    """The box of what was found and a margin; the whole picture if nothing was."""
    height, width = seen.shape
    rows, columns = np.nonzero(seen.max(1) > FOUND)[0], np.nonzero(seen.max(0) > FOUND)[0]
    if not len(rows) or not len(columns):
        return 0, 0, width, height
    x0, x1, y0, y1 = int(columns[0]), int(columns[-1]) + 1, int(rows[0]), int(rows[-1]) + 1
    pad = round(MARGIN * max(x1 - x0, y1 - y0)) + 8
    return max(0, x0 - pad), max(0, y0 - pad), min(width, x1 + pad), min(height, y1 + pad)
