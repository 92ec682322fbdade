"""Operations made by big models: a photo moves, a person in a photo acts, a photo is edited as told."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Annotated, Any, ClassVar, Final, Literal

import cv2
import msgspec
import numpy as np

from ray_cluster.engines import stills
from ray_cluster.engines.decode import Pixels, decode
from ray_cluster.engines.diffusion import models
from ray_cluster.engines.diffusion.models import Model, Task
from ray_cluster.engines.diffusion.pipeline import Floats, Pipeline
from ray_cluster.engines.encode import MEDIA_TYPE, VideoWriter
from ray_cluster.engines.errors import BadParams, WeightsUnavailable
from ray_cluster.engines.interface import IsCancelled, Plaintext, Report, Result, check, first, parse
from ray_cluster.engines.scrub import scrubbed
from ray_cluster.engines.wipe import wipe

SMALL: Final = 0.6
"""Of the longer side, where memory ran out."""
_DRAWN = 0.9


class DiffusionParams(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`prompt`: what to make, or the edit that is wanted; `steps`: fewer than the model's own.

    `style`: of a dance; `size`: small is three fifths of the model's own.
    """

    prompt: Annotated[str, msgspec.Meta(max_length=600)] = ""
    steps: Annotated[int, msgspec.Meta(ge=1, le=200)] | None = None
    style: Annotated[str, msgspec.Meta(max_length=40)] = ""
    size: Literal["full", "small"] = "full"


class Diffusion:
    """What the three have in common. `task` picks the model from the operator's file."""

    task: ClassVar[Task]

    def __init__(self, folder: Path) -> None:
        """`folder`: of the small weights; big ones say where they are themselves."""
        del folder
        self._loaded: tuple[Model, Pipeline] | None = None

    def load(self) -> None:
        """Compare every byte with the digest, then load. Minutes for a large model."""
        if self._loaded is None:
            model = models.of(self.task)
            self._loaded = model, Pipeline(model, models.verify(model))

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
        """Input 0 is the photo. Cancelled within one step of the model."""
        wanted = parse(params, DiffusionParams)
        self.load()
        assert self._loaded is not None
        model, pipeline = self._loaded
        steps = min(wanted.steps or model.steps, model.steps)
        check(cancelled)
        report("decode", 0.0)
        longer_px = round(model.longer_side_px * (SMALL if wanted.size == "small" else 1))
        photo = sized(decode(first(inputs)), longer_px, model.multiple_px)
        arguments = {**model.call, **_pictured(photo), "prompt": wanted.prompt, **self.arguments(model, wanted, photo)}
        told = 0.0

        def step(done: int) -> None:
            nonlocal told
            check(cancelled)
            told = max(told, min(1.0, done / steps))  # a long dance is made in pieces, each from its first step
            report("draw", 0.05 + (_DRAWN - 0.05) * told)

        try:
            made = pipeline.run(arguments, steps=steps, seed=seed, step=step)
        finally:
            wipe(photo)
            pipeline.free()
        check(cancelled)
        report("encode", _DRAWN)
        result = _encoded(made, model)
        wipe(made)
        report("done", 1.0)
        return msgspec.structs.replace(result, facts={"steps": steps})

    def arguments(self, model: Model, wanted: DiffusionParams, photo: Pixels) -> dict[str, Any]:
        """What this task asks its pipeline besides picture, size and prompt."""
        raise NotImplementedError


class ImageToVideo(Diffusion):
    """A photo comes alive."""

    task = "image_to_video"

    def arguments(self, model: Model, wanted: DiffusionParams, photo: Pixels) -> dict[str, Any]:
        """How many frames."""
        del wanted, photo
        return {"num_frames": model.frames, "fps": model.frames_per_second}


class CharacterAnimation(Diffusion):
    """The person in a photo does what somebody does in a driving clip of the operator's."""

    task = "character_animation"

    def arguments(self, model: Model, wanted: DiffusionParams, photo: Pixels) -> dict[str, Any]:
        """The driving clips. Raises BadParams for a style that the model does not have."""
        styles = sorted(model.driving)
        style = wanted.style or (styles[0] if styles else "")
        if style not in model.driving:
            raise BadParams(f"expected a style among {', '.join(styles) or 'none'}, got another")
        height, width = photo.shape[:2]
        poses, face = (_frames(Path(clip), model.frames) for clip in model.driving[style])
        fitted = [cv2.resize(pose, (width, height), interpolation=cv2.INTER_AREA) for pose in poses]
        return {"pose_video": [_picture(one) for one in fitted], "face_video": [_picture(one) for one in face]}


class InstructionEditing(Diffusion):
    """A photo is edited as its user says."""

    task = "instruction_editing"

    def arguments(self, model: Model, wanted: DiffusionParams, photo: Pixels) -> dict[str, Any]:
        """Nothing more; but without an instruction there is nothing to do. Raises BadParams."""
        del model, photo
        if not wanted.prompt.strip():
            raise BadParams("expected a prompt that says what to change, got none; send one")
        return {}


ENGINES: Final[dict[Task, type[Diffusion]]] = {
    one.task: one for one in (ImageToVideo, CharacterAnimation, InstructionEditing)
}


def sized(photo: Pixels, longer_px: int, multiple_px: int) -> Pixels:
    """`photo` at sides that are multiples of `multiple_px`, the longer one `longer_px` or what comes before it."""
    scale = longer_px / max(photo.shape[:2])
    height, width = (max(multiple_px, int(side * scale + 0.5) // multiple_px * multiple_px) for side in photo.shape[:2])
    how = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(photo, (width, height), interpolation=how), np.uint8)


def _pictured(photo: Pixels) -> dict[str, Any]:
    height, width = photo.shape[:2]
    return {"image": _picture(photo), "height": height, "width": width}


def _picture(pixels: Any) -> Any:
    from PIL import Image  # noqa: PLC0415 - comes with diffusers, which wants pictures so

    return Image.fromarray(pixels)


def _frames(path: Path, count: int) -> list[Pixels]:
    """The first frames of an operator's own clip."""
    import av  # noqa: PLC0415

    try:
        with av.open(str(path), "r") as container:
            found = [frame.to_ndarray(format="rgb24") for frame in islice(container.decode(video=0), count)]
    except (av.FFmpegError, OSError, ValueError, IndexError):
        found = []
    if not found:
        raise WeightsUnavailable(f"expected a driving clip at {path}, got none: see the file of models")
    return found


def _encoded(made: Floats, model: Model) -> Result:
    frames, height, width = made.shape[:3]
    if model.task == "instruction_editing":
        return Result(stills.encode(_bytes(made[0]), "jpeg"), "image/jpeg", 1, width, height, {})
    with VideoWriter(width, height, frames, model.frames_per_second) as video:
        for picture in made:
            video.write(_bytes(picture))
        return Result(video.close(), MEDIA_TYPE, frames, width, height, {})


def _bytes(picture: Floats) -> Pixels:
    return np.rint(np.clip(picture, 0, 1) * 255).astype(np.uint8)
