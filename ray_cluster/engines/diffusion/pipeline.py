"""One pipeline of diffusers, loaded from its folder: steps told, cancelled within one of them, nothing fetched."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ray_cluster.engines.diffusion.models import Model
from ray_cluster.engines.errors import BadModel, EngineFault

Floats = NDArray[np.float32]
"""T x H x W x 3, RGB, 0..1; T is 1 for a still."""

Step = Callable[[int], None]
"""Called behind each step with how many are done; what it raises ends the run there and then."""


class Pipeline:
    """Not thread-safe."""

    def __init__(self, model: Model, folder: Path) -> None:
        """Load it. Raises BadModel, EngineFault."""
        os.environ["HF_HUB_OFFLINE"] = "1"  # before its first import: what is not in the folder is not there
        os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
        try:
            import diffusers  # noqa: PLC0415 - seconds, gigabytes, and only this pool has it
            import torch  # noqa: PLC0415
        except ImportError:
            raise EngineFault("expected torch and diffusers to be installed, they are not: make diffusers") from None
        if model.device == "cuda" and not torch.cuda.is_available():
            raise EngineFault(f"expected a GPU for {model.operation}, got none: give its pool one")
        diffusers.utils.logging.set_verbosity_error()
        diffusers.utils.logging.disable_progress_bar()
        try:
            self._pipe: Any = diffusers.DiffusionPipeline.from_pretrained(
                folder,
                torch_dtype=getattr(torch, model.dtype),
                use_safetensors=True,
                local_files_only=True,
                trust_remote_code=False,
            )
        except (ValueError, OSError, AttributeError, KeyError) as error:
            raise BadModel(
                f"expected diffusers {diffusers.__version__} to load {folder}, got {type(error).__name__}"
            ) from None
        self._torch = torch
        self._knows = inspect.signature(self._pipe.__call__).parameters
        if "callback_on_step_end" not in self._knows:
            raise BadModel(f"expected a pipeline that tells its steps, {type(self._pipe).__name__} does not")
        self._pipe.set_progress_bar_config(disable=True)
        self._place(model)

    def run(self, arguments: dict[str, Any], *, steps: int, seed: int, step: Step) -> Floats:
        """What it makes of those `arguments` that it knows. The same seed gives the same on one machine."""

        def told(_pipe: Any, index: int, _time: Any, tensors: dict[str, Any]) -> dict[str, Any]:
            step(index + 1)
            return tensors

        torch = self._torch
        asked = {name: value for name, value in arguments.items() if name in self._knows}
        with torch.inference_mode():
            made = self._pipe(
                **asked,
                num_inference_steps=steps,
                generator=torch.Generator("cpu").manual_seed(seed % 2**63),
                output_type="np",
                callback_on_step_end=told,
            )
        pictures = np.asarray(made.frames[0] if hasattr(made, "frames") else made.images, np.float32)
        if pictures.ndim != 4 or pictures.shape[-1] != 3 or not len(pictures):  # noqa: PLR2004 - T x H x W x 3
            raise EngineFault("expected pictures of the pipeline, got something else; is it one for this task?")
        return pictures

    def free(self) -> None:
        """Give memory that is not needed back to the device."""
        if self._torch.cuda.is_available():
            self._torch.cuda.empty_cache()

    def _place(self, model: Model) -> None:
        if model.offload == "none":
            self._pipe.to(model.device)
        elif model.device == "cpu":
            raise BadModel(f"expected offload none for {model.operation} on a CPU, got {model.offload}")
        elif model.offload == "model":
            self._pipe.enable_model_cpu_offload()
        else:
            self._pipe.enable_sequential_cpu_offload()
        vae: Any = getattr(self._pipe, "vae", None)
        if model.offload != "none" and hasattr(vae, "enable_tiling"):
            vae.enable_tiling()  # decoding a clip whole would take more than all its steps
