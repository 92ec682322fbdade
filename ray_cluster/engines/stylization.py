"""Operations `stylization` and `anime`: a photo, or a clip, drawn in a look."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import cv2
import msgspec
import numpy as np

from ray_cluster.engines import stills
from ray_cluster.engines.anime import DRAWINGS_PER_SECOND, anime
from ray_cluster.engines.clip import MAX_FRAMES_PER_SECOND
from ray_cluster.engines.decode import Pixels, decode, fit, is_clip
from ray_cluster.engines.interface import IsCancelled, Plaintext, Report, Result, check, first, parse
from ray_cluster.engines.looks.canvas import Canvas
from ray_cluster.engines.looks.cartoon import cartoon
from ray_cluster.engines.looks.neon import neon
from ray_cluster.engines.looks.oil import oil
from ray_cluster.engines.looks.pencil import pencil
from ray_cluster.engines.looks.watercolour import watercolour
from ray_cluster.engines.redraw import Draw, redraw
from ray_cluster.engines.scrub import scrubbed
from ray_cluster.engines.steady import Motion
from ray_cluster.engines.upscaler import MOVING, Upscaler
from ray_cluster.engines.wipe import wipe

STILL_SIDE_PX = 1600
CLIP_SIDE_PX = 960
CANVAS_SIDE_PX, MAX_ENLARGEMENT = 768, 4
"""Strokes need room: a smaller picture is painted on a canvas of this longer side, or of this many times its own."""
ANIME_CLIP_SIDE_PX = 640

PAINTED: dict[str, Callable[[Pixels, Canvas], Pixels]] = {
    "cartoon": cartoon,
    "pencil": pencil,
    "oil": oil,
    "watercolour": watercolour,
    "neon": neon,
}
Look = Literal["anime", "cartoon", "pencil", "oil", "watercolour", "neon"]
Side = Annotated[int, msgspec.Meta(ge=64, le=2048)]


class AnimeParams(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`format` of a still (a clip becomes an MP4); `longer_side`: at most so many pixels; 0: the look's own limit."""

    format: stills.Format = "jpeg"
    longer_side: Side | Literal[0] = 0


class StylizationParams(AnimeParams, frozen=True, forbid_unknown_fields=True):
    """And the `look`."""

    look: Look = "anime"


class Stylization:
    """One still in, one still out; one clip in, one clip out with its sound. Aspect kept."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._still: Upscaler | None = None
        self._moving: Upscaler | None = None

    def load(self) -> None:
        """Verify and load the networks."""
        self._still = self._still or Upscaler(self._folder)
        self._moving = self._moving or Upscaler(self._folder, MOVING)

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
        """The first input, drawn. `seed` places the strokes of painted looks; anime and cartoon have none."""
        wanted = self._parsed(params)
        self.load()
        media = first(inputs)
        if is_clip(media):
            return self._clip(media, wanted, seed, report, cancelled)
        check(cancelled)
        report("decode", 0.0)
        photo = fit(decode(media), wanted.longer_side or STILL_SIDE_PX)
        if wanted.look == "anime":

            def step(fraction: float) -> None:
                check(cancelled)
                report("draw", 0.03 + 0.87 * fraction)

            assert self._still is not None
            drawn = anime(photo, self._still, step)
        else:
            check(cancelled)
            report("draw", 0.1)
            large = _roomy(photo, wanted.longer_side or STILL_SIDE_PX)
            drawn = PAINTED[wanted.look](large, Canvas(seed))
            wipe(large if large is not photo else None)
        check(cancelled)
        report("encode", 0.95)
        coded = stills.encode(drawn, wanted.format)
        height, width = drawn.shape[:2]
        facts: dict[str, int | float] = {"input_pixels": photo.size // 3}
        wipe(photo, drawn)
        report("done", 1.0)
        return Result(coded, f"image/{wanted.format}", 1, width, height, facts)

    def _parsed(self, params: dict[str, Any]) -> StylizationParams:
        return parse(params, StylizationParams)

    def _clip(
        self, media: Plaintext, wanted: StylizationParams, seed: int, report: Report, cancelled: IsCancelled
    ) -> Result:
        if wanted.look == "anime":
            draw, side, rate = self._animate(cancelled), ANIME_CLIP_SIDE_PX, DRAWINGS_PER_SECOND
        else:
            draw, side, rate = _paint(wanted.look, seed), CLIP_SIDE_PX, MAX_FRAMES_PER_SECOND
        side = min(side, wanted.longer_side or side)
        return redraw(media, draw, longer_side_px=side, rate=rate, report=report, cancelled=cancelled)

    def _animate(self, cancelled: IsCancelled) -> Draw:
        network = self._moving
        assert network is not None

        def draw(frame: Pixels, motion: Motion | None) -> Pixels:
            del motion
            return anime(frame, network, lambda _: check(cancelled))

        return draw


def _paint(look: Look, seed: int) -> Draw:
    canvas = Canvas(seed)

    def draw(frame: Pixels, motion: Motion | None) -> Pixels:
        large = _roomy(frame, CLIP_SIDE_PX)
        canvas.follow(motion, large.shape[1], large.shape[0])
        drawn = PAINTED[look](large, canvas)
        wipe(large if large is not frame else None)
        return drawn

    return draw


def _roomy(photo: Pixels, limit_px: int) -> Pixels:
    """`photo`, enlarged if it is small for strokes."""
    longer = max(photo.shape[:2])
    scale = min(min(CANVAS_SIDE_PX, limit_px) / longer, MAX_ENLARGEMENT)
    if scale <= 1:
        return photo
    size = (round(photo.shape[1] * scale), round(photo.shape[0] * scale))
    return np.asarray(cv2.resize(photo, size, interpolation=cv2.INTER_CUBIC), np.uint8)


class Anime(Stylization):
    """Operation `anime`: `stylization` with that look."""

    def _parsed(self, params: dict[str, Any]) -> StylizationParams:
        wanted = parse(params, AnimeParams)
        return StylizationParams(format=wanted.format, longer_side=wanted.longer_side)
