"""Where the key of a tree's root is wrapped, outside Kafka: one store per partition, many adapters, one contract.

A version is used by one attempt only: an aborted root may be in the log under the version it was given. Destroying
takes what is *older* than a version, never "all but" it: a former owner that stalled while opening would destroy its
successor's. Older only is monotone: any owner, any order, any repetition is safe, and a newer version left by a failed
attempt holds only what was live then and dies with the next erasing commit.
"""

from __future__ import annotations

from enum import StrEnum
from typing import ClassVar, Protocol

from stream.errors import BrokenPromise, StoreUnavailable


class RootStore(Protocol):
    """Wraps root keys under versions that can be destroyed. All raise RootStoreUnavailable when it does not answer."""

    @property
    def claim(self) -> str:
        """What destroying promises here, in a sentence: printed at start, and part of every receipt."""
        ...

    async def used(self) -> bool:
        """Whether `destroy_before` was ever called: then a root was committed, and a `keys` topic without one was lost.

        A version alone says nothing: an owner may have died between its first wrap and its first commit.
        """
        ...

    async def versions(self) -> list[int]:
        """The numbers of the versions that live: for whoever checks that older ones do not."""
        ...

    async def wrap(self, key: bytes) -> bytes:
        """`key` (32 bytes) wrapped under a version that nobody used before, which the result names (`version_of`)."""
        ...

    async def unwrap(self, wrapped: bytes) -> bytes:
        """The key, while its version lives. Raises RootGone."""
        ...

    async def destroy_before(self, wrapped: bytes) -> None:
        """Destroy every version older than that of `wrapped`; no newer one, and not its own."""
        ...


class RootGone(BrokenPromise):
    """The version that wrapped this root does not live here: an old `keys` topic, or another partition's store."""

    kind: ClassVar[str] = "root-gone"


class Why(StrEnum):
    """What keeps a root store from answering: the label of a counter."""

    UNREACHABLE = "unreachable"  # no connection, no folder
    SILENT = "silent"  # connected, and no answer in time
    SEALED = "sealed"  # it runs, and cannot open its own storage
    REFUSED = "refused"  # our token or our permissions
    WRONG = "wrong"  # an answer that no root store of ours gives


class RootStoreUnavailable(StoreUnavailable):
    """The root store did not answer: nothing was destroyed that is needed, and nothing is promised."""

    kind: ClassVar[str] = "root-store-unavailable"

    def __init__(self, message: str, why: Why = Why.UNREACHABLE) -> None:
        super().__init__(message)
        self.why = why


def version_of(wrapped: bytes) -> str:
    """The version's name as receipts state it, such as `file:v12`: the first two of a wrapped key's three parts."""
    return b":".join(wrapped.split(b":", 2)[:2]).decode("ascii", "replace")


def number_of(version: str) -> int:
    """12 of `file:v12` or `openbao:v12-…`: the order of the versions of one store. 0 for what names none."""
    digits = version.rpartition(":v")[2].partition("-")[0]
    return int(digits) if digits.isdecimal() else 0
