"""How Faust hands an event that it fetched to its stream: at once where there is room, by its own way where not.

Faust waits for each delivery in four tasks, so that the end of a rebalance can interrupt one that a full stream keeps
waiting. Nearly none has to wait, and the tasks were three quarters of a worker's time (docs/benchmarks.md).
"""

from __future__ import annotations

import types
from collections.abc import Coroutine, Generator
from typing import Any

from mode.services import Service, WaitResults


class StraightDelivery(Service):  # type: ignore[misc]  # mode has no types that mypy may follow
    """A mixin for Faust's consumer, which asks `wait_first(delivery, end of flow)` for every event."""

    async def wait_first(self, *waits: Any, **more: Any) -> Any:
        """Whichever of `waits` ends first. The first of them is begun here, and may end at once."""
        first, *others = waits
        if not isinstance(first, types.CoroutineType):
            return await super().wait_first(*waits, **more)
        try:
            paused = first.send(None)
        except StopIteration as ended:
            _unused(others)
            return WaitResults([first], [ended.value], stopped=False)
        except BaseException:
            _unused(others)
            raise
        return await super().wait_first(_rest(first, paused), *others, **more)


async def _rest(coroutine: Coroutine[Any, Any, Any], paused: Any) -> Any:
    """What is left of a coroutine whose first step was taken by hand, and gave `paused` to wait for."""
    return await _resumed(coroutine, paused)


@types.coroutine
def _resumed(coroutine: Coroutine[Any, Any, Any], paused: Any) -> Generator[Any, Any, Any]:
    try:
        while True:
            try:
                answer = yield paused
            except BaseException as error:  # noqa: BLE001 - a cancellation too belongs to the coroutine
                paused = coroutine.throw(error)
            else:
                paused = coroutine.send(answer)
    except StopIteration as ended:
        return ended.value


def _unused(waits: list[Any]) -> None:
    for wait in waits:
        if isinstance(wait, types.CoroutineType):
            wait.close()  # else the interpreter warns of a coroutine that nobody awaited
