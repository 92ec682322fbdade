"""A gateway bounds how many jobs one tenant asks for at a time, and tells what owners said of when to come again."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any, cast

import pytest

from services.gateway.errors import OwnerRefused, TooManyRequests
from services.gateway.flights import Flights
from services.gateway.problems import RETRY_AFTER_S, _headers, problem_of
from services.gateway.tenants import Limits, Tenant, add, limited
from stream.agents.admission import QueueFull
from stream.agents.api import Problem

REQUEST = cast("Any", None)


def tenant(**limits: Any) -> Tenant:
    return add(("testapp",), Limits(**limits))[0]


def test_one_tenant_asks_for_so_many_jobs_at_a_time_and_others_are_not_held_up():
    flights, one, other = Flights(), tenant(submits=2), tenant(submits=2)
    with ExitStack() as asking:
        for _ in range(2):
            asking.enter_context(flights.submit(one))
        with pytest.raises(TooManyRequests), flights.submit(one):
            pass
        with flights.submit(other):
            pass
    with flights.submit(one):
        pass
    assert not flights._submits


@pytest.mark.parametrize(
    ("problem", "header"),
    [
        (Problem("queue-full", 429, "", 7.2), "8"),
        (Problem("queue-full", 429, "", 3600.0), "3600"),
        (Problem("owner-away", 503, ""), str(RETRY_AFTER_S)),
    ],
)
def test_retry_after_is_what_was_predicted(problem: Problem, header: str) -> None:
    assert _headers(REQUEST, problem, OwnerRefused(problem))["retry-after"] == header


def test_other_statuses_say_no_time():
    assert "retry-after" not in _headers(REQUEST, Problem("gone", 410, "", 7.0), ValueError())


def test_an_owner_of_an_earlier_version_says_no_time():
    assert problem_of(OwnerRefused(Problem("queue-full", 429, ""))).retry_after_s == 0.0
    assert QueueFull("expected room", 1e9).retry_after_s == 3600.0


def test_a_tenant_from_before_has_the_limits_of_now():
    assert Limits() == Limits(transfers=256, submits=64, jobs=20_000, work_s=500_000.0)
    assert len(tenant(transfers=256).encode()) == len(tenant().encode())


def test_only_the_limits_that_are_named_change():
    changed = limited(tenant(jobs=5, submits=7), jobs=0, work_s=None, transfers=3)
    assert changed.limits == Limits(transfers=3, submits=7, jobs=0)
    assert limited(changed).limits == changed.limits
