"""Which operations there are, on what they run and what they cost. Importing this loads no runtime."""

from __future__ import annotations

import importlib
from collections.abc import Iterable
from pathlib import Path

from ray_cluster.engines import weights
from ray_cluster.engines.diffusion import models as big_models
from ray_cluster.engines.errors import NonCommercialWeights, UnknownOperation
from ray_cluster.engines.interface import Engine
from ray_cluster.engines.rows import diffusion, looks, people, trial
from ray_cluster.engines.rows.row import Row

OPERATIONS: dict[str, Row] = {row.operation: row for row in (*looks.ROWS, *people.ROWS, *trial.ROWS)}


def take_big_models() -> None:
    """Have an operator's big models make their operations, if there is a file of them. Raises BadModel."""
    for model in big_models.configured():
        OPERATIONS[model.operation] = diffusion.row_of(model)


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


def refuse_non_commercial(rows: Iterable[Row]) -> None:
    """Raise NonCommercialWeights if any model of `rows` may not earn money: a paid deployment must not start so."""
    barred = sorted({pin.file for each in rows for pin in each.pins() if not pin.commercial})
    if barred:
        raise NonCommercialWeights(
            f"expected weights whose terms allow commercial use, got {', '.join(barred)}; "
            "take their operations out of the registry, or set commercial to false where nobody pays"
        )
