"""The leaf of what an operator did by hand: that it was done, and to what, for who knows its id. It names nobody.

Such an action needs no second person, so a leaf may be without a key; where the operator signed, it names their key.
"""

from __future__ import annotations

from enum import StrEnum

import msgspec

from stream.audit.receipts import VERSION
from stream.ids import digest


class Action(StrEnum):
    """What an operator may do to one job, or one parked event."""

    RETRY = "retry"
    CANCEL = "cancel"
    REPLAY = "replay"
    DROP = "drop"


class Operated(msgspec.Struct, frozen=True, kw_only=True, tag="operated", tag_field="kind"):
    """In the commit that does it. `target`: hex of H(action ‖ id). `operator`: id of the key that signed, or empty."""

    version: int = VERSION
    partition: int
    action: Action
    target: str
    operator: str = ""


def target_of(action: Action, target: str) -> str:
    """What a leaf says of the thing: ids are random, so only who knows one finds it."""
    return digest("mayfly operated 1", action.value, target).hex()
