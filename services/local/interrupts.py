"""Ending well on a signal."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Coroutine
from typing import Any, Final, TypeVar

T = TypeVar("T")

ENDING: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
SHELL_BASE: Final = 128
"""A shell reports a program that a signal ended by this plus the signal's number."""


def run(main: Coroutine[Any, Any, T]) -> T:
    """`asyncio.run`, ended by ^C, SIGTERM or SIGHUP through cancelling `main`, so that every `async with` closes.

    Raises SystemExit(128 + number) then. A second signal changes nothing: closing is on its way, and is bounded.
    """
    got: list[signal.Signals] = []

    async def cancellable() -> T:
        task = asyncio.current_task()
        assert task is not None

        def end(number: signal.Signals) -> None:
            if not got:
                task.cancel()
            got.append(number)

        for number in ENDING:
            asyncio.get_running_loop().add_signal_handler(number, end, number)
        return await main

    try:
        return asyncio.run(cancellable())
    except asyncio.CancelledError:
        if got:
            raise SystemExit(SHELL_BASE + got[0]) from None
        raise
