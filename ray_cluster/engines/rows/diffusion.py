"""What an operator's big models make: a row for each of their file."""

from __future__ import annotations

from ray_cluster.engines.diffusion.models import Model
from ray_cluster.engines.rows.row import Row
from ray_cluster.engines.weights import Pin


def row_of(model: Model) -> Row:
    """Its row. Where memory runs out, its pictures are made smaller."""
    engine = "".join(word.capitalize() for word in model.task.split("_"))
    return Row(
        operation=model.operation,
        engine=f"ray_cluster.engines.diffusion.engine:{engine}",
        models=(),
        own=(Pin(model.source, model.folder, model.digest, model.licence, model.commercial),),
        licence="permissive" if model.task == "instruction_editing" else "copyleft",  # libx264
        pool="diffusion",
        memory_mb=model.memory_mb,
        base_s=model.base_s + model.steps * model.step_s,
        params=("prompt", "size", "steps", "style"),
        device="gpu" if model.device == "cuda" else "cpu",
        makes="image" if model.task == "instruction_editing" else "video",
        smaller={"size": "small"},
    )
