"""Where people are, on OpenCV: for engines whose process runs another runtime than LiteRT."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from ray_cluster.engines import weights
from ray_cluster.engines.decode import Pixels

WEIGHTS = "selfie_segmentation.tflite"
SIDE_PX = 256


class PeopleMask:
    """MediaPipe's selfie network (Apache-2.0). Each picture has a network of its own, freed, and so overwritten."""

    def __init__(self, folder: Path) -> None:
        self._model = np.frombuffer(weights.read(folder, WEIGHTS), np.uint8)

    def __call__(self, rgb: Pixels) -> NDArray[np.float32]:
        """H x W, 0..1."""
        network = cv2.dnn.readNetFromTFLite(self._model)
        small = cv2.resize(rgb, (SIDE_PX, SIDE_PX), interpolation=cv2.INTER_AREA)
        network.setInput(cv2.dnn.blobFromImage(small, 1 / 255))
        return np.asarray(cv2.resize(network.forward()[0, 0], rgb.shape[1::-1]), np.float32)
