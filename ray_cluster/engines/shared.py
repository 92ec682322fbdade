"""Memory that two processes see and no disk does (memfd), which only grows and is zeroed after use."""

from __future__ import annotations

import fcntl
import mmap
import os
from typing import Final

import numpy as np
from numpy.typing import NDArray

KEPT_BYTES: Final = 64 << 20
"""What a larger use took is given back to the system."""


class Shared:
    """One such memory, mapped here. `number` is its descriptor, for a child to inherit."""

    def __init__(self, number: int | None = None) -> None:
        """A fresh one, or the one behind an inherited descriptor."""
        if number is None:
            number = os.memfd_create("mayfly", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
            fcntl.fcntl(number, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK)  # reading what was cut off would be a SIGBUS
        self.number = number
        self._map: mmap.mmap | None = None

    def view(self, size: int) -> NDArray[np.uint8]:
        """Its first `size` bytes, at least one; they are added where it is shorter. Drop it before asking for more."""
        size = max(1, size)
        if self._map is None or len(self._map) < size:
            there = os.fstat(self.number).st_size
            if there < size:
                os.ftruncate(self.number, size)
            self._map = mmap.mmap(self.number, max(there, size))
        return np.frombuffer(self._map, np.uint8)[:size]

    def bytes(self, size: int) -> memoryview:
        """The same, exactly `size` bytes of it, to read only."""
        return memoryview(self.view(size).data)[:size].toreadonly()

    def holds(self, size: int) -> bool:
        """Whether it is that large."""
        return 0 < size <= os.fstat(self.number).st_size

    def blank(self, size: int) -> None:
        """Zero the first `size` bytes."""
        if size:
            self.view(size).fill(0)
            assert self._map is not None
            if size > KEPT_BYTES:
                self._map.madvise(mmap.MADV_REMOVE)

    def close(self) -> None:
        """Zero it all, and let go; it is gone with its last descriptor."""
        self.blank(os.fstat(self.number).st_size)
        self._map = None
        os.close(self.number)
