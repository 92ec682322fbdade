"""A copy of the logs in a folder, for an auditor: over the public API, and only what is new.

DIR/<partition>/checkpoint, DIR/<partition>/tile/…: each partition's folder is a tlog-tiles log of its own.
"""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import Iterator
from http import HTTPStatus
from itertools import islice
from pathlib import Path
from typing import ClassVar, Final
from zipfile import BadZipFile
from zipfile import Path as ZipPath

import httpx
import msgspec

from stream.audit.checkpoint import decode_note, parse_note
from stream.audit.tiles import CHECKPOINT, Tile, tiles
from stream.audit.verify import Audited, Read, ShrunkenLog, audit
from stream.errors import BadRequest, StoreUnavailable

AT_ONCE: Final = 16
TIMEOUT_S: Final = 30.0
_INCOMING: Final = ".incoming"


class NotAnswered(StoreUnavailable):
    """The API did not give a file of the log."""

    kind: ClassVar[str] = "log-not-answered"


class NoLogs(BadRequest):
    """There is no copy of a log there."""

    kind: ClassVar[str] = "no-logs"


class Logs(msgspec.Struct):
    """What `GET /v1/log` answers."""

    partitions: int


class Exported(msgspec.Struct, frozen=True):
    """One log's copy, brought up to date. `before`: how many leaves it had."""

    folder: Path
    before: int
    audited: Audited


async def export(url: str, key: str, folder: Path) -> list[Exported]:
    """Bring the copies of all logs up to date.

    Raises what `audit` does where a log shrank, forked or does not hold together: its copy is then left as it was.
    """
    headers = {"Authorization": f"Bearer {key}"}
    async with httpx.AsyncClient(base_url=url, headers=headers, timeout=TIMEOUT_S) as http:
        raw = await _fetch(http, "/v1/log")
        try:
            count = msgspec.json.decode(raw, type=Logs).partitions
        except msgspec.MsgspecError:
            raise NotAnswered(f"expected {url} to tell how many logs it has: is it a Mayfly API?") from None
        return [await _export(http, partition, folder / str(partition)) for partition in range(count)]


def logs_of(path: Path) -> list[tuple[str, Read]]:
    """The logs in a folder or zip file: their folders' names, and how to read each. Raises NoLogs."""
    try:
        root: Path | ZipPath = ZipPath(path) if path.is_file() else path
        found = list(_logs_below(root, depth=2))
    except (OSError, BadZipFile) as error:
        raise NoLogs(f"expected a folder or zip file of exported logs: {type(error).__name__}") from None
    if not found:
        raise NoLogs("expected a folder with a checkpoint, or with folders that have one: export the logs again")
    return [(each.name, reader(each)) for each in sorted(found, key=lambda each: each.name.rjust(8))]


def _logs_below(folder: Path | ZipPath, depth: int) -> Iterator[Path | ZipPath]:
    if (folder / CHECKPOINT).is_file():
        yield folder
    elif depth:
        for each in folder.iterdir():
            if each.is_dir() and not each.name.startswith("."):
                yield from _logs_below(each, depth - 1)


def reader(*folders: Path | ZipPath) -> Read:
    """Files of a log's layout, from the first of these folders that has them."""

    def read(path: str) -> bytes | None:
        for folder in folders:
            if (file := folder / path).is_file():
                return file.read_bytes()
        return None

    return read


async def _export(http: httpx.AsyncClient, partition: int, folder: Path) -> Exported:
    note = await _fetch(http, f"/v1/log/{partition}/{CHECKPOINT}")
    seen = _seen(folder)
    size, old = parse_note(decode_note(note)).size, 0 if seen is None else parse_note(seen).size
    if size < old:
        raise ShrunkenLog(f"expected at least the {old} leaves that were exported before, log {partition} has {size}")
    incoming = folder / _INCOMING
    shutil.rmtree(incoming, ignore_errors=True)
    _write(incoming / CHECKPOINT, note)
    wanted = tiles(size, old)
    while batch := list(islice(wanted, AT_ONCE)):
        files = await asyncio.gather(*(_fetch(http, f"/v1/log/{partition}/{tile.path}") for tile in batch))
        for tile, file in zip(batch, files, strict=True):
            _write(incoming / tile.path, file)
    audited = audit(reader(incoming, folder), since=seen)
    _publish(incoming, folder, size)
    return Exported(folder, old, audited)


def _seen(folder: Path) -> str | None:
    try:
        return decode_note((folder / CHECKPOINT).read_bytes())
    except FileNotFoundError:
        return None


def _publish(incoming: Path, folder: Path, size: int) -> None:
    """Tiles first, the head last: whoever is stopped in between still has the log as it was."""
    for file in _files(incoming / "tile"):
        target = folder / file.relative_to(incoming)
        target.parent.mkdir(parents=True, exist_ok=True)
        file.replace(target)
    (incoming / CHECKPOINT).replace(folder / CHECKPOINT)
    shutil.rmtree(incoming)
    kept = {folder / tile.path for tile in _partial(size)}
    for file in _files(folder / "tile"):
        if file.parent.suffix == ".p" and file not in kept:
            file.unlink()
            if not any(file.parent.iterdir()):
                file.parent.rmdir()


def _partial(size: int) -> Iterator[Tile]:
    return (tile for tile in tiles(size) if ".p/" in tile.path)


def _files(folder: Path) -> list[Path]:
    return [Path(at) / name for at, _, names in os.walk(folder) for name in names]


def _write(path: Path, raw: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(raw)


async def _fetch(http: httpx.AsyncClient, path: str) -> bytes:
    try:
        answer = await http.get(path)
    except httpx.HTTPError as error:
        raise NotAnswered(f"expected the API to answer {path}, got {type(error).__name__}: does it run?") from None
    if answer.status_code != HTTPStatus.OK:
        raise NotAnswered(f"expected the API to give {path}, got {answer.status_code}: is the API key right?")
    return answer.content
