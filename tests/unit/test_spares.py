"""Which processes are kept ready: as many as asked for, of pools on the CPU, and none that died."""

from __future__ import annotations

from typing import Any

import pytest
from ray.exceptions import RayActorError

from ray_cluster import spares
from ray_cluster.pools import Pool
from ray_cluster.spares import Spares

CPU, OTHER, GPU = Pool("c", ("noop",)), Pool("o", ("noop",)), Pool("g", ("noop",), gpus=1)


class Handle:
    """An actor that answers, or is dead."""

    def __init__(self) -> None:
        self.dead = False
        self.facts = self

    async def remote(self) -> dict[str, float]:
        if self.dead:
            raise RayActorError
        return {}


class Made:
    """What was begun, and what was killed."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.handles: dict[str, Handle] = {}
        self.killed: list[Any] = []
        self.stillborn = False
        monkeypatch.setattr(spares, "create", self.create)
        monkeypatch.setattr(spares.ray, "kill", self.killed.append)

    def create(self, pool: Pool, name: str, _namespace: str) -> Handle:
        assert name.startswith(f"engine-{pool.name}-")
        self.handles[name] = Handle()
        self.handles[name].dead = self.stillborn
        return self.handles[name]

    def name(self, pool: str) -> str:
        return f"engine-{pool}-{len(self.handles) + 1}"


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> Made:
    return Made(monkeypatch)


async def test_one_process_at_a_time_until_each_pool_has_its_own(made: Made) -> None:
    stock = Spares(1, "ns", made.name)
    assert stock.take("c") is None
    for count in (1, 2, 2):
        await stock.stock((GPU, CPU, OTHER))
        assert len(made.handles) == count
    assert (stock.count("c"), stock.count("g")) == (1, 0)
    taken = stock.take("c")
    assert taken is not None
    assert taken.name == "engine-c-1"
    assert stock.take("c") is None
    assert stock.take("g") is None
    await stock.stock((GPU, CPU, OTHER))
    assert stock.take("c") is not None


async def test_one_that_died_is_dropped_and_replaced(made: Made) -> None:
    stock = Spares(1, "ns", made.name)
    await stock.stock((CPU,))
    made.handles["engine-c-1"].dead = True
    await stock.stock((CPU,))
    taken = stock.take("c")
    assert taken is not None
    assert taken.name == "engine-c-2"


async def test_one_that_never_ran_is_no_spare(made: Made) -> None:
    stock = Spares(1, "ns", made.name)
    made.stillborn = True
    await stock.stock((CPU,))
    assert made.killed == [made.handles["engine-c-1"]]
    assert stock.take("c") is None
