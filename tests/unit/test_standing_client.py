"""A scheduler outlives the workers that made it: one that does not know a question is one that does not answer."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from ray_cluster.client import Cluster, SchedulerLost
from ray_cluster.pools import ClusterConfig
from stream.events.lease import Claim, Standing

CLAIM = Claim("p", "batch", "t", 1, 2.0)


class Remote:
    """A method of a Ray actor."""

    async def remote(self, worker: str, raw: bytes) -> bytes:
        assert worker == "w"
        return msgspec.msgpack.encode(Standing(tuple(msgspec.msgpack.decode(raw, type=list[Claim])), {"p": 3}))


def cluster(scheduler: Any) -> Cluster:
    made = Cluster(ClusterConfig(pools=()))
    made._scheduler, made._joined = scheduler, True
    return made


async def test_claims_go_there_and_come_back() -> None:
    scheduler = type("Scheduler", (), {"standing": Remote()})()
    assert await cluster(scheduler).standing("w", [CLAIM]) == Standing((CLAIM,), {"p": 3})


async def test_an_earlier_version_is_as_silent_as_one_that_is_away() -> None:
    with pytest.raises(SchedulerLost, match="earlier version"):
        await cluster(object()).standing("w", [CLAIM])
