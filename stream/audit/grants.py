"""Leaves of access: before a key is released to read or write an asset, its grant is in the log.

A leaf holds a salted commitment and nothing else. Who knows the asset's salt and id can look for the grants it ought
to find; to all others a leaf tells only that some key was released.
"""

from __future__ import annotations

from enum import StrEnum

import msgspec

from stream.audit.receipts import VERSION, canonical
from stream.ids import digest


class Grantee(StrEnum):
    """Who gets a key."""

    GATEWAY_READ = "gateway_read"
    GATEWAY_WRITE = "gateway_write"
    ENGINE = "engine"
    STAFF = "staff"
    AUTHORITY = "authority"  # by a disclosure's case, for good


class Grant(msgspec.Struct, frozen=True, kw_only=True, tag="grant", tag_field="kind"):
    """The leaf. `commitment`: hex of H(salt ‖ asset id ‖ grantee kind ‖ expiry)."""

    version: int = VERSION
    commitment: str


def grant(salt: bytes, asset_id: str, grantee: Grantee, expiry_ms: int) -> Grant:
    """The grant of one asset's key until `expiry_ms` (epoch milliseconds)."""
    return Grant(commitment=digest("mayfly grant 1", salt.hex(), asset_id, grantee.value, str(expiry_ms)).hex())


def is_grant(leaf: bytes, salt: bytes, asset_id: str, grantee: Grantee, expiry_ms: int) -> bool:
    """Whether this leaf is that grant."""
    return leaf == canonical(grant(salt, asset_id, grantee, expiry_ms))
