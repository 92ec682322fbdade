"""Model files: where they lie, and the proof that each is the pinned one."""

from __future__ import annotations

import functools
import hashlib
import os
import tomllib
from pathlib import Path

from ray_cluster.engines.errors import WeightsUnavailable

DIRECTORY_VARIABLE = "MAYFLY_WEIGHTS"
DEFAULT_DIRECTORY = Path(".mayfly/weights")
_PINS = Path(__file__).with_name("weights.toml")


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
    expected, found = _pins().get(name), hashlib.sha256(content).hexdigest()
    if found != expected:
        raise WeightsUnavailable(
            f"expected model file {name} with sha256 {expected}, got {found}; delete it and run make setup"
        )
    return content


@functools.cache
def _pins() -> dict[str, str]:
    rows = tomllib.loads(_PINS.read_text("utf-8"))["weights"]
    return {row["file"]: row["sha256"] for row in rows}
