"""What stands around every engine's run, whichever engine it is: the content gate before it, labels behind it."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any, Final, Self

from ray_cluster.engines import confine, gate, registry, weights
from ray_cluster.engines.interface import Engine, IsCancelled, Plaintext, Report, Result, check
from ray_cluster.engines.stamping import stamping
from ray_cluster.engines.wipe import wipe
from ray_cluster.labels import provenance, rules
from ray_cluster.labels.label import labelled
from ray_cluster.labels.provenance import Signer
from ray_cluster.labels.rules import Rules
from ray_cluster.labels.stamp import PixelStamp
from ray_cluster.leases import Task
from stream.policies.vocabulary import TEST_ONLY_OPERATIONS

INPUT: Final = "input"
"""The role of what a user sent; the other inputs are made by us."""

_NOT_GATED: Final = frozenset({"detect"}) | TEST_ONLY_OPERATIONS
"""What is detected is looked at by the operation that it is detected for, by that one's rule."""

_RUN: Final = 0.95
"""Share of a run that is the engine's own; the rest is labels."""


class Guard:
    """An actor's rules and the operator's key, read once."""

    def __init__(self, found: Rules | None = None, signer: Signer | None = None) -> None:
        self.rules = found or Rules({})
        self.signer = signer

    @classmethod
    def open(cls, operations: Collection[str], folder: Path | None = None) -> Self:
        """Read rules and key, and start the child that decodes where an engine will.

        Raises:
            BadRules, BadSigningKey: the folder of labels cannot be used.
            WeightsUnavailable: there is a gate, and its network is missing or altered.

        """
        folder = folder or rules.directory()
        signed = folder is not None and (folder / provenance.KEY_FILE).exists()
        guard = cls(rules.read(folder), Signer(folder) if folder and signed else None)
        if any(registry.row(operation).pool != "noop" for operation in operations):
            if guard.rules.gated:
                weights.read(weights.directory(), gate.WEIGHTS)  # the child would only die of it
            confine.turn_on(gate=guard.rules.gated)
        return guard

    def around(self, engine: Engine, task: Task) -> Engine:
        """`engine`, for this task."""
        return _Guarded(engine, self, task)


class _Guarded:
    def __init__(self, engine: Engine, guard: Guard, task: Task) -> None:
        self._engine = engine
        self._guard = guard
        own = guard.rules.of(task.app)
        self._gate = 1.0 if task.operation in _NOT_GATED else own.gate_of(task.operation)
        self._words = own.words_of(task.operation)
        row = registry.OPERATIONS.get(task.operation)
        self._invents = row is not None and row.pool == "diffusion"
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
        """See `Engine`; raises ContentRefused before the engine sees anything, Unlabellable where no label holds.

        What a model invents from words is looked at too.
        """
        if self._gate < 1:
            report("look", 0.0)
            for role, data in zip(self._roles, inputs, strict=True):
                check(cancelled)
                if role == INPUT:
                    self._look(data)
        stamp, result = PixelStamp(self._words), None
        try:
            with stamping(stamp):
                result = self._engine.run(
                    inputs,
                    params,
                    seed=seed,
                    report=lambda stage, fraction: report(stage, _RUN * fraction),
                    cancelled=cancelled,
                )
            check(cancelled)
            if self._invents and self._gate < 1:
                self._look(result.media)
            report("label", _RUN)
            signer = self._guard.signer
            made = labelled(result, stamp, producer=self._guard.rules.producer, sign=signer.sign if signer else None)
        except BaseException:
            wipe(result.media if result else None)  # it does not leave
            raise
        finally:
            stamp.wipe()
        report("done", 1.0)
        return made

    def _look(self, data: Plaintext) -> None:
        for _ in gate.examine(data, at_most=self._gate):  # it gives no picture
            pass
