"""What follows an attempt that made nothing."""

from __future__ import annotations

import msgspec

from stream.agents.attempts import CRASHES, Again, Over, after
from stream.events.bus import Outcome
from stream.events.lease import ACTOR_GONE
from stream.events.rows import JobBody

PAUSES_S = (1.0, 10.0, 60.0)
BODY = JobBody(tenant="t", subject="s", operation="noop", params=b"{}", choice="save", inputs=())


def follow(*outcomes: Outcome, profiles: tuple[str, ...] = (), pauses_s: tuple[float, ...] = PAUSES_S) -> list[object]:
    """What follows each, one after the other; the last may end it."""
    body, found = BODY, []
    for outcome in outcomes:
        found.append(following := after(body, outcome, pauses_s=pauses_s, profiles=profiles))
        if isinstance(following, Again):
            body = msgspec.structs.replace(
                body, attempts=following.attempts, crashes=following.crashes, profile=following.profile
            )
    return found


def failed(kind: str, reason: str = "why") -> Outcome:
    return Outcome("failed", kind=kind, reason=reason)


def test_every_smaller_profile_gets_its_turn_and_then_it_is_over() -> None:
    found = follow(*[failed("resource")] * 4, profiles=("medium", "small", "tiny"))
    assert found == [Again(1.0, 1, 0, "medium"), Again(10.0, 2, 0, "small"), Again(60.0, 3, 0, "tiny"), Over("why", 4)]


def test_other_failures_keep_the_profile() -> None:
    found = follow(failed("resource"), failed("transient"), failed("permanent"), profiles=("small",))
    assert found == [Again(1.0, 1, 0, "small"), Again(10.0, 2, 0, "small"), Over("why", 3)]


def test_a_second_crash_ends_it_whatever_came_between() -> None:
    crash = failed("transient", ACTOR_GONE)
    found = follow(crash, failed("transient"), crash)
    assert found == [Again(1.0, 1, 1, ""), Again(10.0, 2, 1, ""), Over(CRASHES, 3)]


def test_without_pauses_only_memory_is_tried_again() -> None:
    assert follow(failed("transient"), pauses_s=()) == [Over("why", 1)]
    found = follow(failed("resource"), failed("resource"), profiles=("small",), pauses_s=())
    assert found == [Again(0.0, 1, 0, "small"), Over("why", 2)]
