"""What is asked of Ray's autoscaler."""

from __future__ import annotations

import pytest

from ray_cluster import nodes
from ray_cluster.pools import Pool

CPU = Pool("c", ("noop",), cpus=0.5)
GPU = Pool("g", ("noop",), cpus=1, gpus=0.25)
FREE = Pool("f", ("noop",), cpus=0)


def test_a_bundle_for_each_actor_that_books_something() -> None:
    assert nodes.wanted({"c": 2, "g": 1, "f": 3}, (CPU, GPU, FREE)) == [
        {"CPU": 0.5},
        {"CPU": 0.5},
        {"CPU": 1, "GPU": 0.25},
    ]
    assert nodes.wanted({}, (CPU,)) == []


@pytest.mark.parametrize(
    ("machines", "fits"),
    [
        ([], False),
        ([{"CPU": 1.0, "GPU": 0.25}], True),
        ([{"CPU": 0.9, "GPU": 1.0}], False),
        ([{"CPU": 4.0}, {"GPU": 4.0}], False),  # no machine has both
        ([{"CPU": 4.0}, {"GPU": 1.0, "CPU": 1.0}], True),
    ],
)
def test_an_actor_needs_one_machine(machines: list[dict[str, float]], fits: bool) -> None:
    assert nodes.fits(nodes.bundle(GPU), machines) is fits


async def test_a_request_is_made_once_and_again_after_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[list[nodes.Bundle]] = []
    away = True

    def request(*, bundles: list[nodes.Bundle]) -> None:
        asked.append(bundles)
        if away:
            raise TimeoutError

    monkeypatch.setattr(nodes.sdk, "request_resources", request)
    machines = nodes.Machines()
    await machines.ask([])  # what a former scheduler asked for is not known: it is withdrawn
    away = False
    await machines.ask([])
    await machines.ask([])
    await machines.ask([{"CPU": 1.0}])
    await machines.ask([{"CPU": 1.0}])
    await machines.ask([])
    assert asked == [[], [], [{"CPU": 1.0}], []]
