"""A photo drawn as an anime still: smooth, redraw with Real-ESRGAN's anime network, shade as a cel, ink."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import cv2
import msgspec
import numpy as np

from ray_cluster.engines.decode import Pixels, decode, fit
from ray_cluster.engines.errors import EngineFault
from ray_cluster.engines.ink import cel
from ray_cluster.engines.interface import IsCancelled, Plaintext, Report, Result, check, first, parse
from ray_cluster.engines.scrub import scrubbed
from ray_cluster.engines.upscaler import SCALE, Upscaler
from ray_cluster.engines.wipe import wipe

LONGER_SIDE_PX = 1024
SKETCH_PX = 240
"""Longer side handed to the network, so a result is at most 960 px: below 224 eyes lose their shape on a half-length
portrait, above 256 the texture of the photo survives and the look is lost."""
SKETCH_RATIO = 15 / 32
SMALLEST_SKETCH_PX = 16
JPEG_QUALITY = 93


class StylizationParams(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`format` of the result."""

    format: Literal["jpeg", "png"] = "jpeg"


class Stylization:
    """Operation `stylization`: one still in, one still out, aspect kept, longer side at most 960 px."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._upscaler: Upscaler | None = None

    def load(self) -> None:
        """Verify and load the network."""
        self._upscaler = self._upscaler or Upscaler(self._folder)

    @scrubbed
    def run(
        self,
        inputs: Sequence[Plaintext],
        params: dict[str, Any],
        *,
        seed: int,
        report: Report,
        cancelled: IsCancelled,
    ) -> Result:
        """The first input as a drawing. Deterministic; `seed` changes nothing."""
        del seed
        wanted = parse(params, StylizationParams)
        self.load()
        assert self._upscaler is not None
        check(cancelled)
        report("decode", 0.0)
        photo = fit(decode(first(inputs)), LONGER_SIDE_PX)

        def step(fraction: float) -> None:
            check(cancelled)
            report("draw", 0.03 + 0.87 * fraction)

        sketch = _sketch(photo)
        drawn = self._upscaler.enlarge(sketch, step)
        check(cancelled)
        report("ink", 0.92)
        inked = cel(drawn)
        check(cancelled)
        report("encode", 0.98)
        media = _encode(inked, wanted.format)
        height, width = inked.shape[:2]
        wipe(photo, sketch, drawn, inked)
        report("done", 1.0)
        return Result(media, f"image/{wanted.format}", 1, width, height, {"input_pixels": photo.size // 3})


def _sketch(photo: Pixels) -> Pixels:
    """The photo without texture, small enough that the network must invent the lines."""
    flat = np.asarray(cv2.edgePreservingFilter(photo, flags=cv2.RECURS_FILTER, sigma_s=30, sigma_r=0.3), np.uint8)
    longer = max(photo.shape[:2])
    side = min(SKETCH_PX, max(round(longer * SKETCH_RATIO), SMALLEST_SKETCH_PX))
    height, width = (max(SCALE, round(n * side / longer)) for n in photo.shape[:2])
    small = np.asarray(cv2.resize(flat, (width, height), interpolation=cv2.INTER_AREA), np.uint8)
    wipe(flat)
    return small


def _encode(rgb: Pixels, as_format: Literal["jpeg", "png"]) -> bytearray:
    options = [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY] if as_format == "jpeg" else [cv2.IMWRITE_PNG_COMPRESSION, 6]
    ok, coded = cv2.imencode(f".{as_format}", cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR), options)
    if not ok:
        raise EngineFault(f"expected OpenCV to encode {as_format}, it did not; another attempt may")
    media = bytearray(coded.data)
    wipe(coded)
    return media
