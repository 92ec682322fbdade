"""The published cells of `metrics.v1`: what an analyst reads. All labels are from closed sets."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, NamedTuple

import msgspec

from stream.events.codec import Undecodable
from stream.events.rows import JobState
from stream.metrics.anonymity import BUDGET, EPSILON, SCALE, THRESHOLD, K
from stream.policies import statistics
from stream.policies.model import Policy
from stream.topics import STATISTICS

OUTCOMES = (JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED, JobState.EXPIRED)
HOUR_S = 3600
HOURS_A_DAY = 24


class Kind(NamedTuple):
    """What a cell counts, but for its hour."""

    app: str
    operation: str
    outcome: str


class Cell(msgspec.Struct, frozen=True, kw_only=True):
    """One count: of users, in one hour, whose jobs of one operation ended in one way. The JSON value of a record."""

    app: Annotated[str, msgspec.Meta(description="As in the policy of the app")]
    operation: Annotated[str, msgspec.Meta(description="As in the policy of the app")]
    outcome: Annotated[str, msgspec.Meta(description="succeeded, failed, cancelled or expired")]
    hour: Annotated[str, msgspec.Meta(description="When the hour began, UTC, ISO 8601: 2026-11-27T10:00:00Z")]
    count: Annotated[
        int, msgspec.Meta(ge=K, description="Users with at least one such job, noise included; never drawn again")
    ]
    partitions: Annotated[int, msgspec.Meta(ge=0, description="How many partitions were heard of this hour")]
    of: Annotated[int, msgspec.Meta(ge=1, description="How many partitions there are")]
    k: Annotated[int, msgspec.Meta(description="No cell of fewer users is published")] = K
    threshold: Annotated[int, msgspec.Meta(description="The smallest noisy count that is published")] = THRESHOLD
    scale: Annotated[float, msgspec.Meta(description="Of the discrete Laplace noise, p(x) ∝ exp(-|x|/scale)")] = SCALE
    epsilon: Annotated[float, msgspec.Meta(description="Of a user's day in this app, where one owner counted")] = (
        EPSILON
    )
    budget: Annotated[float, msgspec.Meta(description="Of a user's day in this app, whatever befell workers")] = BUDGET

    @property
    def key(self) -> bytes:
        """The record's key."""
        return f"{self.app}/{self.operation}/{self.outcome}/{self.hour}".encode()

    def encode(self) -> bytes:
        """The record's value."""
        return msgspec.json.encode(self)


def decode(value: bytes) -> Cell:
    """Of a record of `metrics.v1`; fields that a later version adds are ignored. Raises Undecodable."""
    try:
        return msgspec.json.decode(value, type=Cell)
    except msgspec.MsgspecError as error:
        raise Undecodable(f"expected a published cell in {STATISTICS}: {type(error).__name__}") from None


def schema() -> dict[str, Any]:
    """JSON Schema (2020-12) of a record's value."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **msgspec.json.schema(Cell)}


def universe(policies: Collection[Policy]) -> tuple[Kind, ...]:
    """Every kind of cell that can be, whether anybody is in it or not: noise is drawn for each, in each hour."""
    return tuple(
        Kind(policy.app, operation, outcome)
        for policy in sorted(policies, key=lambda policy: policy.app)
        for operation in sorted(statistics.counted(policy))
        for outcome in OUTCOMES
    )


def published(kinds: tuple[Kind, ...], hours: range, noisy: list[int], heard: Mapping[int, int], of: int) -> list[Cell]:
    """The cells that may be seen, of noisy counts hour by hour, kind by kind. `heard`: hour → partitions."""
    cells = ((hour, kind) for hour in hours for kind in kinds)
    return [
        Cell(**kind._asdict(), hour=moment(hour), count=count, partitions=heard.get(hour, 0), of=of)
        for (hour, kind), count in zip(cells, noisy, strict=True)
        if count >= THRESHOLD
    ]


def moment(hour: int) -> str:
    """When an hour, counted from the epoch, began."""
    return (datetime.fromtimestamp(0, UTC) + timedelta(hours=hour)).strftime("%Y-%m-%dT%H:%M:%SZ")


def hour_of(now: float) -> int:
    """Hours since the epoch."""
    return int(now // HOUR_S)
