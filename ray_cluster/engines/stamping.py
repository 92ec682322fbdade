"""How a mark gets onto pictures before they are encoded, whichever engine draws them.

Whoever runs an engine says what is stamped while it runs; the encoders of this package stamp what they are given, and
count, so that whoever asked can see that no picture left without.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray


class Stamp(Protocol):
    """A mark for one result."""

    def still(self, pixels: NDArray[Any]) -> None:
        """Mark H x W x 3 (RGB) or H x W x 4 (RGBA), uint8, in place."""

    def planes(self, planes: NDArray[np.uint8]) -> None:
        """Mark one frame of a clip, I420 in video range (H * 3/2 x W), in place."""


_current: ContextVar[Stamp | None] = ContextVar("stamp", default=None)


def current() -> Stamp | None:
    """What is to be stamped, on the thread that runs an engine."""
    return _current.get()


@contextmanager
def stamping(stamp: Stamp) -> Iterator[None]:
    """`stamp`, for what is encoded inside."""
    token = _current.set(stamp)
    try:
        yield
    finally:
        _current.reset(token)
