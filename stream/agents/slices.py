"""Long work on the event loop, cut so that nothing else waits long.

A commit takes some ten turns of the loop, so whoever works 50 ms a turn makes each last half a second. A self-lease
ends after 4 s without one: on a busy machine, takeovers of a million rows failed by that.
"""

from __future__ import annotations

import time

SLICE_S = 0.005
STEPS_A_LOOK = 64  # between two looks at the time


class Slices:
    """Ask `over()` at each step, and await something when it says so."""

    def __init__(self) -> None:
        self._steps = 0
        self._began = time.monotonic()

    def over(self) -> bool:
        """Whether it is others' turn; a new slice begins with that."""
        self._steps += 1
        if self._steps % STEPS_A_LOOK or time.monotonic() - self._began < SLICE_S:
            return False
        self._began = time.monotonic()
        return True
