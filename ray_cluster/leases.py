"""The lease messages, as Ray's side names them: they live in `stream.events.lease`, where both sides meet.

Besides them: what the envelopes of a lease are bound to. The owner seals with the same two functions' bytes, so an
envelope made for one asset, fence, app or role opens as no other.
"""

from __future__ import annotations

import msgspec

from stream.events.lease import Piece, Place, Progress, Proposal, Task, Work
from stream.ids import entry_of
from stream.vault.envelope import binding

KEY_PURPOSE = "lease-key"
PARAMS_PURPOSE = "lease-params"

__all__ = [
    "KEY_PURPOSE",
    "PARAMS_PURPOSE",
    "Inventory",
    "Piece",
    "Place",
    "Progress",
    "Proposal",
    "Task",
    "Work",
    "key_info",
    "params_info",
    "stream_name",
]


class Inventory(msgspec.Struct, frozen=True):
    """What an actor has, as it tells the scheduler: one long-poll carries ended leases, used and new key pairs."""

    pool: str
    version: int
    held: tuple[str, ...]  # jobs accepted and not yet ended
    open: tuple[int, ...]  # offers that a task may still use
    fresh: tuple[tuple[int, bytes], ...] = ()  # of them, those not told before, with their public keys


def key_info(*, asset: str, role: str, fence: int, app: str) -> bytes:
    """The HPKE `info` of a piece's data key."""
    return binding(KEY_PURPOSE, asset=entry_of(asset), fence=fence, app=app, data_class=role)


def params_info(*, fence: int, app: str) -> bytes:
    """The HPKE `info` of a task's parameters."""
    return binding(PARAMS_PURPOSE, asset=b"", fence=fence, app=app, data_class="params")


def stream_name(asset: str) -> bytes:
    """The `asset` of a sealed stream: the id's 16 random bytes, as gateways seal it."""
    return entry_of(asset)
