"""What an operator may tell the scheduler or ask it, and what it answers. Ids, names of pools and numbers only."""

from __future__ import annotations

from typing import Literal

import msgspec

from ray_cluster.hand import Limit
from ray_cluster.pools import PoolStatus


class Pause(msgspec.Struct, frozen=True, tag="pause"):
    """Lease nothing more of this pool; running leases end. → PoolStatus."""

    pool: str


class Resume(msgspec.Struct, frozen=True, tag="resume"):
    """Lease again. → PoolStatus."""

    pool: str


class Scale(msgspec.Struct, frozen=True, tag="scale"):
    """Another floor, another maximum; None: as the settings say. → PoolStatus."""

    pool: str
    min_actors: Limit | None = None
    max_actors: Limit | None = None


class Drain(msgspec.Struct, frozen=True, tag="drain"):
    """Actors get no further lease, end those they have, and go: one by its name, or a pool's. → Draining."""

    pool: str = ""
    actor: str = ""


class Seats(msgspec.Struct, frozen=True, tag="seats"):
    """The actors of a pool; of all for ''. → list[SeatStatus]."""

    pool: str = ""


class Why(msgspec.Struct, frozen=True, tag="why"):
    """What was decided last and what waiting jobs wait for. → list[Reasons], of all pools for ''.

    `jobs`: at most so many of each pool.
    """

    pool: str = ""
    jobs: Limit = 20


Order = Pause | Resume | Scale | Drain | Seats | Why


class Draining(msgspec.Struct, frozen=True):
    """Who was told to go, and how many leases they end first."""

    actors: tuple[str, ...]
    leases: int


class SeatStatus(msgspec.Struct, frozen=True):
    """One actor. `state`: unplaced | starting | idle | busy | draining | leaving."""

    actor: str
    pool: str
    state: str
    leases: int
    jobs: int  # that it has ended
    grown_bytes: int
    free_in_s: float  # predicted


WaitsFor = Literal["resume", "worker", "start", "retry", "machine", "limit", "ceiling", "maximum", "alone", "turn"]
"""What a job waits for, as a closed set; `docs/scheduling.md` says what to do about each."""


class Waiting(msgspec.Struct, frozen=True):
    """A job that has no actor. `position` 0 is next."""

    job: str
    lane: str
    waits_for: WaitsFor
    position: int | None = None
    eta_s: float | None = None


class Reasons(msgspec.Struct, frozen=True):
    """A pool as it stands, its last decision, and who waits for what. `held`: somebody must act."""

    status: PoolStatus
    cause: str
    decided_at: float  # promise clock: when the number of its actors was last decided anew; 0: never
    waiting: tuple[Waiting, ...]
    more: int  # that wait beside those
    held: bool
