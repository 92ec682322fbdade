"""A backup: the ledger's rows and the ciphertext they name. Never `keys`: it is replicated, and cannot be restored.

    DIR/backup.json     what this is, and the digest of each file of rows
    DIR/ledger-N        rows of partition N: length (4 bytes, big endian) ‖ msgpack [key, value], once each
    DIR/objects/NAME    ciphertext

Rows first, then objects: what is erased between the two has a row without an object, which a restore can tell. Rows of
a partition are those of one moment (the read-committed end of its topic), so a running system may be backed up.
"""

from __future__ import annotations

import asyncio
import hashlib
import struct
import time
from collections.abc import Iterator
from contextlib import aclosing
from pathlib import Path
from typing import BinaryIO, ClassVar

import msgspec

from services.settings import Settings
from services.topic_follow import Apply, read_whole
from stream import topics
from stream.errors import BadRequest
from stream.events.rows import AssetHead, AssetState, rows
from stream.ids import digest
from stream.ledger import RESERVED
from stream.vault.courier import Courier, NoSuchObject
from stream.vault.custody import S3Custody

FORMAT = 1
MANIFEST = "backup.json"
OBJECTS = "objects"
COPIES = 16  # objects under way at a time
URL_S = 3600
_LENGTH = struct.Struct(">I")


class BadBackup(BadRequest):
    """The folder is no whole backup of this deployment: nothing was changed."""

    kind: ClassVar[str] = "bad-backup"


class Part(msgspec.Struct, frozen=True):
    """The rows of one partition. `end`: the offset in its topic up to which they were read."""

    rows: int
    end: int
    sha256: str


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """What a backup says of itself. `taken_at`: epoch seconds when its first row was read."""

    format: int = FORMAT
    deployment: str
    taken_at: float
    parts: tuple[Part, ...]
    objects: int


def deployment_of(settings: Settings) -> str:
    """Tells one deployment from another: its ids' secret, digested."""
    return digest("mayfly deployment", settings.secret).hex()


async def take(settings: Settings, folder: Path, *, objects: bool = True) -> Manifest:
    """Back up into a folder that is empty or does not exist. Raises BadBackup, StoreUnavailable or KafkaError."""
    _make_folder(folder)
    taken_at = time.time()
    names: set[str] = set()
    parts = []
    for partition in range(settings.partitions):
        found: dict[bytes, bytes] = {}
        end = await read_whole(settings.kafka, topics.LEDGER, _keep_last(found), partition=partition)
        names |= {head.object for value in found.values() if (head := _living(value)) is not None}
        parts.append(Part(len(found), end, _write(folder / f"ledger-{partition}", found)))
    copied = await _copy(settings, names, folder / OBJECTS) if objects else 0
    manifest = Manifest(deployment=deployment_of(settings), taken_at=taken_at, parts=tuple(parts), objects=copied)
    (folder / MANIFEST).write_bytes(msgspec.json.format(msgspec.json.encode(manifest)))  # last: without it, no backup
    return manifest


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        (folder / OBJECTS).mkdir(mode=0o700)
        empty = [path.name for path in folder.iterdir()] == [OBJECTS]
    except FileExistsError:
        empty = False
    except OSError as error:
        raise BadBackup(f"expected a folder to write to, got {error.strerror}: {folder}") from None
    if not empty:
        raise BadBackup(f"expected an empty folder for a backup, got {folder}: name another")


def manifest_of(folder: Path, settings: Settings) -> Manifest:
    """What a backup says of itself. Raises BadBackup for another deployment's, or where it was never finished."""
    try:
        manifest = msgspec.json.decode((folder / MANIFEST).read_bytes(), type=Manifest)
    except OSError as error:
        raise BadBackup(f"expected {MANIFEST} in {folder}, got {error.strerror}: was the backup finished?") from None
    except msgspec.MsgspecError as error:
        raise BadBackup(f"expected {MANIFEST} of format {FORMAT} in {folder}: {error}") from None
    if manifest.format != FORMAT:
        raise BadBackup(f"expected a backup of format {FORMAT}, got {manifest.format}")
    if manifest.deployment != deployment_of(settings) or len(manifest.parts) != settings.partitions:
        raise BadBackup("expected a backup of this deployment; this one has another secret or another partition count")
    return manifest


def rows_of(folder: Path, partition: int, part: Part) -> dict[bytes, bytes]:
    """The rows of one partition. Raises BadBackup where they are not what was written."""
    return dict(_records(_whole(folder, partition, part)))


def check(folder: Path, manifest: Manifest) -> None:
    """Raises BadBackup where any partition's rows are not what was written."""
    for partition, part in enumerate(manifest.parts):
        _whole(folder, partition, part)


def _whole(folder: Path, partition: int, part: Part) -> bytes:
    try:
        raw = (folder / f"ledger-{partition}").read_bytes()
    except OSError as error:
        raise BadBackup(f"expected the rows of partition {partition} in {folder}, got {error.strerror}") from None
    if hashlib.sha256(raw).hexdigest() != part.sha256:
        raise BadBackup(f"expected the rows of partition {partition} as they were written; their digest differs")
    return raw


def objects_of(folder: Path) -> frozenset[str]:
    """The names of the objects that it holds."""
    return frozenset(path.name for path in (folder / OBJECTS).iterdir())


def _keep_last(found: dict[bytes, bytes]) -> Apply:
    def apply(key: bytes, value: bytes | None) -> None:
        if key in RESERVED:  # offsets and heartbeats say nothing that a restore may believe
            return
        if value is None:
            found.pop(key, None)
        else:
            found[key] = value

    return apply


def _living(value: bytes) -> AssetHead | None:
    head, _ = rows.decode(value)
    return head if isinstance(head, AssetHead) and head.state is not AssetState.DEAD else None


def _write(path: Path, found: dict[bytes, bytes]) -> str:
    seen = hashlib.sha256()
    with path.open("wb") as file:
        for pair in found.items():
            _append(file, seen, msgspec.msgpack.encode(pair))
    return seen.hexdigest()


def _append(file: BinaryIO, seen: hashlib._Hash, record: bytes) -> None:
    for piece in (_LENGTH.pack(len(record)), record):
        file.write(piece)
        seen.update(piece)


def _records(raw: bytes) -> Iterator[tuple[bytes, bytes]]:
    at = 0
    while at < len(raw):
        (length,) = _LENGTH.unpack_from(raw, at)
        at += _LENGTH.size
        yield msgspec.msgpack.decode(raw[at : at + length], type=tuple[bytes, bytes])
        at += length


async def _copy(settings: Settings, names: set[str], folder: Path) -> int:
    limit = asyncio.Semaphore(COPIES)
    async with custody_of(settings) as custody, Courier() as courier:

        async def copy(name: str) -> bool:
            async with limit:
                try:
                    with (folder / name).open("wb") as file:
                        async with aclosing(courier.get_stream(custody.get_url(name, URL_S))) as chunks:
                            async for chunk in chunks:
                                file.write(chunk)
                except NoSuchObject:  # not yet uploaded, or erased since its row was read
                    (folder / name).unlink()
                    return False
                return True

        return sum(await asyncio.gather(*map(copy, sorted(names))))


def custody_of(settings: Settings) -> S3Custody:
    """Where the deployment keeps ciphertext."""
    return S3Custody(settings.s3_url, settings.s3_access_key, settings.s3_secret_key, settings.bucket)
