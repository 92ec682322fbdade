"""Who owns each partition, as the `owners` topic says: a table that can be waited on."""

from __future__ import annotations

import asyncio

import structlog

from stream.events.codec import Undecodable
from stream.events.rows import Owner, rows

log = structlog.get_logger()


class OwnerTable:
    """The newest committed owner of each partition. A non-owner answers 421, so being late here is safe."""

    def __init__(self, partitions: int) -> None:
        self._owners: list[Owner | None] = [None] * partitions
        self._changed = asyncio.Event()

    def __repr__(self) -> str:
        return f"OwnerTable({sum(owner is not None for owner in self._owners)} of {len(self._owners)} known)"

    def apply(self, key: bytes, value: bytes | None) -> None:
        """Take one record of the topic; what cannot be decoded is left out and logged."""
        try:
            partition = int(key)
            header = rows.decode(value)[0] if value is not None else None
        except (ValueError, TypeError, Undecodable):
            log.warning("owners.undecodable")
            return
        if not 0 <= partition < len(self._owners) or not isinstance(header, Owner | None):
            log.warning("owners.unexpected", partition=partition)
            return
        self._owners[partition] = header
        self._changed.set()
        self._changed = asyncio.Event()

    def get(self, partition: int) -> Owner | None:
        """The owner, if one has been named."""
        return self._owners[partition]

    @property
    def addresses(self) -> set[str]:
        """Of every worker that owns anything."""
        return {owner.address for owner in self._owners if owner is not None}

    @property
    def missing(self) -> list[int]:
        """Partitions that nobody has ever owned."""
        return [partition for partition, owner in enumerate(self._owners) if owner is None]

    async def wait(self, timeout_s: float) -> None:
        """Return at the next change of any owner, or after `timeout_s` seconds."""
        try:
            await asyncio.wait_for(self._changed.wait(), timeout_s)
        except TimeoutError:
            return
