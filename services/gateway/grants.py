"""Read grants held by this process: keys that an owner may take back at any moment."""

from __future__ import annotations

import asyncio

from stream.vault.secret import Key


class Holding:
    """One key, for one response. Once it is `revoked`, not one byte more may leave; `wipe()` says that none can."""

    def __init__(self, key: Key) -> None:
        self.key = key
        self.revoked = asyncio.Event()
        self._wiped = asyncio.Event()

    def __repr__(self) -> str:
        return "<Holding>"

    def wipe(self) -> None:
        """Overwrite the key. Idempotent."""
        self.key.wipe()
        self._wiped.set()

    async def gone(self) -> None:
        """Return once the key is wiped."""
        await self._wiped.wait()


class Grants:
    """The live holdings, by grant."""

    def __init__(self) -> None:
        self._held: dict[str, Holding] = {}

    def __len__(self) -> int:
        return len(self._held)

    def hold(self, grant: str, key: Key) -> Holding:
        """Take note of a key just received."""
        holding = self._held[grant] = Holding(key)
        return holding

    def drop(self, grant: str) -> None:
        """Wipe it and forget it. Idempotent."""
        if holding := self._held.pop(grant, None):
            holding.wipe()

    async def revoke(self, grant: str) -> None:
        """Cut the response that holds it; return when its key is wiped. A grant not held here is wiped already."""
        if holding := self._held.get(grant):
            holding.key.wipe()  # at once; the response notices, stops and says so
            holding.revoked.set()
            await holding.gone()
