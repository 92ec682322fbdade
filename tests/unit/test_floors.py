"""Which floor holds at which hour, and what the settings may say."""

from __future__ import annotations

from datetime import datetime

import msgspec
import pytest

from ray_cluster.floors import Floor, floor_at
from services.pool_settings import cluster_config
from services.settings import BadSettings, PoolSettings, Settings

WEEK = Floor(2, "08:00", "20:00", ("mon", "tue", "wed", "thu", "fri"))
NIGHT = Floor(1, "22:30", "06:00", ("sat",))


@pytest.mark.parametrize(
    ("when", "actors"),
    [
        ("2026-11-27T07:59", 0),  # a Friday
        ("2026-11-27T08:00", 2),
        ("2026-11-27T19:59", 2),
        ("2026-11-27T20:00", 0),
        ("2026-11-28T12:00", 0),
        ("2026-11-28T22:29", 0),
        ("2026-11-28T22:30", 1),
        ("2026-11-29T05:59", 1),  # Saturday's night is not over
        ("2026-11-29T06:00", 0),
        ("2026-11-29T23:00", 0),
    ],
)
def test_a_floor_holds_in_its_hours_and_over_midnight(when: str, actors: int) -> None:
    assert floor_at((WEEK, NIGHT), datetime.fromisoformat(when)) == actors


def test_without_hours_a_floor_holds_always_and_the_highest_counts() -> None:
    assert floor_at((Floor(1), WEEK), datetime.fromisoformat("2026-11-27T12:00")) == 2
    assert floor_at((Floor(1), WEEK), datetime.fromisoformat("2026-11-27T21:00")) == 1
    assert floor_at((), datetime.fromisoformat("2026-11-27T12:00")) == 0


@pytest.mark.parametrize("bad", ['{"actors":-1}', '{"actors":1,"from":"8:00"}', '{"actors":1,"days":["monday"]}'])
def test_a_floor_that_cannot_be_meant_is_refused(bad: str) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.json.decode(bad, type=Floor)


def settings(**said: object) -> Settings:
    needed = dict.fromkeys(
        ("kafka", "s3_url", "s3_access_key", "s3_secret_key", "bucket", "secret", "internal_token", "state_dir"), ""
    )
    return msgspec.convert(needed | said, Settings)


def test_settings_of_a_pool_reach_the_scheduler() -> None:
    table = [{"actors": 2, "from": "08:00", "to": "20:00", "days": ["mon"]}]
    said = {"ncnn": {"min_actors": 1, "max_actors": 7, "price_per_hour": 2.5, "floors": table}}
    config = cluster_config(settings(pools=said, cost_ceiling_per_hour=10.0, max_actors=3))
    pools = {pool.name: pool for pool in config.pools}
    pool = pools["ncnn"]
    assert (pool.min_actors, pool.max_actors, pool.price_per_hour) == (1, 7, 2.5)
    assert pool.floors == (Floor(2, "08:00", "20:00", ("mon",)),)
    assert (pools["litert"].min_actors, pools["litert"].max_actors) == (0, 3)
    assert (config.ceiling_per_hour, config.time_zone, config.cooldown_s) == (10.0, "Asia/Shanghai", 30.0)


def test_a_pool_that_there_is_not_is_refused() -> None:
    with pytest.raises(BadSettings, match="ncnn"):
        cluster_config(settings(pools={"gpu": PoolSettings()}))
