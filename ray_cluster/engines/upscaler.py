"""Real-ESRGAN (x4) on ncnn, tile by tile so that memory does not grow with the picture."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from ray_cluster.engines import weights
from ray_cluster.engines.errors import EngineFault

SCALE = 4
TILE_PX = 48
"""Side of a tile before its margin. With the network for stills the process peaks at 0.4 GB; 96 needs 0.85 GB and is no
faster. The network for clips is a hundredth of the work and wants tiles as large as its picture."""
MARGIN_PX = 8
THREADS = 2
STILL_MODEL = "realesrgan-x4plus-anime"


class Upscaler:
    """One network and its scratch memory. Not thread-safe."""

    def __init__(
        self, folder: Path, threads: int = THREADS, *, model: str = STILL_MODEL, tile_px: int = TILE_PX
    ) -> None:
        import ncnn  # noqa: PLC0415 - only processes of the ncnn pool load this runtime

        self._mat = ncnn.Mat
        self._tile_px = tile_px
        self._net = ncnn.Net()
        self._net.opt.use_vulkan_compute = False
        self._net.opt.num_threads = threads
        self._net.opt.openmp_blocktime = 0  # a thread that spins for its next layer takes the core from its neighbours
        failed = self._net.load_param(str(weights.verified(folder, f"{model}.param"))) or self._net.load_model(
            str(weights.verified(folder, f"{model}.bin"))
        )
        if failed:
            raise EngineFault(f"expected ncnn to load {model}, got code {failed}; check the installed ncnn version")

    def enlarge(self, rgb: NDArray[np.uint8], step: Callable[[float], None]) -> NDArray[np.uint8]:
        """`rgb` (H x W x 3) redrawn at 4H x 4W. `step(fraction)` is called before each tile and once at 1.0."""
        height, width = rgb.shape[:2]
        padded = cv2.copyMakeBorder(rgb, MARGIN_PX, MARGIN_PX, MARGIN_PX, MARGIN_PX, cv2.BORDER_REPLICATE)
        out = np.empty((height * SCALE, width * SCALE, 3), np.uint8)
        tiles = [(y, x) for y in _cuts(height, self._tile_px) for x in _cuts(width, self._tile_px)]
        trim = MARGIN_PX * SCALE
        for index, ((top, bottom), (left, right)) in enumerate(tiles):
            step(index / len(tiles))
            tile = self._infer(padded[top : bottom + 2 * MARGIN_PX, left : right + 2 * MARGIN_PX])
            out[top * SCALE : bottom * SCALE, left * SCALE : right * SCALE] = tile[trim:-trim, trim:-trim]
        step(1.0)
        return out

    def _infer(self, tile: NDArray[Any]) -> NDArray[np.uint8]:
        height, width = tile.shape[:2]
        extractor = self._net.create_extractor()
        source = self._mat.from_pixels(np.ascontiguousarray(tile), self._mat.PixelType.PIXEL_RGB, width, height)
        source.substract_mean_normalize([], [1 / 255.0] * 3)
        extractor.input("data", source)
        failed, planes = extractor.extract("output")
        if failed:
            raise EngineFault(f"expected a tile from ncnn, got code {failed}; the actor should be replaced")
        return np.asarray((np.array(planes).transpose(1, 2, 0) * 255).clip(0, 255) + 0.5).astype(np.uint8)


def _cuts(length: int, tile_px: int) -> list[tuple[int, int]]:
    """`length` in the fewest equal pieces of at most `tile_px`."""
    count = math.ceil(length / tile_px)
    edges = [round(length * i / count) for i in range(count + 1)]
    return list(itertools.pairwise(edges))
