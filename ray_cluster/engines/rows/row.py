"""What the registry says of one operation. Importing this, or any row, loads no runtime."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from ray_cluster.engines import weights
from ray_cluster.engines.weights import Pin

Pool = Literal["ncnn", "litert", "diffusion", "noop"]
Licence = Literal["none", "permissive", "copyleft"]
"""The strictest licence among an operation's weights and codecs (docs/engines.md lists them)."""

Device = Literal["cpu", "gpu"]
Takes = Literal["photo", "media", "face", "target", "garment", "sound"]
"""What an input is: `media` is a photo or a clip, `face` and `garment` are photos of just that."""

Makes = Literal["image", "video", "data"]


SMALL = "small"
"""The profile of an attempt that runs with a row's `smaller` parameters."""


class Row(msgspec.Struct, frozen=True):
    """One operation. `base_s`, `per_megapixel_s` and `per_frame_s` are seconds on two cores, actor warm.

    `memory_mb` is what its actor needs for 1 megapixel, `mb_per_megapixel` what each further one adds. `params`: the
    names that it knows. `variants`: named params that make visibly different things (a gallery shows each, a benchmark
    measures each as `operation.variant`). `smaller`: params that make do with less memory, for an attempt that ran out.
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
    device: Device = "cpu"
    mb_per_megapixel: float = 0.0
    takes: tuple[Takes, ...] = ("photo",)
    makes: Makes = "image"
    variants: dict[str, dict[str, Any]] = {}
    smaller: dict[str, Any] = {}
    own: tuple[Pin, ...] = ()  # models of the operator's, which `weights.toml` does not know

    def cost_s(self, megapixels: float) -> float:
        """Predicted seconds for an input of `megapixels` (before it is scaled down)."""
        return self.base_s + self.per_megapixel_s * megapixels + self.per_frame_s * self.frames

    def needs_mb(self, megapixels: float) -> float:
        """Predicted peak of its process's resident memory for an input of `megapixels`."""
        return self.memory_mb + self.mb_per_megapixel * max(0.0, megapixels - 1)

    def pins(self) -> tuple[Pin, ...]:
        """Digest and terms of each model, as `weights.toml` or the operator has them."""
        return (*self.own, *(weights.pin(name) for name in self.models))

    @property
    def profiles(self) -> tuple[str, ...]:
        """Ever smaller ones, tried in this order when memory runs out."""
        return (SMALL,) if self.smaller else ()

    @property
    def commercial(self) -> bool:
        """Whether the terms of every model allow a paid app."""
        return all(pin.commercial for pin in self.pins())
