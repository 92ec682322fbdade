"""Leaves of legal holds: a case was opened over so many assets, or released. They name keys and counts, and nobody.

`case` commits to the signed case (its SHA-256, with 16 random bytes in it): who has the case can find its leaves.
"""

from __future__ import annotations

import msgspec

from stream.audit.receipts import VERSION


class Held(msgspec.Struct, frozen=True, kw_only=True, tag="hold", tag_field="kind"):
    """The leaf of a hold, in the commit that moved its keys. `approvers`: the ids of the keys that signed the case."""

    version: int = VERSION
    partition: int
    case: str
    app: str
    basis: str
    count: int
    until_ms: int
    approvers: tuple[str, ...]


class Released(msgspec.Struct, frozen=True, kw_only=True, tag="hold_released", tag_field="kind"):
    """The leaf of a hold that ended before its time. `approver`: the id of the key that signed the release."""

    version: int = VERSION
    partition: int
    case: str
    count: int
    approver: str
