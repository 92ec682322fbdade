"""Which operations there are, on what they run and what they cost. Importing this loads no runtime."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Literal

import msgspec

from ray_cluster.engines import weights
from ray_cluster.engines.errors import UnknownOperation
from ray_cluster.engines.interface import Engine

Pool = Literal["ncnn", "litert", "noop"]
Licence = Literal["none", "permissive", "copyleft"]
"""The strictest licence among an operation's weights and codecs (docs/engines.md lists them)."""


class Row(msgspec.Struct, frozen=True):
    """One operation. `base_s`, `per_megapixel_s` and `per_frame_s` are seconds on two cores, actor warm.

    `params`: the names that it knows.
    """

    operation: str
    engine: str
    models: tuple[str, ...]
    licence: Licence
    pool: Pool
    memory_mb: int
    base_s: float
    per_megapixel_s: float = 0.0
    per_frame_s: float = 0.0
    frames: int = 0
    params: tuple[str, ...] = ()

    def cost_s(self, megapixels: float) -> float:
        """Predicted seconds for an input of `megapixels` (before it is scaled down)."""
        return self.base_s + self.per_megapixel_s * megapixels + self.per_frame_s * self.frames


_FINDER = (
    "face_detection_short_range.tflite",
    "face_detection_full_range_sparse.tflite",
    "face_landmark.tflite",
    "pose_detection.tflite",
    "pose_landmark_full.tflite",
    "selfie_segmentation.tflite",
)

OPERATIONS: dict[str, Row] = {
    row.operation: row
    for row in (
        Row(
            operation="stylization",
            engine="ray_cluster.engines.stylization:Stylization",
            models=("realesrgan-x4plus-anime.param", "realesrgan-x4plus-anime.bin"),
            licence="permissive",
            pool="ncnn",
            memory_mb=520,
            base_s=4.8,
            per_megapixel_s=0.1,
            params=("format",),
        ),
        Row(
            operation="ai_dance",
            engine="ray_cluster.engines.ai_dance:Dance",
            models=_FINDER,
            licence="copyleft",
            pool="litert",
            memory_mb=450,
            base_s=0.5,
            per_megapixel_s=0.05,
            per_frame_s=1 / 80,
            frames=144,
        ),
        Row(
            operation="detect",
            engine="ray_cluster.engines.detect:Detect",
            models=_FINDER,
            licence="permissive",
            pool="litert",
            memory_mb=300,
            base_s=0.06,
            per_megapixel_s=0.03,
        ),
        Row(
            operation="noop",
            engine="ray_cluster.engines.noop:Noop",
            models=(),
            licence="none",
            pool="noop",
            memory_mb=60,
            base_s=0.001,
            params=("steps", "step_s", "out_bytes", "fail", "crash"),
        ),
    )
}


def row(operation: str) -> Row:
    """The row of `operation`; another name raises UnknownOperation."""
    try:
        return OPERATIONS[operation]
    except KeyError:
        raise UnknownOperation(f"expected one of {', '.join(sorted(OPERATIONS))}, got another operation") from None


def build(operation: str, folder: Path | None = None) -> Engine:
    """The engine of `operation`, not yet loaded; weights come from `folder` or `weights.directory()`."""
    module, _, name = row(operation).engine.partition(":")
    engine: Engine = getattr(importlib.import_module(module), name)(folder or weights.directory())
    return engine
