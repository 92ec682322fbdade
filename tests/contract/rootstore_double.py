"""A root store in memory with a switch: it passes the contract suite, and can be made to fail, hang or lie."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from typing import TypeVar

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from stream.vault.rootstore import RootGone, RootStoreUnavailable, Why, version_of

T = TypeVar("T")

NONCE_BYTES = 12


class Switch:
    """What all stores of a test share: their versions by partition, and whether they answer."""

    def __init__(self) -> None:
        self.versions: dict[int, dict[int, bytes]] = {}
        self.used: set[int] = set()
        self.made: dict[int, int] = {}
        self.why: Why | None = None
        self.calls: list[str] = []
        self._only = ""
        self._going = asyncio.Event()
        self._going.set()

    def fail(self, why: Why = Why.UNREACHABLE, *, only: str = "") -> None:
        """Every call raises, or only those of one name."""
        self.why, self._only = why, only

    def hang(self) -> None:
        """No call returns."""
        self._going.clear()

    def answer(self) -> None:
        """As if nothing had been: also to the calls that hang."""
        self.why = None
        self._going.set()

    def empty(self) -> None:
        """Somebody put a fresh store in its place."""
        self.versions.clear()
        self.used.clear()
        self.made.clear()

    async def passed(self, call: str) -> None:
        self.calls.append(call)
        await self._going.wait()
        if self.why is not None and self._only in {"", call}:
            raise RootStoreUnavailable(f"expected an answer to {call}, the switch is off", self.why)


class SwitchedRootStore:
    """One partition's. Wrapped keys read `double:v12:` and bytes."""

    claim = "double: versions live in the memory of a test, and are gone when they are destroyed"

    def __init__(self, switch: Switch, partition: int = 0) -> None:
        self._switch, self._partition = switch, partition

    async def used(self) -> bool:
        return await self._when_on("used", lambda: self._partition in self._switch.used)

    async def versions(self) -> list[int]:
        return await self._when_on("versions", lambda: sorted(self._versions))

    async def wrap(self, key: bytes) -> bytes:
        return await self._when_on("wrap", lambda: self._wrap(key))

    async def unwrap(self, wrapped: bytes) -> bytes:
        return await self._when_on("unwrap", lambda: self._unwrap(wrapped))

    async def destroy_before(self, wrapped: bytes) -> None:
        await self._when_on("destroy_before", lambda: self._destroy_before(wrapped))

    @property
    def _versions(self) -> dict[int, bytes]:
        return self._switch.versions.setdefault(self._partition, {})

    async def _when_on(self, call: str, work: Callable[[], T]) -> T:
        await self._switch.passed(call)
        await asyncio.sleep(0)
        return work()

    def _wrap(self, key: bytes) -> bytes:
        version = self._switch.made[self._partition] = self._switch.made.get(self._partition, 0) + 1
        secret, nonce = os.urandom(32), os.urandom(NONCE_BYTES)
        self._versions[version] = secret
        name = b"double:v%d:" % version
        return name + (nonce + AESGCM(secret).encrypt(nonce, key, name)).hex().encode()

    def _unwrap(self, wrapped: bytes) -> bytes:
        name, _, text = wrapped.rpartition(b":")
        try:
            sealed, secret = bytes.fromhex(text.decode()), self._versions[self._number(wrapped)]
            return AESGCM(secret).decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], name + b":")
        except (KeyError, ValueError, InvalidTag):
            raise RootGone(f"expected {version_of(wrapped)} to live in this double") from None

    def _destroy_before(self, wrapped: bytes) -> None:
        limit = self._number(wrapped)
        self._switch.used.add(self._partition)
        for version in [version for version in self._versions if version < limit]:
            del self._versions[version]

    def _number(self, wrapped: bytes) -> int:
        kind, _, version = version_of(wrapped).partition(":v")
        if kind != "double" or not version.isdecimal():
            raise RootGone("expected a root wrapped by a double")
        return int(version)
