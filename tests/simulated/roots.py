"""A root store whose calls are steps of a machine, and whose folder can be caught half way through a destruction."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

from stream.vault.rootstore import RootStore, RootStoreUnavailable
from tests.simulated.machine import Machine

HALF = "destruction half way"


class SteppedRoots:
    """The real store of `folder`, as one machine reaches it.

    Half way, each file that was to go is there still, overwritten but not yet unlinked, or gone, in any mixture: the
    order in which a disk keeps unsynced changes is its own.
    """

    def __init__(self, store: RootStore, folder: Path, machine: Machine, rng: random.Random) -> None:
        self._store, self._folder, self._machine, self._rng = store, folder, machine, rng

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    async def used(self) -> bool:
        await self._step("use asked")
        return await self._store.used()

    async def wrap(self, key: bytes) -> bytes:
        await self._step("wrap asked")
        wrapped = await self._store.wrap(key)
        await self._step("wrapped")
        return wrapped

    async def unwrap(self, wrapped: bytes) -> bytes:
        await self._step("unwrap asked")
        key = await self._store.unwrap(wrapped)
        await self._step("unwrapped")
        return key

    async def destroy_before(self, wrapped: bytes) -> None:
        await self._step("destruction asked")
        before = self._files()
        await self._store.destroy_before(wrapped)
        if self._machine.stops_next(HALF):
            self._undo_some(before)
        await self._step(HALF)
        await self._store.destroy_before(wrapped)  # the rest, if it woke up in the middle; nothing otherwise
        await self._step("destroyed")

    def _files(self) -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in self._folder.iterdir()} if self._folder.exists() else {}

    def _undo_some(self, before: dict[str, bytes]) -> None:
        after = self._files()
        for name, data in before.items():
            if name not in after and (kept := self._rng.choice((data, bytes(len(data)), None))) is not None:
                (self._folder / name).write_bytes(kept)
        for name in after.keys() - before.keys():
            if self._rng.random() < 1 / 2:
                (self._folder / name).unlink()

    async def _step(self, name: str) -> None:
        await self._machine.step(name, RootStoreUnavailable)
