"""Kafka's jars: which, and whether they are what they were."""

from __future__ import annotations

import hashlib
import os
import tomllib
from pathlib import Path
from typing import ClassVar, Final

import msgspec

from services.local.home import home
from stream.errors import StoreUnavailable

LOCK: Final = Path(__file__).with_name("jars.toml")


class MissingPart(StoreUnavailable):
    """Something that `make setup` fetches is absent or is not what it was."""

    kind: ClassVar[str] = "missing-part"


class Jar(msgspec.Struct, frozen=True):
    """One file of the class path."""

    file: str
    sha256: str


class JarLock(msgspec.Struct, frozen=True, kw_only=True):
    """The resolved set. `binding` is resolved apart: jgo's managed versions would pull kafka-clients back to 3.9."""

    broker: str  # Maven coordinates
    binding: str
    jar: tuple[Jar, ...]


def read_lock() -> JarLock:
    """The committed set."""
    return msgspec.convert(tomllib.loads(LOCK.read_text()), JarLock)


def folder() -> Path:
    """Where `make setup` puts them."""
    return home() / "jars"


def classpath() -> str:
    """Java's class path, always in one order. Raises MissingPart; contents were checked when they were fetched."""
    paths = [folder() / jar.file for jar in read_lock().jar]
    missing = [path.name for path in paths if not path.exists()]
    if missing:
        raise MissingPart(
            f"expected {len(paths)} jars in {folder()}, {len(missing)} are absent ({missing[0]}, …): run `make setup`"
        )
    return os.pathsep.join(map(str, paths))


def verify(path: Path, sha256: str) -> None:
    """Raises MissingPart unless the file has this hash."""
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != sha256:
        raise MissingPart(f"expected {path.name} with sha256 {sha256}, got {found}: delete it and run `make setup`")
