"""What every engine is: loaded once per actor, then run once per lease."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol, TypeVar

import msgspec

from ray_cluster.engines.errors import BadParams, Cancelled
from stream.errors import BadRequest

Params = TypeVar("Params", bound=msgspec.Struct)

Plaintext = bytes | bytearray | memoryview
"""Encoded media in the actor's heap. The caller owns it and wipes it; an engine never keeps a reference."""

Report = Callable[[str, float], None]
"""Called with (stage, fraction of the whole run in 0..1); fractions never fall and the last one is 1.0."""

IsCancelled = Callable[[], bool]
"""Asked at least once per step and per frame; the engine raises `Cancelled` at the first True."""


class Result(msgspec.Struct, frozen=True, repr_omit_defaults=True):
    """What a run made. Its repr shows sizes only: `media` is plaintext.

    `media` is encoded as `media_type` (the caller seals it, then wipes it: it is a bytearray for that reason), `width`
    and `height` are in pixels, `frames` is 1 for a still and 0 for data. `facts` are counts and seconds fit for a
    metric; they say nothing of what the picture shows.
    """

    media: bytearray
    media_type: str
    frames: int
    width: int
    height: int
    facts: dict[str, int | float]

    def __repr__(self) -> str:
        """Sizes only."""
        return f"Result({self.media_type}, {len(self.media)} B, {self.frames} x {self.width}x{self.height})"


class Engine(Protocol):
    """One operation on one runtime. Not thread-safe: one run at a time, as an actor does."""

    def load(self) -> None:
        """Read and verify weights and warm the runtime; idempotent.

        Raises:
            WeightsUnavailable: a weight is missing or altered.

        """

    def run(
        self,
        inputs: Sequence[Plaintext],
        params: dict[str, Any],
        *,
        seed: int,
        report: Report,
        cancelled: IsCancelled,
    ) -> Result:
        """Encoded media in, encoded media out; the same inputs, params and seed give the same bytes.

        Raises:
            BadRequest: the input or a parameter can never work (permanent).
            StoreUnavailable: the runtime failed (transient).
            Cancelled: `cancelled()` was True.

        """


def parse(params: dict[str, Any], into: type[Params]) -> Params:
    """`params` as the operation's own struct; unknown names are refused so that a typing error is never ignored."""
    try:
        return msgspec.convert(params, into)
    except msgspec.ValidationError as error:
        raise BadParams(f"params of this operation do not fit: {error}; see docs/engines.md for the list") from None


def check(cancelled: IsCancelled) -> None:
    """The cancel point."""
    if cancelled():
        raise Cancelled("expected to run to the end, the lease was cancelled; ask for a new attempt")


def first(inputs: Sequence[Plaintext]) -> Plaintext:
    """Input 0."""
    if not inputs:
        raise BadRequest("expected a photo as input 0, got no input; send one")
    return inputs[0]
