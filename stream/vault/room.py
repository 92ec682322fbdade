"""So many bytes and not one more: who needs some books them first, and waits in line while there are none."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import ClassVar

from stream.errors import StoreUnavailable


class NoRoomLeft(StoreUnavailable):
    """All of it is taken, for longer than its asker would wait."""

    kind: ClassVar[str] = "render-full"


class Room:
    """A budget of bytes. First come, first served: a large wish is not overtaken for ever by small ones."""

    def __init__(self, limit_bytes: int) -> None:
        self.limit_bytes = limit_bytes
        self.taken_bytes = 0
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()

    async def take(self, size: int, *, wait_s: float = 0.0) -> None:
        """Book `size` bytes. Raises `NoRoomLeft` after `wait_s`, and at once where it could never be."""
        if size <= self.limit_bytes and not self._waiting and self.taken_bytes + size <= self.limit_bytes:
            self.taken_bytes += size
            return
        if size > self.limit_bytes or wait_s <= 0:
            raise NoRoomLeft("expected room in memory for this, all of it is taken: send it again soon")
        turn = asyncio.get_running_loop().create_future()
        self._waiting.append((size, turn))
        try:
            async with asyncio.timeout(wait_s):
                await turn
        except BaseException as error:
            if turn.done() and not turn.cancelled():  # booked in the moment in which its asker left
                self.give(size)
            else:
                turn.cancel()
                self._serve()
            if isinstance(error, TimeoutError):
                raise NoRoomLeft("expected room in memory for this within its time: send it again soon") from None
            raise

    def give(self, size: int) -> None:
        """Give so many bytes back."""
        self.taken_bytes -= size
        self._serve()

    def _serve(self) -> None:
        while self._waiting:
            size, turn = self._waiting[0]
            if not turn.cancelled():
                if self.taken_bytes + size > self.limit_bytes:
                    return
                self.taken_bytes += size
                turn.set_result(None)
            self._waiting.popleft()
