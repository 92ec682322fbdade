"""Model files: where they lie, and the proof that each is the pinned one."""

from __future__ import annotations

import functools
import hashlib
import os
import tomllib
from pathlib import Path

import msgspec

from ray_cluster.engines.errors import WeightsUnavailable

DIRECTORY_VARIABLE = "MAYFLY_WEIGHTS"
DEFAULT_DIRECTORY = Path(".mayfly/weights")
_PINS = Path(__file__).with_name("weights.toml")


class Pin(msgspec.Struct, frozen=True):
    """What is known of one model file: its bytes (`sha256`, hex), and its terms (`licence`, SPDX)."""

    name: str
    file: str
    sha256: str
    licence: str
    commercial: bool


def directory() -> Path:
    """The folder of weights: `MAYFLY_WEIGHTS`, or `.mayfly/weights` under the working directory."""
    return Path(os.environ.get(DIRECTORY_VARIABLE) or DEFAULT_DIRECTORY)


def verified(folder: Path, name: str) -> Path:
    """The path of weight `name` after its bytes were compared with the pinned sha256."""
    read(folder, name)
    return folder / name


def read(folder: Path, name: str) -> bytes:
    """The bytes of weight `name`.

    Raises:
        WeightsUnavailable: missing, unreadable, not pinned, or not byte for byte the pinned file.

    """
    try:
        content = (folder / name).read_bytes()
    except OSError as error:
        raise WeightsUnavailable(
            f"expected model file {name} in {folder}, got {error.strerror}; run make setup or set {DIRECTORY_VARIABLE}"
        ) from None
    known = _pins().get(name)
    expected, found = known.sha256 if known else None, hashlib.sha256(content).hexdigest()
    if found != expected:
        raise WeightsUnavailable(
            f"expected model file {name} with sha256 {expected}, got {found}; delete it and run make setup"
        )
    return content


def pin(name: str) -> Pin:
    """Digest and terms of weight `name`; one that is not pinned raises WeightsUnavailable."""
    try:
        return _pins()[name]
    except KeyError:
        raise WeightsUnavailable(f"expected {name} in {_PINS.name}, it is not there; pin it with its terms") from None


@functools.cache
def _pins() -> dict[str, Pin]:
    rows = tomllib.loads(_PINS.read_text("utf-8"))["weights"]
    return {row.file: row for row in msgspec.convert(rows, tuple[Pin, ...])}
