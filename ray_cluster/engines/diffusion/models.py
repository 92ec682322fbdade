"""Which big models an operator has: folders in diffusers' own layout, each with its digest and its terms.

    python -m ray_cluster.engines.diffusion.models FOLDER

prints the digest of a folder.
"""

from __future__ import annotations

import hashlib
import os
import sys
import tomllib
from pathlib import Path
from typing import Annotated, Final, Literal

import msgspec

from ray_cluster.engines.errors import BadModel, WeightsUnavailable

VARIABLE: Final = "MAYFLY_DIFFUSION"
Task = Literal["image_to_video", "character_animation", "instruction_editing"]
_HARMLESS: Final = frozenset({".safetensors", ".json", ".txt", ".model", ".jinja", ".md", ""})
"""Weights that are only numbers, and text. Pickles (.bin, .pt, .ckpt) and Python would be run when they are read."""

Digest = Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$")]
Count = Annotated[int, msgspec.Meta(ge=1)]


class Model(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One model. `operation`: the name that policies have for what it makes.

    `offload`: what waits in the CPU's memory: nothing, whole parts that are not at work (`model`), or all but the layer
    at work (`sequential`: least memory, slowest). `call`: further arguments of the pipeline, such as `guidance_scale`.
    `driving`: for character animation, style → two clips, of poses and of a face. Seconds are of the device it runs on.
    """

    operation: str
    task: Task
    folder: str
    digest: Digest
    licence: str  # SPDX, or its name
    commercial: bool
    source: str
    device: Literal["cuda", "cpu"] = "cuda"
    dtype: Literal["bfloat16", "float16", "float32"] = "bfloat16"
    offload: Literal["none", "model", "sequential"] = "none"
    steps: Count = 30
    longer_side_px: Count = 832
    multiple_px: Count = 16
    frames: Count = 81
    frames_per_second: Count = 16
    call: dict[str, str | float | int | bool] = {}
    driving: dict[str, tuple[str, str]] = {}
    memory_mb: Count = 24_000  # of the host
    base_s: Annotated[float, msgspec.Meta(ge=0)] = 5.0
    step_s: Annotated[float, msgspec.Meta(ge=0)] = 1.0


def read(path: Path) -> tuple[Model, ...]:
    """The models in a TOML file (`[[model]]`).

    Raises:
        BadModel: it cannot be used, or names an operation twice.

    """
    try:
        found = msgspec.convert(tomllib.loads(path.read_text("utf-8")).get("model", []), tuple[Model, ...])
    except OSError as error:
        raise BadModel(f"expected a file of models at {path}, got {error.strerror}") from None
    except (tomllib.TOMLDecodeError, msgspec.ValidationError) as error:
        raise BadModel(f"expected models in {path}, got: {error}") from None
    names = [model.operation for model in found]
    for model in found:
        if names.count(model.operation) > 1:
            raise BadModel(f"expected one model for {model.operation}, got more")
    return found


def configured() -> tuple[Model, ...]:
    """Those in the file that `MAYFLY_DIFFUSION` names; none without it. Raises BadModel."""
    named = os.environ.get(VARIABLE)
    return read(Path(named)) if named else ()


def of(task: Task) -> Model:
    """The configured model for a task. Raises WeightsUnavailable."""
    for model in configured():
        if model.task == task:
            return model
    raise WeightsUnavailable(f"expected {VARIABLE} to name a file with a model for {task}, it does not")


def verify(model: Model) -> Path:
    """Its folder, after every byte was compared with the pinned digest.

    Raises:
        WeightsUnavailable: it is missing or another one.
        BadModel: it holds files that are run when they are read.

    """
    folder = Path(model.folder)
    found = digest_of(folder)
    if found != model.digest:
        raise WeightsUnavailable(f"expected {folder} with digest {model.digest}, got {found}: fetch it again")
    return folder


def digest_of(folder: Path) -> str:
    """SHA-256 over the sorted lines `path NUL size NUL SHA-256 LF` of all its files. Raises as `verify`."""
    if not (folder / "model_index.json").is_file():
        raise WeightsUnavailable(f"expected a model in diffusers' layout at {folder}, there is no model_index.json")
    whole = hashlib.sha256()
    for path in sorted(folder.rglob("*"), key=lambda one: one.relative_to(folder).as_posix()):
        name = path.relative_to(folder).as_posix()
        if path.is_symlink() or not (path.is_dir() or path.is_file()):
            raise BadModel(f"expected plain files in {folder}, got {name}: copy what it points to")
        if path.is_dir():
            continue
        if path.suffix not in _HARMLESS:
            raise BadModel(f"expected safetensors and text in {folder}, got {name}: it would be run when it is read")
        with path.open("rb") as file:
            inner = hashlib.file_digest(file, "sha256").hexdigest()
        whole.update(f"{name}\0{path.stat().st_size}\0{inner}\n".encode())
    return whole.hexdigest()


if __name__ == "__main__":
    print(digest_of(Path(sys.argv[1])))  # noqa: T201 - what it is for
