"""Operation `quality_enhance`: larger, sharper, without noise, and still the same faces."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import cv2
import msgspec
import numpy as np
from numpy.typing import NDArray

from ray_cluster.engines import stills
from ray_cluster.engines.decode import Pixels, decode, fit, is_clip
from ray_cluster.engines.interface import IsCancelled, Plaintext, Report, Result, check, first, parse
from ray_cluster.engines.people_mask import PeopleMask
from ray_cluster.engines.redraw import redraw
from ray_cluster.engines.scrub import scrubbed
from ray_cluster.engines.steady import Motion
from ray_cluster.engines.upscaler import FAITHFUL, MOVING, Upscaler
from ray_cluster.engines.wipe import wipe

LARGEST_SIDE_PX = 4096
"""Of a result."""
CLIP_SIDE_PX = 640
"""Of a clip before it is enlarged."""
JPEG_MAGIC = b"\xff\xd8"
NOISY = 2.0, 6.0
"""Deviation in levels from which Real-ESRGAN has a say, and from which it has all the say it gets."""
GRAINY = 5.0
"""Deviation in levels from which noise is taken out before anything is enlarged: below it costs more than it gives."""
INVENTED, INVENTED_STRONG, INVENTED_ON_PEOPLE = 0.4, 0.8, 0.2
"""Shares of Real-ESRGAN, which calms noise best but makes things up, in the result; a face must stay that face."""

Field = NDArray[np.float32]
Step = Callable[[float], None]


class EnhanceParams(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`scale` 1, 2 or 4, or 0: twice, if that is not too large. `denoise`; `format` of a still."""

    scale: Literal[0, 1, 2, 4] = 0
    denoise: Literal["auto", "off", "strong"] = "auto"
    format: stills.Format = "jpeg"
    longer_side: Annotated[int, msgspec.Meta(ge=64, le=LARGEST_SIDE_PX)] | Literal[0] = 0


class Enhance:
    """One still or clip in, one out, larger by `scale`, its longer side at most LARGEST_SIDE_PX (or `longer_side`)."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._nets: tuple[Upscaler, Upscaler, Upscaler] | None = None
        self._people: PeopleMask | None = None

    def load(self) -> None:
        """Verify and load the networks."""
        if self._nets is None:
            clean, coded = (Upscaler(self._folder, kind) for kind in FAITHFUL)
            self._nets = (clean, coded, Upscaler(self._folder, MOVING))
        self._people = self._people or PeopleMask(self._folder)

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
        """The first input, better. Deterministic; `seed` changes nothing."""
        del seed
        wanted = parse(params, EnhanceParams)
        self.load()
        media = first(inputs)
        limit = wanted.longer_side or LARGEST_SIDE_PX
        if is_clip(media):
            return self._clip(media, wanted, limit, report, cancelled)
        check(cancelled)
        report("decode", 0.0)
        photo = fit(decode(media), limit)

        def step(fraction: float) -> None:
            check(cancelled)
            report("enhance", 0.03 + 0.9 * fraction)

        scale = _scale(wanted.scale, photo, limit)
        made = self._better(photo, scale, wanted.denoise, step, coded=bytes(media[:2]) == JPEG_MAGIC)
        made = fit(made, limit)
        check(cancelled)
        report("encode", 0.95)
        coded = stills.encode(made, wanted.format)
        height, width = made.shape[:2]
        facts: dict[str, int | float] = {"input_pixels": photo.size // 3, "scale": scale}
        wipe(photo, made)
        report("done", 1.0)
        return Result(coded, f"image/{wanted.format}", 1, width, height, facts)

    def _clip(
        self, media: Plaintext, wanted: EnhanceParams, limit: int, report: Report, cancelled: IsCancelled
    ) -> Result:
        side = min(CLIP_SIDE_PX, limit)

        def draw(frame: Pixels, motion: Motion | None) -> Pixels:
            del motion
            scale = min(2, _scale(wanted.scale, frame, limit))
            return self._better(frame, scale, wanted.denoise, lambda _: check(cancelled), coded=True)

        return redraw(media, draw, longer_side_px=side, report=report, cancelled=cancelled)

    def _better(self, rgb: Pixels, scale: int, denoise: str, step: Step, *, coded: bool) -> Pixels:
        """`rgb` at `scale` times its size; at 1 it is enlarged and brought back, which leaves its noise behind."""
        assert self._nets is not None
        assert self._people is not None
        noisy = 0.0 if denoise == "off" else _ramp(noise_of(rgb), *NOISY)
        share = 0.0 if denoise == "off" else max(noisy * INVENTED, INVENTED_STRONG if denoise == "strong" else 0.0)
        parts = (0.5 if share else 1.0) * (0.25 if scale == 4 else 1.0)  # noqa: PLR2004
        clean, jpeg, inventive = self._nets
        faithful = jpeg if coded and denoise != "off" else clean
        calmed = _calmed(rgb, noise_of(rgb)) if denoise != "off" else rgb
        made = faithful.enlarge(calmed, lambda fraction: step(parts * fraction))
        wipe(calmed if calmed is not rgb else None)
        if share:
            calm = inventive.enlarge(rgb, lambda fraction: step(parts * (1 + fraction)))
            made = _mixed(made, calm, share, self._people(rgb))
        if scale == 4:  # noqa: PLR2004
            small, made = made, clean.enlarge(made, lambda fraction: step(0.5 + 0.5 * fraction))
            wipe(small)
        if scale == 1:
            large, made = made, cv2.resize(made, rgb.shape[1::-1], interpolation=cv2.INTER_AREA)
            wipe(large)
        return np.asarray(made, np.uint8)


def noise_of(rgb: Pixels) -> float:
    """Deviation of the noise in levels (Immerkaer 1996, by the median so that edges do not count)."""
    grey = cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY).astype(np.float32)
    kernel = np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]], np.float32) / 6
    return float(np.median(np.abs(cv2.filter2D(grey, -1, kernel)))) / 0.6745


def _calmed(rgb: Pixels, noise: float) -> Pixels:
    """`rgb` without the noise that the faithful networks would take for texture (non-local means, Buades 2005)."""
    if noise < GRAINY:
        return rgb
    return np.asarray(cv2.fastNlMeansDenoisingColored(rgb, None, noise, 1.5 * noise, 5, 13), np.uint8)


def _mixed(faithful: Pixels, calm: Pixels, share: float, people: Field) -> Pixels:
    """Both in one, less of `calm` (of any size) where people are."""
    size = faithful.shape[1::-1]
    other = cv2.resize(calm, size, interpolation=cv2.INTER_AREA)
    person = cv2.resize(people, size, interpolation=cv2.INTER_LINEAR)
    weight = share + (min(share, INVENTED_ON_PEOPLE) - share) * person
    mixed = faithful + (other.astype(np.float32) - faithful) * weight[..., None]
    out = np.asarray(mixed + np.float32(0.5)).astype(np.uint8)
    wipe(faithful, calm, other, mixed)
    return out


def _scale(asked: int, photo: Pixels, limit: int) -> int:
    """What was asked, or twice; less where the result would be over the limit."""
    room = limit / max(photo.shape[:2])
    wanted = asked or 2
    while wanted > 1 and wanted > room:
        wanted //= 2
    return wanted


def _ramp(value: float, low: float, high: float) -> float:
    return min(1.0, max(0.0, (value - low) / (high - low)))
