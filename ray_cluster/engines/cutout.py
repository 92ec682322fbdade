"""Operations `cutout` and `background_removal`: what a photo or clip is of, without what is behind it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import cv2
import msgspec
import numpy as np
from numpy.typing import NDArray

from ray_cluster.engines import stills
from ray_cluster.engines.alpha import refine
from ray_cluster.engines.backdrop import blurred, compose, covering, straight
from ray_cluster.engines.decode import Pixels, decode, fit, is_clip
from ray_cluster.engines.errors import BadParams
from ray_cluster.engines.interface import IsCancelled, Plaintext, Report, Result, check, first, parse
from ray_cluster.engines.redraw import Draw, redraw
from ray_cluster.engines.scrub import scrubbed
from ray_cluster.engines.steady import Motion
from ray_cluster.engines.subject import Subject
from ray_cluster.engines.wipe import wipe

STILL_SIDE_PX = 4096
CLIP_SIDE_PX = 960
GREEN = "#00b140"
"""Behind a clip unless another is asked for: an MP4 holds no alpha, and editors key this one out."""
KEPT_ALPHA = 0.6
"""Share of the last frame's alpha where the picture merely moved."""

Field = NDArray[np.float32]


class CutoutParams(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`background`: `none` (a still with alpha; a clip before `GREEN`), `colour`, `blur`, `image` (input 1), or `mask`.

    `mask` gives the alpha itself, as grey. `colour` is #rrggbb, `blur` the strength of the blur. `format` of a still:
    JPEG only where there is no alpha.
    """

    background: Literal["none", "colour", "blur", "image", "mask"] = "none"
    colour: Annotated[str, msgspec.Meta(pattern="^#[0-9a-fA-F]{6}$")] = "#ffffff"
    blur: Annotated[float, msgspec.Meta(ge=0.1, le=3)] = 1.0
    format: stills.Format = "png"
    longer_side: Annotated[int, msgspec.Meta(ge=64, le=STILL_SIDE_PX)] | Literal[0] = 0


class Cutout:
    """One still or clip in; a still with alpha, or either before another background, out."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._subject: Subject | None = None

    def load(self) -> None:
        """Verify and load both networks."""
        self._subject = self._subject or Subject(self._folder)

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
        """The first input without its background. Deterministic; `seed` changes nothing."""
        del seed
        wanted = parse(params, CutoutParams)
        if wanted.background == "none" and wanted.format == "jpeg":
            raise BadParams("expected png or webp as format where there is no background, got jpeg; it has no alpha")
        if wanted.background == "image" and len(inputs) <= 1:
            raise BadParams("expected the new background as input 1, got one input; send it, or ask for a colour")
        self.load()
        media = first(inputs)
        check(cancelled)
        report("decode", 0.0)
        picture = decode(inputs[1]) if wanted.background == "image" else None
        if is_clip(media):
            return self._clip(media, wanted, picture, report, cancelled)
        assert self._subject is not None
        photo = fit(decode(media), wanted.longer_side or STILL_SIDE_PX)
        check(cancelled)
        report("find", 0.1)
        mask = self._subject(photo)
        check(cancelled)
        report("cut out", 0.6)
        alpha, colour = refine(photo, mask)
        made = _before(wanted, picture, photo, alpha, colour)
        check(cancelled)
        report("encode", 0.85)
        coded = stills.encode(made, wanted.format)
        height, width = made.shape[:2]
        facts: dict[str, int | float] = {"input_pixels": photo.size // 3}
        wipe(photo, mask, alpha, colour, made, picture)
        report("done", 1.0)
        return Result(coded, f"image/{wanted.format}", 1, width, height, facts)

    def _clip(
        self, media: Plaintext, wanted: CutoutParams, picture: Pixels | None, report: Report, cancelled: IsCancelled
    ) -> Result:
        assert self._subject is not None
        if wanted.background == "none":
            wanted = msgspec.structs.replace(wanted, background="colour", colour=GREEN)
        side = min(CLIP_SIDE_PX, wanted.longer_side or CLIP_SIDE_PX)
        draw = _moving(self._subject, lambda *parts: _before(wanted, picture, *parts))
        made = redraw(media, draw, longer_side_px=side, report=report, cancelled=cancelled, blend=False)
        wipe(picture)
        return made


def _moving(subject: Subject, compose_with: Callable[[Pixels, Field, Field], Pixels]) -> Draw:
    """Frame by frame. What the first frame of a scene is of decides who looks: for people, the quick network."""
    last: Field | None = None
    quick = False

    def draw(frame: Pixels, motion: Motion | None) -> Pixels:
        nonlocal last, quick
        if motion is None:
            quick = subject.is_person(frame)
        alpha, colour = refine(frame, subject.quick(frame) if quick else subject(frame))
        if motion is not None and last is not None:
            height, width = alpha.shape
            carried = cv2.remap(last, *motion.places(width, height), cv2.INTER_LINEAR, None, cv2.BORDER_REPLICATE)
            known = cv2.resize(motion.known, (width, height), interpolation=cv2.INTER_LINEAR)
            alpha = np.asarray(alpha + (carried - alpha) * (known * np.float32(KEPT_ALPHA)), np.float32)
        wipe(last)
        last = alpha
        made = compose_with(frame, alpha, colour)
        wipe(colour)
        return made

    return draw


def _before(
    wanted: CutoutParams, picture: Pixels | None, photo: Pixels, alpha: Field, colour: Field
) -> NDArray[np.uint8]:
    height, width = alpha.shape
    if wanted.background == "mask":
        return np.asarray(cv2.cvtColor((alpha * 255 + 0.5).astype(np.uint8), cv2.COLOR_GRAY2RGB), np.uint8)
    if wanted.background == "colour":
        return compose(colour, alpha, np.frombuffer(bytes.fromhex(wanted.colour[1:]), np.uint8))
    if wanted.background == "blur":
        return compose(colour, alpha, blurred(photo, alpha, wanted.blur))
    if picture is not None:
        return compose(colour, alpha, covering(picture, width, height))
    return straight(colour, alpha)
