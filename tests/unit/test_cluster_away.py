"""While Ray is not joined, every question to it fails at once and by its name: what is promised does not wait."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from ray_cluster import client
from ray_cluster.client import ActorSilent, Cluster, SchedulerLost
from ray_cluster.pools import ClusterConfig


@pytest.fixture
def away() -> Cluster:
    return Cluster(ClusterConfig(pools=()))


@pytest.mark.parametrize(
    ("ask", "raised"),
    [
        (lambda c: c.epoch(), SchedulerLost),
        (lambda c: c.submit([]), SchedulerLost),
        (lambda c: c.proposals("w", 0.0), SchedulerLost),
        (lambda c: c.progress("a", "j", 1), ActorSilent),
        (lambda c: c.cancel("a", "j", 1), ActorSilent),
        (lambda c: c.kill("a"), ActorSilent),
    ],
)
async def test_nobody_waits_for_it(
    away: Cluster, ask: Callable[[Cluster], Awaitable[Any]], raised: type[Exception]
) -> None:
    with pytest.raises(raised):
        await ask(away)


async def test_it_is_joined_again_when_it_has_gone(away: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    heard: list[str] = []

    class Enough(Exception):  # noqa: N818 - ends the loop
        pass

    def init(address: str, _namespace: str) -> None:
        heard.append(address)
        if heard == [address]:
            raise ConnectionError  # its head is not up yet
        if "left" in heard:
            raise Enough

    monkeypatch.setattr(client, "_init", init)
    monkeypatch.setattr(client.ray, "shutdown", lambda: heard.append("left"))
    for pause in ("JOIN_AGAIN_S", "LOOK_S", "GONE_S"):
        monkeypatch.setattr(client, pause, 0.0)
    with pytest.raises(Enough):
        await asyncio.wait_for(away.keep("head:1", gone=lambda: heard.append("gone")), 10)
    assert heard == ["head:1", "head:1", "gone", "left", "head:1"]
