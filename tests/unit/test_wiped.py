"""An actor that says it has wiped is believed, one that is gone holds nothing, and any other is killed."""

from __future__ import annotations

from typing import Any

import pytest

from ray_cluster.client import ActorLost, ActorSilent
from stream.agents.wiped import wiped
from stream.events.bus import Outcome
from stream.events.lease import Progress


class Actor:
    """What Ray would answer: an outcome, None for one that never heard of the fence, or what it raises."""

    def __init__(self, said: Outcome | Exception | None, *, mortal: bool = True) -> None:
        self.said, self.mortal, self.told = said, mortal, list[str]()

    def __getattr__(self, name: str) -> Any:
        async def tell(*_: Any) -> None:
            self.told.append(name)

        return tell

    async def progress(self, _actor: str, job: str, fence: int, **_: Any) -> Progress:
        if isinstance(self.said, Exception):
            raise self.said
        return Progress(job, fence, 1, outcome=self.said, known=self.said is not None)

    async def kill(self, _actor: str) -> None:
        self.told.append("kill")
        if not self.mortal:
            raise ActorSilent("away")


@pytest.mark.parametrize(
    ("said", "told"),
    [
        (Outcome("cancelled", wiped=True), ["cancel", "ack"]),
        (None, ["cancel", "ack"]),
        (ActorLost("gone"), ["cancel"]),
        (Outcome("cancelled", wiped=False), ["cancel", "ack", "kill"]),
        (ActorSilent("silent"), ["cancel", "kill"]),
    ],
)
async def test_nobody_holds_anything_afterwards(said: Outcome | Exception | None, told: list[str]) -> None:
    actor = Actor(said)
    assert await wiped(actor, "engine", "job", 1)  # type: ignore[arg-type]
    assert actor.told == told


async def test_what_can_not_be_killed_is_said() -> None:
    assert not await wiped(Actor(ActorSilent("silent"), mortal=False), "engine", "job", 1)  # type: ignore[arg-type]
