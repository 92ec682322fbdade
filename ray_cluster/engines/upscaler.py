"""Networks that redraw a picture larger, on ncnn, tile by tile so that memory does not grow with the picture."""

from __future__ import annotations

import itertools
import math
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import cv2
import msgspec
import numpy as np
from numpy.typing import NDArray

from ray_cluster.engines import weights
from ray_cluster.engines.errors import EngineFault
from ray_cluster.engines.wipe import wipe

THREADS = 2


class Enlarger(msgspec.Struct, frozen=True):
    """A network: its files, how much it enlarges, its tiles' side before their margin, and the names of its ends.

    `trims`: it convolves without padding, so that its margin is gone from what it gives. `waist`: the blob behind which
    it only enlarges; all but `waist_margin_px` of a tile's margin is cut off there, for what follows needs no more.
    `together`: a picture is seldom more than a tile, so threads share each. Otherwise each thread has a tile of its
    own: threads that share one wait for each other at every layer, all the longer on a machine that has other work.
    """

    model: str
    scale: int
    tile_px: int
    margin_px: int
    source: str = "data"
    target: str = "output"
    trims: bool = False
    waist: str = ""
    waist_margin_px: int = 2
    together: bool = False


STILL = Enlarger("realesrgan-x4plus-anime", 4, tile_px=60, margin_px=8, waist="501")
"""Its last four convolutions reach 1.25 px further; without the rest of its margin a tile takes a third less memory."""
MOVING = Enlarger("realesr-animevideov3-x4", 4, tile_px=240, margin_px=8, together=True)
"""A tenth of the work; wants tiles as large as its picture."""
FAITHFUL = tuple(
    Enlarger(
        f"waifu2x-photo-noise{level}-x2", 2, tile_px=176, margin_px=7, source="Input1", target="Eltwise4", trims=True
    )
    for level in (0, 2)
)
"""Trained to be right rather than to please: they invent nothing. The second takes more noise for noise."""


class Upscaler:
    """One network and its scratch memory. Not thread-safe."""

    def __init__(self, folder: Path, kind: Enlarger = STILL, threads: int = THREADS) -> None:
        import ncnn  # noqa: PLC0415 - only processes of the ncnn pool load this runtime

        self.kind = kind
        self._mat = ncnn.Mat
        self._net = ncnn.Net()
        self._net.opt.use_vulkan_compute = False
        self._net.opt.num_threads = threads if kind.together else 1
        self._workers = 1 if kind.together else threads
        self._net.opt.openmp_blocktime = 0  # a thread that spins for its next layer takes the core from its neighbours
        failed = self._net.load_param(str(weights.verified(folder, f"{kind.model}.param"))) or self._net.load_model(
            str(weights.verified(folder, f"{kind.model}.bin"))
        )
        if failed:
            raise EngineFault(
                f"expected ncnn to load {kind.model}, got code {failed}; check the installed ncnn version"
            )

    def enlarge(self, rgb: NDArray[np.uint8], step: Callable[[float], None]) -> NDArray[np.uint8]:
        """`rgb` (H x W x 3) redrawn at its scale. `step(fraction)` is called before each tile and once at 1.0."""
        height, width = rgb.shape[:2]
        scale, margin = self.kind.scale, self.kind.margin_px
        padded = cv2.copyMakeBorder(rgb, margin, margin, margin, margin, cv2.BORDER_REPLICATE)
        out = np.empty((height * scale, width * scale, 3), np.uint8)
        tiles = [(y, x) for y in _cuts(height, self.kind.tile_px) for x in _cuts(width, self.kind.tile_px)]
        made: deque[Future[None]] = deque()

        def draw(rows: tuple[int, int], columns: tuple[int, int]) -> None:
            (top, bottom), (left, right) = rows, columns
            tile = self._infer(padded[top : bottom + 2 * margin, left : right + 2 * margin])
            out[top * scale : bottom * scale, left * scale : right * scale] = tile

        with ThreadPoolExecutor(self._workers) as pool:
            for index, tile in enumerate(tiles):
                step(index / len(tiles))
                if len(made) == self._workers:
                    made.popleft().result()
                made.append(pool.submit(draw, *tile))
            while made:
                made.popleft().result()
        step(1.0)
        wipe(padded)
        return out

    def _infer(self, tile: NDArray[Any]) -> NDArray[np.uint8]:
        """`tile` enlarged, without its margin."""
        kind = self.kind
        height, width = tile.shape[:2]
        source = self._mat.from_pixels(np.ascontiguousarray(tile), self._mat.PixelType.PIXEL_RGB, width, height)
        source.substract_mean_normalize([], [1 / 255.0] * 3)
        name, left = kind.source, kind.margin_px
        if kind.waist:
            planes = self._extract(name, source, kind.waist)
            cut = kind.margin_px - kind.waist_margin_px
            inner = np.ascontiguousarray(planes[:, cut:-cut, cut:-cut])
            source = self._mat(inner).clone()  # a Mat borrows the array's memory, and assumes gaps between its planes
            name, left = kind.waist, kind.waist_margin_px
        planes = self._extract(name, source, kind.target)
        trim = 0 if kind.trims else left * kind.scale
        inner = planes[:, trim : planes.shape[1] - trim, trim : planes.shape[2] - trim]
        return np.asarray((inner.transpose(1, 2, 0) * 255).clip(0, 255) + 0.5).astype(np.uint8)

    def _extract(self, name: str, source: Any, target: str) -> NDArray[np.float32]:
        extractor = self._net.create_extractor()
        extractor.input(name, source)
        failed, planes = extractor.extract(target)
        if failed:
            raise EngineFault(f"expected a tile from ncnn, got code {failed}; the actor should be replaced")
        return np.asarray(planes, np.float32)


def _cuts(length: int, tile_px: int) -> list[tuple[int, int]]:
    """`length` in the fewest equal pieces of at most `tile_px`."""
    count = math.ceil(length / tile_px)
    edges = [round(length * i / count) for i in range(count + 1)]
    return list(itertools.pairwise(edges))
