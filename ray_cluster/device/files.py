"""One file of the user's own in, one file beside it out; labelled like everything that is made here."""

from __future__ import annotations

from pathlib import Path
from typing import Final, NamedTuple

import cv2
import msgspec

from ray_cluster.device import clips
from ray_cluster.device.operations import Operation, Options, Tools, alone, apply
from ray_cluster.device.person import Facts
from ray_cluster.engines.decode import Pixels, decode, is_clip
from ray_cluster.engines.errors import BadParams, EngineFault
from ray_cluster.engines.interface import Result
from ray_cluster.engines.stamping import stamping
from ray_cluster.labels.label import labelled
from ray_cluster.labels.stamp import PixelStamp

PRODUCER: Final = "Mayfly, on the user's device"
_QUALITY: Final = 93


class Written(NamedTuple):
    """`drawn_per_s`: of a clip."""

    path: Path
    drawn_per_s: float = 0.0


def edit(operation: Operation, source: Path, folder: Path, tools: Tools, options: Options) -> Written:
    """`source` through `operation` into `folder`. Raises BadRequest for what it cannot take, OSError."""
    data = source.read_bytes()
    if is_clip(data):
        return _clip(operation, folder / source.stem, tools, options, data)
    made = alone(operation, decode(data), tools, options)
    if isinstance(made, Facts):
        path = folder / f"{source.stem}.{operation.name}.json"
        path.write_bytes(msgspec.json.format(msgspec.json.encode(made)) + b"\n")
        return Written(path)
    extension, media_type = (".png", "image/png") if made.ndim == 2 else (".jpg", "image/jpeg")  # noqa: PLR2004 - mask
    path = folder / f"{source.stem}.{operation.name}{extension}"
    path.write_bytes(_still(made, extension, media_type))
    return Written(path)


def film(operation: Operation, folder: Path, tools: Tools, options: Options, *, camera: int, seconds: float) -> Written:
    """So many seconds of a camera through `operation` into `folder`."""
    stamp = PixelStamp("")
    with stamping(stamp):
        made = clips.film(camera, seconds, _draw(operation, tools, options))
    return _saved(made, folder / f"camera.{operation.name}.mp4", stamp)


def _clip(operation: Operation, stem: Path, tools: Tools, options: Options, data: bytes) -> Written:
    if not operation.moves:
        raise BadParams(f"expected a picture for {operation.name}, got a clip; take a frame of it")
    tools.forget()
    stamp = PixelStamp("")
    with stamping(stamp):
        made = clips.redraw(data, _draw(operation, tools, options))
    return _saved(made, stem.with_name(f"{stem.name}.{operation.name}.mp4"), stamp)


def _draw(operation: Operation, tools: Tools, options: Options) -> clips.Draw:
    def draw(frame: Pixels) -> Pixels:
        made = apply(operation, frame, tools, options)
        assert not isinstance(made, Facts)
        return made

    return draw


def _saved(made: clips.Made, path: Path, stamp: PixelStamp) -> Written:
    path.write_bytes(labelled(made.result, stamp, producer=PRODUCER, sign=None).media)
    return Written(path, made.drawn_per_s)


def _still(pixels: Pixels, extension: str, media_type: str) -> bytearray:
    mask = pixels.ndim == 2  # noqa: PLR2004 - it is data: its levels stay as they are
    options = [] if mask else [cv2.IMWRITE_JPEG_QUALITY, _QUALITY]
    ok, coded = cv2.imencode(extension, pixels if mask else cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR), options)
    if not ok:
        raise EngineFault("expected OpenCV to encode the picture, it did not; try again")
    media = bytearray(coded.data)
    if mask:
        return media
    height, width = pixels.shape[:2]
    return labelled(Result(media, media_type, 1, width, height, {}), PixelStamp(""), producer=PRODUCER, sign=None).media
