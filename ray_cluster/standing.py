"""What every worker says that its tenants have unfinished: here a tenant is seen whole. Pure, soft state."""

from __future__ import annotations

from collections.abc import Iterable

from stream.events.lease import Claim

SILENT_S = 10.0
"""A worker that says nothing for so long has gone, and its partitions with it: another says what is there."""


class Standings:
    """The last word of each worker. `now`: any clock that only grows."""

    def __init__(self) -> None:
        self._told: dict[str, tuple[float, tuple[Claim, ...]]] = {}

    def tell(self, worker: str, claims: Iterable[Claim], now: float) -> None:
        """Take the place of what this worker said before."""
        self._told[worker] = now, tuple(claims)
        for silent in [name for name, (at, _) in self._told.items() if now - at > SILENT_S]:
            del self._told[silent]

    def merged(self) -> list[Claim]:
        """One claim for each pool, lane and tenant."""
        found: dict[tuple[str, str, str], Claim] = {}
        for _, claims in self._told.values():
            for claim in claims:
                where = claim.pool, claim.lane, claim.tenant
                known = found.get(where)
                found[where] = claim if known is None else known.plus(claim)
        return list(found.values())
