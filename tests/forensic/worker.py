"""`services.worker` with its pages of keys tapped: each key is told to the test, from where it lies, uncopied."""

from __future__ import annotations

import hashlib
import os
import socket
from typing import Any

from services import roots, worker
from stream.vault.keynode import ROOT, Level
from stream.vault.pages import KeyPages, StagedPages
from stream.vault.rootstore_file import FileRootStore
from stream.vault.secret import Key
from tests.forensic.tap import ENTRY, GONE, ID_BYTES, KEY_BYTES, NODE, PATH_VARIABLE, ROOT_SECRET

_line = socket.socket(socket.AF_UNIX)


def tell(tag: bytes, name: bytes, key: Any) -> None:
    """In one call of the kernel, so that threads do not mix."""
    _line.sendmsg([tag + name, key])


class TappedPages(KeyPages):
    """Tells keys as they are made, and ids as they go."""

    def __init__(self, partition: int, roots: Any, **options: Any) -> None:
        super().__init__(partition, roots, **options)
        self._root_name = b"root".ljust(ID_BYTES - 1, b"-") + bytes([partition])
        self._told: dict[bytes, bytes] = {}

    def new_key(self, group: bytes, bucket: bytes, entry: bytes) -> tuple[bytes, Key]:
        page, key = super().new_key(group, bucket, entry)
        tell(ENTRY, entry, key.view)
        self._told[entry] = b""
        return page, key

    def stage(self) -> StagedPages:
        staged = super().stage()
        present = set()
        for node in self._tree._nodes.values():
            name = self._root_name if node.id == ROOT else node.id
            present.add(name)
            if node.level == Level.LEAF:
                present.update(entry for entry, _ in node.entries())
            digest = hashlib.sha256(node.key).digest()
            if self._told.get(name) != digest:
                self._told[name] = digest
                tell(NODE, name, node.key)
        for name in set(self._told) - present:
            del self._told[name]
            tell(GONE, name, bytes(KEY_BYTES))
        return staged


class TappedStore(FileRootStore):
    """Tells the secrets of root versions."""

    def _write(self, name: str, data: bytes, flags: int) -> None:
        super()._write(name, data, flags)
        if len(data) == KEY_BYTES and any(data):
            tell(ROOT_SECRET, b"store".ljust(ID_BYTES - 2, b"-") + self._folder.name.encode().rjust(2), data)


if __name__ == "__main__":
    _line.connect(os.environ[PATH_VARIABLE])
    worker.KeyPages = TappedPages  # type: ignore[misc]
    roots.FileRootStore = TappedStore  # type: ignore[misc]
    worker.main()
