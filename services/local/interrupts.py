"""Ending well on a signal."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


def run(main: Coroutine[Any, Any, T]) -> T:
    """`asyncio.run` in which SIGTERM and SIGHUP end like ^C: `main` is cancelled, so that every `async with` closes.

    Raises KeyboardInterrupt for ^C as `asyncio.run` does, and CancelledError for the others.
    """

    async def cancellable() -> T:
        task = asyncio.current_task()
        assert task is not None
        for number in (signal.SIGTERM, signal.SIGHUP):
            asyncio.get_running_loop().add_signal_handler(number, task.cancel)
        return await main

    return asyncio.run(cancellable())
