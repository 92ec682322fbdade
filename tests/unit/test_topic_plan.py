"""Topics are kept as long as policies allow, and never longer."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.topic_plan import CLEANING_S, retained_s
from stream import topics
from stream.policies import compiler
from stream.policies.deadlines import event_lifetime_s

POLICIES = compiler.load_all("")
DAY_S = 86_400.0


def test_events_that_were_parked_go_with_the_shortest_record_of_a_job():
    assert event_lifetime_s(POLICIES["genzo"]) == DAY_S
    assert retained_s(7 * DAY_S, POLICIES.values()) == pytest.approx((DAY_S - CLEANING_S) * 0.8)
    assert retained_s(3600.0, POLICIES.values()) == 3600.0
    assert retained_s(7 * DAY_S, [POLICIES["batchpix"]]) == 7 * DAY_S  # nothing of its jobs is ever an event


@given(st.floats(min_value=60, max_value=30 * DAY_S), st.sets(st.sampled_from(sorted(POLICIES)), min_size=1))
def test_no_topic_keeps_an_event_longer_than_a_record_of_its_job(setting_s, names):
    chosen = [POLICIES[name] for name in names]
    retained = retained_s(setting_s, chosen)
    assert retained <= setting_s
    lives = [life for policy in chosen if (life := event_lifetime_s(policy)) is not None]
    config = next(topic.config for topic in topics.plan(retained, retained) if topic.name == topics.PARKED)
    longest_s = (int(config["retention.ms"]) + int(config["segment.ms"])) / 1000 + CLEANING_S
    assert all(longest_s <= life + 1 for life in lives)
