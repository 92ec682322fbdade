"""What an actor tells its scheduler of a job: that its slot is free again, once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from ray_cluster.actors import EngineActor
from ray_cluster.leases import Inventory, Progress, Task
from stream.events.bus import Outcome

SCHEDULER = "one"


async def told(actor: EngineActor, seen: int) -> Inventory:
    return msgspec.msgpack.decode(await actor.watch(SCHEDULER, seen, 1, 0.0), type=Inventory)


@pytest.mark.parametrize("computes", [True, False])
async def test_a_job_is_told_once(monkeypatch: pytest.MonkeyPatch, computes: bool) -> None:
    async def attempt(*_: Any, computed: Callable[[], None], **__: Any) -> Outcome:
        if computes:
            computed()
        return Outcome("succeeded" if computes else "failed", wiped=True)

    monkeypatch.setattr("ray_cluster.actors.attempt", attempt)
    actor = EngineActor("noop", ("noop",))
    assert await actor.ready() == ""
    first = await told(actor, -1)
    ((offer, _),) = first.fresh
    assert await actor.start(msgspec.msgpack.encode(Task("job", 1, "app", "noop", offer, (), (), b""))) == ""
    progress = msgspec.msgpack.decode(await actor.progress("job", 1, -1, 5.0), type=Progress)
    assert progress.outcome is not None
    after = await told(actor, first.version)
    assert (after.version - first.version, after.held, after.jobs) == (1, (), 1)
    await actor._open.aclose()
