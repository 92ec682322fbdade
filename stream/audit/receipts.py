"""What a receipt says, byte for byte: the leaves "erased" and "absent" of a partition's log, and what they commit to.

A receipt covers assets by salted commitments only: who knows an asset's id and salt can show that it is covered, and
to nobody else does it say anything. Leaves are canonical JSON (RFC 8785); times are whole milliseconds, since a
fraction has more than one spelling.
"""

from __future__ import annotations

import bisect
import math
from collections.abc import Iterable, Iterator, Sequence
from enum import StrEnum

import msgspec
import rfc8785

from stream.audit.merkle import HASH_BYTES, Tree
from stream.ids import digest

VERSION = 1
SALT_BYTES = 16

COVERED_PER_RECEIPT = 16_384
"""At 32 bytes each, an entry of the `audit` topic stays well below Kafka's default `message.max.bytes` of 1 MB."""


NEVER_MS = 2**53 - 1
"""The deadline of what has none: the largest integer that I-JSON (RFC 7493) carries."""


class Cause(StrEnum):
    """Why a key died."""

    DEADLINE = "deadline"
    REQUEST = "request"
    CONSENT_WITHDRAWN = "consent_withdrawn"
    JOB_END = "job_end"
    RETURNED = "returned"
    CANCELLED = "cancelled"
    UPLOAD_FAILED = "upload_failed"
    ATTEMPT = "attempt"  # its output was never accepted
    TERMINATION = "termination"  # the service ended
    RESTORE = "restore"  # a backup brought its row back, and could not vouch for it


class Residue(msgspec.Struct, frozen=True, kw_only=True):
    """What may still be readable, by whom, and until when: a holder that did not acknowledge its wipe, for one."""

    name: str  # closed vocabulary, never an id
    count: int
    until_ms: int


class Erasure(msgspec.Struct, frozen=True, kw_only=True):
    """What the owner measured of one erasing commit, for one app and cause (a commit of two makes two receipts)."""

    app: str
    cause: Cause
    root_version: str  # every root version before this one is destroyed
    root_claim: str  # what the root store promises about that
    keys_offset: int  # of the commit's last record in the partition of `keys`
    t_hidden_ms: int
    t_unreadable_ms: int
    policy_hash: str
    holds: int = 0  # assets that were due, and are kept by a legal hold
    residues: tuple[Residue, ...] = ()


class Receipt(Erasure, frozen=True, kw_only=True, tag="erased", tag_field="kind"):
    """The leaf of t_unreadable. `merkle_root` (hex): over the commitments of `count` assets, as in RFC 9162."""

    version: int = VERSION
    partition: int
    merkle_root: str
    count: int
    key_id: str


class Absent(msgspec.Struct, frozen=True, kw_only=True, tag="absent", tag_field="kind"):
    """The leaf of t_gone: objects, versions and multiparts of an erasure were looked for, and are not there."""

    version: int = VERSION
    partition: int
    erased_index: int
    erased_hash: str  # leaf hash of the receipt it completes
    t_gone_ms: int
    key_id: str


class Covered(msgspec.Struct, frozen=True):
    """The commitments of one receipt that share data class and deadline: sorted, 32 bytes each, in one piece.

    Kept beside the leaf, not in it, to serve inclusion paths.
    """

    data_class: str
    deadline_ms: int
    commitments: bytes

    @classmethod
    def of(cls, data_class: str, deadline_ms: int, commitments: Iterable[bytes]) -> Covered:
        """Sorted, so that their order tells nothing of when they came."""
        return cls(data_class, deadline_ms, b"".join(sorted(commitments)))

    def __len__(self) -> int:
        return len(self.commitments) // HASH_BYTES

    def __getitem__(self, index: int) -> bytes:
        if not 0 <= index < len(self):
            raise IndexError(index)
        return self.commitments[index * HASH_BYTES : (index + 1) * HASH_BYTES]

    def __iter__(self) -> Iterator[bytes]:
        return (self[index] for index in range(len(self)))


def commitment(salt: bytes, asset_id: str, data_class: str, deadline_ms: int) -> bytes:
    """H(salt ‖ asset id ‖ class ‖ deadline): SHA-256 over length-prefixed parts, 32 bytes. `salt`: 16 random bytes."""
    return digest("mayfly asset 1", salt.hex(), asset_id, data_class, str(deadline_ms))


def portions(covered: Iterable[Covered], limit: int = COVERED_PER_RECEIPT) -> Iterator[tuple[Covered, ...]]:
    """Split what one commit erased into what one receipt each can cover: at most `limit` commitments."""
    portion: list[Covered] = []
    room = limit
    for group in covered:
        start = 0
        while start < len(group):
            raw = group.commitments[start * HASH_BYTES : (start + room) * HASH_BYTES]
            portion.append(Covered(group.data_class, group.deadline_ms, raw))
            start, room = start + len(portion[-1]), room - len(portion[-1])
            if not room:
                yield tuple(portion)
                portion, room = [], limit
    if portion:
        yield tuple(portion)


def tree_of(covered: Sequence[Covered]) -> Tree:
    """The tree whose root a receipt states. Linear: 0.2 s for 100,000 commitments."""
    return Tree(each for group in covered for each in group)


def locate(covered: Sequence[Covered], wanted: bytes) -> tuple[Covered, int] | None:
    """The group that holds a commitment, and the commitment's index in the tree."""
    start = 0
    for group in covered:
        at = bisect.bisect_left(group, wanted)
        if at < len(group) and group[at] == wanted:
            return group, start + at
        start += len(group)
    return None


def canonical(statement: msgspec.Struct) -> bytes:
    """The leaf bytes of a statement: what is hashed into the log, and signed."""
    return rfc8785.dumps(msgspec.to_builtins(statement))


def milliseconds(seconds: float) -> int:
    """Seconds since the epoch as the whole milliseconds of receipts and commitments; NEVER_MS where nothing is due."""
    return NEVER_MS if math.isinf(seconds) else round(seconds * 1000)
