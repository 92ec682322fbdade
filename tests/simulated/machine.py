"""One owner's process, seen from outside: each request that it sends and each call of its root store is a step.

A machine can be stopped at any step. Frozen, all of it stands (as SIGSTOP, a long pause of a virtual machine or a cut
network have it) and may go on later, as a former owner that wakes late. Dead, nothing of it ever reaches anybody.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from typing import Literal

from aiokafka.errors import IncompatibleBrokerVersion, KafkaConnectionError

How = Literal["freeze", "fail"]


class Dead(IncompatibleBrokerVersion):
    """Of the errors that a request may end in, one that aiokafka does not try again: what is dead falls silent."""


class Machine:
    """Steps of one owner, counted by name. `rng`: each step takes a moment, else none."""

    def __init__(self, name: str = "", rng: random.Random | None = None) -> None:
        self.name = name
        self.steps: Counter[str] = Counter()
        self.stopped = asyncio.Event()
        self.stopped_at = ""
        self.frozen = self.dead = False
        self.clock_stands = True  # while frozen: a suspended process does not see time pass
        self._rng = rng
        self._armed: tuple[How, str, int] | None = None
        self._moves = asyncio.Event()
        self._frozen_at_s = 0.0

    def arm(self, how: How, *, at: str = "", after: int = 0) -> None:
        """Stop once: at the step of that name (any, if none is given) when `after` of them have passed."""
        self._armed = how, at, after
        self.stopped.clear()

    def disarm(self) -> None:
        """Stop nowhere."""
        self._armed = None

    def stops_next(self, name: str) -> bool:
        """Whether the next step is the one, if it has this name."""
        return self._armed is not None and self._armed[1] in {"", name} and self._armed[2] == 0

    async def step(self, name: str, error: type[Exception] = KafkaConnectionError) -> None:
        """What is about to happen, or did. Raises `error` where it is to fail."""
        await asyncio.sleep(0 if self._rng is None else self._rng.expovariate(2000))
        self.steps[name] += 1
        if not self.frozen and not self.dead and self._armed is not None and self._armed[1] in {"", name}:
            how, at, after = self._armed
            self._armed = (how, at, after - 1) if after else None
            if not after:
                self.stopped_at = name
                self.stopped.set()
                if how == "fail":
                    raise error(f"cut at {name}")
                self.freeze()
        while self.frozen:
            await self._moves.wait()
        if self.dead:
            raise Dead(f"dead at {name}") if error is KafkaConnectionError else error(f"dead at {name}")

    def freeze(self) -> None:
        """Everything of it stands still from its next step on."""
        self.frozen, self._frozen_at_s = True, asyncio.get_running_loop().time()
        self._moves.clear()

    def thaw(self) -> None:
        """It goes on where it stood, and stops no more."""
        self.frozen, self._armed = False, None
        self._moves.set()

    def kill(self) -> None:
        """It is no more."""
        self.dead = True
        self.thaw()

    def boottime(self) -> float:
        """CLOCK_BOOTTIME as this machine's process reads it."""
        return self._frozen_at_s if self.frozen and self.clock_stands else asyncio.get_running_loop().time()
