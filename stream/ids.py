"""Ids and placement: `kind_` + base32(partition ‖ random ‖ MAC(tenant ‖ kind ‖ random)).

Who holds an id may learn nothing from it but the partition. A wrong MAC means that the id was never this tenant's
(404); a right one without a row means that it was, and is gone (410): no memory of what was is needed for either.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
import struct
from collections.abc import Callable
from enum import StrEnum
from typing import ClassVar

from stream.errors import BadRequest

RANDOM_BYTES = 16
MAC_BYTES = 8
_RAW = struct.Struct(f">H{RANDOM_BYTES}s{MAC_BYTES}s")
_CHARS = -(-8 * _RAW.size // 5)
_SPARE_BITS = 5 * _CHARS - 8 * _RAW.size
_BASE32, _BASE32HEX = b"abcdefghijklmnopqrstuvwxyz234567", b"0123456789abcdefghijklmnopqrstuv"  # RFC 4648, 6 and 7
_DIGITS = bytes(_BASE32HEX[_BASE32.index(c)] if c in _BASE32 else ord("!") for c in range(256))


class Kind(StrEnum):
    """What an id names; it is the id's prefix."""

    JOB = "job"
    ASSET = "ast"
    SUBJECT = "sub"


class UnknownId(BadRequest):
    """This id was never given to this tenant."""

    kind: ClassVar[str] = "unknown-id"
    status: ClassVar[int] = 404


class Mint:
    """Makes and checks ids, and places subjects on partitions.

    `secret`: 32 bytes, shared by gateways and workers, never rotated while rows live: it decides the partition.
    """

    def __init__(self, secret: bytes, partitions: int, *, entropy: Callable[[int], bytes] = os.urandom) -> None:
        self._place = hmac.digest(secret, b"mayfly placement", "sha256")
        self._mac = hmac.digest(secret, b"mayfly ids", "sha256")
        self._login = hmac.digest(secret, b"mayfly logins", "sha256")
        self._entropy = entropy
        self.partitions = partitions

    def __repr__(self) -> str:
        return f"Mint(partitions={self.partitions})"

    def place(self, tenant: str, subject: str) -> int:
        """The partition of a subject: every row, event and key of theirs is there."""
        digest = hmac.digest(self._place, _join(tenant, subject), "sha256")
        return int.from_bytes(digest[:8], "big") % self.partitions

    def login(self, tenant: str, app: str, address: str) -> str:
        """What finds the account of an address; only the secret tells which address it is of. 32 hex digits."""
        return hmac.digest(self._login, _join(tenant, app, address), "sha256")[:16].hex()

    def mint(self, kind: Kind, tenant: str, partition: int) -> str:
        """A fresh id of this kind for this tenant on this partition."""
        random = self._entropy(RANDOM_BYTES)
        raw = _RAW.pack(partition, random, self._tag(kind, tenant, partition, random))
        return f"{kind.value}_{base64.b32encode(raw).decode().rstrip('=').lower()}"

    def check(self, kind: Kind, tenant: str, text: str) -> int:
        """The partition of an id that this tenant was given. Raises UnknownId for any other."""
        try:
            partition, random, tag = _unpack(kind, text)
        except ValueError:
            raise UnknownId(f"expected an id of kind {kind.value}; this one was never given out") from None
        wanted = self._tag(kind, tenant, partition, random)
        if not hmac.compare_digest(tag, wanted) or partition >= self.partitions:
            raise UnknownId(f"expected an id of kind {kind.value}; this one was never given out")
        return partition

    def partition_of(self, text: str) -> int:
        """Where a well-formed id of our own belongs; no MAC is checked. Raises ValueError."""
        kind, _, _ = text.partition("_")
        return _unpack(Kind(kind), text)[0]

    def _tag(self, kind: Kind, tenant: str, partition: int, random: bytes) -> bytes:
        text = _join(kind.value, tenant) + struct.pack(">H", partition) + random
        return hmac.digest(self._mac, text, "sha256")[:MAC_BYTES]


def entry_of(text: str) -> bytes:
    """The 16 random bytes of a well-formed id: its name in the key tree."""
    kind, _, _ = text.partition("_")
    return _unpack(Kind(kind), text)[1]


def digest(*parts: str) -> bytes:
    """SHA-256 over length-prefixed parts, so that no two lists of parts collide."""
    return hashlib.sha256(_join(*parts)).digest()


def _join(*parts: str) -> bytes:
    return b"".join(struct.pack(">I", len(raw)) + raw for raw in (part.encode() for part in parts))


def _unpack(kind: Kind, text: str) -> tuple[int, bytes, bytes]:
    prefix, _, body = text.partition("_")
    if prefix != kind.value or len(body) != _CHARS:
        raise ValueError(kind)
    number = int(body.encode().translate(_DIGITS), 32)  # a tenth of the time that base64.b32decode takes
    if number & ((1 << _SPARE_BITS) - 1):
        raise ValueError(kind)  # one id, one spelling
    partition, random, tag = _RAW.unpack((number >> _SPARE_BITS).to_bytes(_RAW.size, "big"))
    return partition, random, tag
