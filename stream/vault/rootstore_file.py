"""A root store of files: the embedded default, and the weaker claim."""

from __future__ import annotations

import asyncio
import base64
import binascii
import contextlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import ParamSpec, TypeVar

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from stream.vault.rootstore import RootGone, RootStoreUnavailable, version_of

P = ParamSpec("P")
T = TypeVar("T")

SECRET_BYTES = 32
NONCE_BYTES = 12
_USED = "used"


class FileRootStore:
    """Versions as files of one folder per partition, mode 0600. Wrapped keys read `file:v12:` and base64.

    File calls run in a thread: one synced write took 0.36 ms in the median and 5.7 ms at worst on an idle disk, a
    thread costs 0.08 ms, and the loop that would wait is the one that renews leases.
    """

    claim = (
        "file: root keys are overwritten with zeros and unlinked; a disk, its snapshots or a backup of this folder"
        " may keep what was overwritten, so this claim is weaker than an HSM's"
    )

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def __repr__(self) -> str:
        return f"FileRootStore({str(self._folder)!r})"

    async def used(self) -> bool:
        """See RootStore."""
        return await self._threaded(self._confirmed)

    async def versions(self) -> list[int]:
        """See RootStore."""
        return await self._threaded(self._versions)

    async def wrap(self, key: bytes) -> bytes:
        """See RootStore."""
        return await self._threaded(self._wrap, key)

    async def unwrap(self, wrapped: bytes) -> bytes:
        """See RootStore."""
        return await self._threaded(self._unwrap, wrapped)

    async def destroy_before(self, wrapped: bytes) -> None:
        """See RootStore. The newest version always stays, so its number marks what was ever used."""
        await self._threaded(self._destroy_before, wrapped)

    async def _threaded(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return await asyncio.to_thread(work, *args, **kwargs)
        except OSError as error:  # its text names paths, never content
            raise RootStoreUnavailable(f"expected {self} to be readable and writable: {error}") from error

    def _wrap(self, key: bytes) -> bytes:
        self._make_folder()
        version, secret = max(self._versions(), default=0) + 1, os.urandom(SECRET_BYTES)
        while True:
            try:
                # Exclusive creation is the reservation: a former owner that wraps at the same moment gets another.
                self._write(f"v{version}", secret, os.O_CREAT | os.O_EXCL)
                break
            except FileExistsError:
                version += 1
        _sync(self._folder)
        name, nonce = b"file:v%d" % version, os.urandom(NONCE_BYTES)
        return name + b":" + base64.b64encode(nonce + AESGCM(secret).encrypt(nonce, key, name))

    def _unwrap(self, wrapped: bytes) -> bytes:
        version = _number(wrapped)
        name, _, text = wrapped.rpartition(b":")
        try:
            sealed, secret = base64.b64decode(text, validate=True), self._path(version).read_bytes()
            return AESGCM(secret).decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], name)
        except (FileNotFoundError, InvalidTag, binascii.Error, ValueError):
            raise RootGone(
                f"expected {version_of(wrapped)} to open this root, but it does not live in this store: the `keys`"
                " topic is older than its store, or another's; bring the topic back from a replica, never a backup"
            ) from None

    def _destroy_before(self, wrapped: bytes) -> None:
        limit = _number(wrapped)
        if not self._confirmed():
            self._write(_USED, b"", os.O_CREAT)
        for version in sorted(self._versions()):
            if version < limit:
                with contextlib.suppress(FileNotFoundError):  # a former owner knew too that it was old
                    self._write(f"v{version}", bytes(SECRET_BYTES), 0)
                    self._path(version).unlink()
        _sync(self._folder)

    def _confirmed(self) -> bool:
        try:
            (self._folder / _USED).stat()  # exists() would take a folder that cannot be read for an unused one
        except FileNotFoundError:
            return False
        return True

    def _make_folder(self) -> None:
        fresh = [path for path in (self._folder, *self._folder.parents) if not path.exists()]
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for path in fresh:
            _sync(path.parent)  # else a power cut could take the folder, and with it the root of what Kafka kept

    def _versions(self) -> list[int]:
        try:
            return [int(path.name[1:]) for path in self._folder.iterdir() if path.name.startswith("v")]
        except FileNotFoundError:
            return []

    def _path(self, version: int) -> Path:
        return self._folder / f"v{version}"

    def _write(self, name: str, data: bytes, flags: int) -> None:
        file = os.open(self._folder / name, os.O_WRONLY | flags, 0o600)
        try:
            os.write(file, data)
            os.fsync(file)
        finally:
            os.close(file)


def _sync(folder: Path) -> None:
    opened = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)


def _number(wrapped: bytes) -> int:
    """Raises RootGone for what no FileRootStore wrapped."""
    kind, _, version = version_of(wrapped).partition(":v")
    if kind != "file" or not version.isdecimal():
        raise RootGone(f"expected a root wrapped by a file store, got {len(wrapped)} bytes of another store's")
    return int(version)
