"""`--report`: the run as one JSON object. Paths are absolute; times in epoch seconds on the demo's clock."""

from __future__ import annotations

import msgspec

from services.demo.erasure import Erasure


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """A file that a job made. `seconds`: how long the film lasts (0 for a picture); `took_s`: how long one waited."""

    operation: str
    choice: str
    file: str
    frames: int
    seconds: float
    sha256: str
    took_s: float


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """All that a program needs to check the run. `broken`: a sentence for each promise that was not kept."""

    boot_s: float
    took_s: float
    results: list[Result]
    erasures: list[Erasure]
    receipts: list[str]
    broken: list[str]

    def encode(self) -> bytes:
        """Indented JSON."""
        return msgspec.json.format(msgspec.json.encode(self)) + b"\n"
