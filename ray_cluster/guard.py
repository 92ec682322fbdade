"""What stands around every engine's run, whichever engine it is: the content gate in front."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any, Final, Self

from ray_cluster.engines import confine, gate, registry
from ray_cluster.engines.interface import Engine, IsCancelled, Plaintext, Report, Result, check
from ray_cluster.labels import rules
from ray_cluster.labels.rules import Rules
from ray_cluster.leases import Task

INPUT: Final = "input"
"""The role of what a user sent; the other inputs are made by us."""


class Guard:
    """An actor's rules, read once."""

    def __init__(self, found: Rules | None = None) -> None:
        self.rules = found or Rules({})

    @classmethod
    def open(cls, operations: Collection[str], folder: Path | None = None) -> Self:
        """Read the rules, and start the child that decodes where an engine will. Raises BadRules."""
        guard = cls(rules.read(folder or rules.directory()))
        if any(registry.row(operation).pool != "noop" for operation in operations):
            confine.turn_on(gate=guard.rules.gated)
        return guard

    def around(self, engine: Engine, task: Task) -> Engine:
        """`engine`, for this task."""
        return _Guarded(engine, self, task)


class _Guarded:
    def __init__(self, engine: Engine, guard: Guard, task: Task) -> None:
        self._engine = engine
        self._gate = guard.rules.of(task.app).gate_of(task.operation)
        self._roles = [piece.role for piece in task.inputs]

    def load(self) -> None:
        """See `Engine`."""
        self._engine.load()

    def run(
        self,
        inputs: Sequence[Plaintext],
        params: dict[str, Any],
        *,
        seed: int,
        report: Report,
        cancelled: IsCancelled,
    ) -> Result:
        """See `Engine`; raises ContentRefused before the engine sees anything."""
        if self._gate < 1:
            report("look", 0.0)
            for role, data in zip(self._roles, inputs, strict=True):
                check(cancelled)
                if role == INPUT:
                    for _ in gate.examine(data, at_most=self._gate):  # it gives no picture
                        pass
        return self._engine.run(inputs, params, seed=seed, report=report, cancelled=cancelled)
