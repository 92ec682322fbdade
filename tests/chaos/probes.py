"""At the ceiling of each asset, somebody asks for it: it must be gone, whoever answers."""

from __future__ import annotations

import asyncio
import heapq
import time
from typing import Self

import httpx

from tests.chaos.load import Load
from tests.chaos.outside import Outside

LOOK_S = 0.05


class Probes:
    """Asks for every asset that `outside` hears of. `readable`: those that were answered at their ceiling."""

    def __init__(self, load: Load, outside: Outside) -> None:
        self.readable: list[str] = []
        self.asked = 0
        self._load, self._outside = load, outside
        self._known: set[str] = set()
        self._waiting: list[tuple[float, str]] = []

    async def __aenter__(self) -> Self:
        self._asking = asyncio.create_task(self._run(), name="probes")
        return self

    async def __aexit__(self, *_exc: object) -> None:
        self._asking.cancel()
        await asyncio.gather(self._asking, return_exceptions=True)

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(LOOK_S)
            for asset in list(self._outside.assets.keys() - self._known):
                head = self._outside.assets[asset][0]
                if head is not None and head.object and head.app == self._load.app:
                    heapq.heappush(self._waiting, (head.ceiling, asset))
                self._known.add(asset)
            while self._waiting and self._waiting[0][0] <= time.time():
                await self._ask(heapq.heappop(self._waiting)[1])

    async def _ask(self, asset: str) -> None:
        """One question: nobody there is an answer too, for then nobody can read it."""
        try:
            answer = await self._load.client.head(f"/v1/{self._load.app}/assets/{asset}", timeout=2.0)
        except httpx.HTTPError:
            return
        self.asked += 1
        if answer.is_success:
            self.readable.append(asset)
