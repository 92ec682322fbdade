"""The lease messages, as Ray's side names them: they live in `stream.events.lease`, where both sides meet.

`Inventory` is Ray's own: what an actor tells the scheduler.
"""

from __future__ import annotations

import msgspec

from stream.events.lease import Piece, Place, Progress, Proposal, Task, Work

__all__ = ["Inventory", "Piece", "Place", "Progress", "Proposal", "Task", "Work"]


class Inventory(msgspec.Struct, frozen=True):
    """What an actor has, as it tells the scheduler: one long-poll carries ended leases, used and new key pairs."""

    pool: str
    version: int
    held: tuple[str, ...]  # jobs that take a slot
    open: tuple[int, ...]  # offers that a task may still use
    fresh: tuple[tuple[int, bytes], ...] = ()  # of them, those not told before, with their public keys
    jobs: int = 0  # attempts ended since it started
    grown_bytes: int = 0  # resident memory since its engines were loaded
