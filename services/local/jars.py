"""Kafka's class path: which jars, where they are, how they come."""

from __future__ import annotations

import os
import shutil
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import msgspec

from services.local.home import jars_dir
from services.local.parts import MissingPart, Part

LOCK: Final = Path(__file__).with_name("jars.toml")


class JarLock(msgspec.Struct, frozen=True, kw_only=True):
    """The committed set, and the Maven coordinates that it was resolved from."""

    broker: str
    # Without a binding of slf4j 1.7 the broker logs nothing, not even why it died. It is resolved apart: beside the
    # broker its managed versions win, and pull kafka-clients back to 3.9.
    binding: str
    jar: tuple[Part, ...]


def read_lock() -> JarLock:
    """The pinned jars."""
    return msgspec.convert(tomllib.loads(LOCK.read_text()), JarLock)


def classpath() -> str:
    """Java's class path, always in one order. Raises MissingPart; the bytes were checked when they were fetched."""
    folder = jars_dir()
    paths = [folder / jar.file for jar in read_lock().jar]
    absent = [path.name for path in paths if not path.exists()]
    if absent:
        raise MissingPart(
            f"expected {len(paths)} jars in {folder}, but {len(absent)} are absent ({absent[0]}, …): run `make setup`"
        )
    return os.pathsep.join(map(str, paths))


def fetch_jars(folder: Path) -> int:
    """Fetch and verify what the folder lacks; how many. Raises MissingPart."""
    lock = read_lock()
    wanted = [jar for jar in lock.jar if not jar.is_in(folder)]
    if wanted:
        folder.mkdir(parents=True, exist_ok=True)
        resolved = {path.name: path for path in _resolve(lock)}
        for jar in wanted:
            if jar.file not in resolved:
                raise MissingPart(
                    f"expected {lock.broker} to bring {jar.file}, but it did not: is the pin out of date?"
                )
            shutil.copyfile(resolved[jar.file], folder / jar.file)
            jar.verify(folder)
    return len(wanted)


def _resolve(lock: JarLock) -> Iterator[Path]:
    import jgo  # noqa: PLC0415 - a second of imports that only setup needs

    for coordinates in (lock.binding, lock.broker):
        yield from Path(jgo.build(coordinates).path).rglob("*.jar")
