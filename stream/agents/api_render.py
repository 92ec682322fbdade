"""What a gateway and a worker say to each other while pictures of a RAM-only app are worked on.

One WebSocket a request (`GET /render`), its messages msgpack, each tagged. It is the lease itself: when it closes,
for whatever reason, everything that its pictures hold is let go.

    gateway                                  worker
      Ask ──────────────────────────────────►  the verdict, before any byte
      ◄──────────────────────────── Granted, or Declined and the end
      Want(item) ───────────────────────────►  into the scheduler's queue
      ◄───────────────────── Offered(item): an actor, and a key pair of this attempt
      Begin(item): tickets, sealed keys ────►  to the actor
      ◄────────────────────────── Ended(item): how it went, wiped

An item is a number that the gateway counts. Offered may come again: the actor before took nothing.
"""

from __future__ import annotations

from typing import Final

import msgspec

from stream.agents.api import Problem
from stream.events.bus import Outcome
from stream.events.lease import Task

PATH: Final = "/render"


class Ask(msgspec.Struct, frozen=True, tag=True):
    """May pictures of this app be worked on so? `params`: the names only; limits of the tenant as of a job."""

    tenant: str
    app: str
    operation: str
    params: tuple[str, ...] = ()
    max_jobs: int = 0  # unfinished jobs and pictures; 0: no limit
    max_work_s: float = 0.0  # and predicted seconds of actors that they may take


class Want(msgspec.Struct, frozen=True, tag=True):
    """One picture has come whole: it wants an actor."""

    item: int
    job: str


class Begin(msgspec.Struct, frozen=True, tag=True):
    """What the actor that was offered is to be told."""

    item: int
    task: Task


class Stop(msgspec.Struct, frozen=True, tag=True):
    """This picture's result is wanted no more."""

    item: int


class Granted(msgspec.Struct, frozen=True, tag=True):
    """Begin. What may come in; `counted`: whether the app lets its uses be counted at all."""

    accept: tuple[str, ...]
    max_bytes: int
    max_pixels: int
    max_duration_s: float
    input_role: str
    counted: bool = False


class Declined(msgspec.Struct, frozen=True, tag=True):
    """Do not."""

    problem: Problem


class Offered(msgspec.Struct, frozen=True, tag=True):
    """An actor will take it. `public`: to whom keys are sealed, for this `fence` alone."""

    item: int
    fence: int
    offer: int
    public: bytes


class Ended(msgspec.Struct, frozen=True, tag=True):
    """How it went: an outcome of the actor's, or what kept it from one."""

    item: int
    outcome: Outcome | None = None
    problem: Problem | None = None


FromGateway = Ask | Want | Begin | Stop
FromWorker = Granted | Declined | Offered | Ended
