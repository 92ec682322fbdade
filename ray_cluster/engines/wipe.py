"""Overwriting what held somebody's picture, because freed memory keeps it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np


def wipe(*buffers: np.ndarray[Any, Any] | bytearray | None) -> None:
    """Zero every buffer in place. Arrays must be writable and own their pixels; None is skipped.

    Only what we allocate is covered: what a codec or a runtime frees by itself is covered by
    `glibc.malloc.perturb` (the actor's environment), never by this function.
    """
    for buffer in buffers:
        if buffer is None:
            continue
        if isinstance(buffer, bytearray):
            buffer[:] = bytes(len(buffer))
        else:
            buffer.fill(0)
