"""A counter that coroutines wait on: every long-poll of the scheduler and of the actors is one of these."""

from __future__ import annotations

import asyncio


class Bell:
    """`ring()` raises `count` and wakes whoever waits for more than they have seen. One event loop."""

    def __init__(self) -> None:
        self.count = 0
        self._rung = asyncio.Event()

    def ring(self) -> None:
        """Something changed."""
        self.count += 1
        self._rung.set()
        self._rung = asyncio.Event()

    async def after(self, seen: int, wait_s: float | None) -> int:
        """The count, as soon as it differs from `seen` or `wait_s` seconds (None: any) are over."""
        if self.count == seen:
            try:
                async with asyncio.timeout(wait_s):
                    await self._rung.wait()
            except TimeoutError:
                pass
        return self.count
