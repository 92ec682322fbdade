"""MediaPipe's models on LiteRT: one interpreter, the letterbox, the rotated crop and the anchor decoding they share."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from ray_cluster.engines import weights

THREADS = 2
MIN_SCORE = 0.5
OVERLAP = 0.3
"""Intersection over union above which two detections are one."""

Field = NDArray[np.float32]


def sigmoid(value: NDArray[Any]) -> Field:
    """Logistic function, float32, safe at both ends."""
    return np.asarray(1 / (1 + np.exp(-np.clip(value, -80, 80))), np.float32)


class Model:
    """One network. Not thread-safe."""

    def __init__(self, folder: Path, name: str, threads: int = THREADS) -> None:
        from ai_edge_litert.interpreter import Interpreter  # noqa: PLC0415 - only the LiteRT pool loads this runtime

        self._net = Interpreter(model_content=weights.read(folder, name), num_threads=threads)
        self._net.allocate_tensors()
        self._input: int = self._net.get_input_details()[0]["index"]
        self._outputs: list[int] = [row["index"] for row in self._net.get_output_details()]

    def __call__(self, rgb01: Field) -> dict[int, Field]:
        """`rgb01` is H x W x 3 at the network's own size; the answer maps an output's element count to the output."""
        self._net.set_tensor(self._input, np.ascontiguousarray(rgb01, np.float32)[None])
        self._net.invoke()
        found = [self._net.get_tensor(index) for index in self._outputs]
        # The network's memory holds what it saw and found until it sees something else: so it sees nothing, at once.
        self._net.set_tensor(self._input, np.zeros((1, *rgb01.shape), np.float32))
        self._net.invoke()
        return {tensor.size: tensor for tensor in found}


def letterbox(rgb: NDArray[np.uint8], side: int) -> tuple[Field, float, NDArray[np.float64]]:
    """`rgb` centred on a black `side` x `side` square as 0..1, the square's side in picture pixels, its corner."""
    height, width = rgb.shape[:2]
    longer = max(height, width)
    top, left = (longer - height) // 2, (longer - width) // 2
    square = np.zeros((longer, longer, 3), np.uint8)
    square[top : top + height, left : left + width] = rgb
    small = cv2.resize(square, (side, side), interpolation=cv2.INTER_AREA if longer > side else cv2.INTER_LINEAR)
    return small.astype(np.float32) / np.float32(255), float(longer), np.array([-left, -top], np.float64)


def crop(
    rgb: NDArray[np.uint8], centre: NDArray[Any], size: float, angle: float, side: int
) -> tuple[Field, NDArray[np.float64]]:
    """The square of `size` px around `centre` turned by `angle` (radians), at `side` px; and crop-to-picture 2 x 3."""
    k, cos, sin = size / side, np.cos(angle), np.sin(angle)
    matrix = np.array(
        [
            [cos * k, -sin * k, centre[0] - (cos - sin) * size / 2],
            [sin * k, cos * k, centre[1] - (sin + cos) * size / 2],
        ]
    )
    patch = cv2.warpAffine(rgb, matrix, (side, side), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP)
    return patch.astype(np.float32) / np.float32(255), matrix


class Detector:
    """A MediaPipe SSD: boxes, key points and scores in picture pixels.

    `anchors_per_cell` lists (stride, boxes per cell); every anchor has unit size.
    """

    def __init__(
        self,
        folder: Path,
        name: str,
        side: int,
        anchors_per_cell: list[tuple[int, int]],
        points: int,
        *,
        signed: bool = True,
    ) -> None:
        self._model = Model(folder, name)
        self._side = side
        self._points = points
        self._signed = signed
        self._anchors = np.concatenate([_anchors(side, stride, count) for stride, count in anchors_per_cell])

    def __call__(self, rgb: NDArray[np.uint8]) -> tuple[Field, Field, Field]:
        """Boxes N x 4 (x0, y0, x1, y1), key points N x K x 2, scores N, best first."""
        image, longer, corner = letterbox(rgb, self._side)
        outputs = self._model(image * 2 - 1 if self._signed else image)
        count = len(self._anchors)
        scores = sigmoid(outputs[count].reshape(-1))
        rows = outputs[count * (4 + 2 * self._points)].reshape(count, -1)
        good = scores > MIN_SCORE
        rows, scores, anchors = rows[good], scores[good], self._anchors[good]
        centre, half = rows[:, :2] / self._side + anchors, rows[:, 2:4] / self._side / 2
        corners = np.concatenate([centre - half, centre + half], 1).reshape(-1, 2, 2) * longer + corner
        points = (rows[:, 4:].reshape(-1, self._points, 2) / self._side + anchors[:, None]) * longer + corner
        boxes = corners.reshape(-1, 4)
        kept = cv2.dnn.NMSBoxes(
            [(float(x0), float(y0), float(x1 - x0), float(y1 - y0)) for x0, y0, x1, y1 in boxes],
            scores.tolist(),
            MIN_SCORE,
            OVERLAP,
        )
        order = np.array(kept, np.intp).reshape(-1)
        return boxes[order].astype(np.float32), points[order].astype(np.float32), scores[order]


def _anchors(side: int, stride: int, count: int) -> Field:
    cells = -(-side // stride)
    y, x = np.mgrid[:cells, :cells]
    centres = np.stack([(x + 0.5) / cells, (y + 0.5) / cells], -1).reshape(-1, 2)
    return np.asarray(centres.repeat(count, 0), np.float32)
