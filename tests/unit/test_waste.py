"""Which seconds came to nothing, and that they are counted."""

from __future__ import annotations

import pytest
from prometheus_client import REGISTRY

from stream.agents import waste
from stream.events.bus import Outcome

DONE = Outcome("succeeded", seconds=3.0)


@pytest.mark.parametrize(
    ("outcome", "accepted", "why"),
    [
        (DONE, True, ""),
        (DONE, False, "superseded"),
        (None, False, "superseded"),
        (Outcome("cancelled", seconds=1.0), False, "cancelled"),
        (Outcome("failed", kind="transient", seconds=1.0), True, "failed"),
        (Outcome("failed", kind="transient", reason="actor-gone"), True, "lost"),
    ],
)
def test_only_what_a_job_ends_with_is_not_wasted(outcome: Outcome | None, accepted: bool, why: str) -> None:
    assert waste.why(outcome, accepted=accepted) == why


def test_seconds_are_the_actors_own_or_else_those_that_its_owner_followed_it() -> None:
    def wasted(why: str) -> float:
        return REGISTRY.get_sample_value("mayfly_wasted_seconds_total", {"operation": "waste", "why": why}) or 0.0

    waste.count("waste", DONE, accepted=True, followed_s=9.0)
    assert wasted("") == 0.0
    waste.count("waste", DONE, accepted=False, followed_s=9.0)
    waste.count("waste", None, accepted=False, followed_s=9.0)
    assert wasted("superseded") == 12.0
    waste.count("waste", Outcome("failed", reason="node-lost"), accepted=True, followed_s=9.0)
    assert wasted("lost") == 9.0
