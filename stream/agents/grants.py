"""Who may read or write which asset right now. A grant is a lease: short, renewed while bytes flow, ended at due.

In memory: the audit leaf is what is kept. A new owner does not know the grants of the old one; until the longest of
them must have ended, receipts name them as a residue.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import ClassVar

from stream.errors import LostLease

GRANT_BYTES = 16
REMEMBERED = 4096


class NoGrant(LostLease):
    """This grant ended, was revoked, or is another owner's."""

    kind: ClassVar[str] = "no-grant"
    status: ClassVar[int] = 409


@dataclass(slots=True)
class Grant:
    """Real-time `until`: what a gateway's clock and the store's agree upon."""

    id: str
    asset: str
    until: float
    revoke_url: str = ""  # of a reader; an upload is cut by its own gateway
    holder: bytes = b""  # public key of the request: the same request may ask twice


class Grants:
    """The grants of one estate. `call(url, grant) -> acknowledged` reaches a gateway."""

    def __init__(
        self,
        call: Callable[[str, str], Awaitable[bool]],
        *,
        ttl_s: float,
        wait_s: float,
        real_time: Callable[[], float],
    ) -> None:
        self._call, self._ttl_s, self._wait_s, self._real_time = call, ttl_s, wait_s, real_time
        self._grants: dict[str, Grant] = {}
        self._of: dict[str, set[str]] = {}
        self._ended: dict[str, str] = {}  # the latest, so that the end of a grant may be told twice
        self._foreign_until = 0.0
        self._unacknowledged: dict[str, float] = {}  # asset → until its holder's lease ends

    def taken_over(self) -> None:
        """There was an owner before: what it granted may live for one more term."""
        self._foreign_until = self._real_time() + self._ttl_s

    def give(self, asset_id: str, *, holder: bytes, revoke_url: str = "", ttl_s: float | None = None) -> Grant:
        """A fresh grant, in place of any that the same request was given before."""
        for old in [g for g in self._of.get(asset_id, ()) if self._grants[g].holder == holder]:
            self.end(old)
        until = self._real_time() + (self._ttl_s if ttl_s is None else ttl_s)
        grant = Grant(secrets.token_hex(GRANT_BYTES), asset_id, until, revoke_url, holder)
        self._grants[grant.id] = grant
        self._of.setdefault(asset_id, set()).add(grant.id)
        return grant

    def renew(self, grant_id: str) -> float:
        """Until when it lives now. Raises NoGrant."""
        grant = self.find(grant_id)
        grant.until = self._real_time() + self._ttl_s
        return grant.until

    def find(self, grant_id: str) -> Grant:
        """A living grant. Raises NoGrant."""
        grant = self._grants.get(grant_id)
        if grant is None or grant.until < self._real_time():
            raise NoGrant("expected a living grant: it ended, or was revoked")
        return grant

    def ended(self, grant_id: str) -> str:
        """The asset of a grant that ended lately. Raises NoGrant."""
        try:
            return self._ended[grant_id]
        except KeyError:
            raise NoGrant("expected a grant of this owner; the partition has changed hands: begin again") from None

    def end(self, grant_id: str) -> Grant | None:
        """Its holder let go. The grant, if it was ours."""
        grant = self._grants.pop(grant_id, None)
        if grant is not None:
            self._ended[grant_id] = grant.asset
            if len(self._ended) > REMEMBERED:
                del self._ended[next(iter(self._ended))]
            held = self._of.get(grant.asset, set())
            held.discard(grant_id)
            if not held:
                self._of.pop(grant.asset, None)
        return grant

    def held(self, asset_id: str, *, but: bytes = b"") -> bool:
        """Whether anybody, but for that holder, may be reading or writing it."""
        living = (self._grants[g] for g in self._of.get(asset_id, ()))
        return any(grant.until >= self._real_time() for grant in living if not but or grant.holder != but)

    def assets(self) -> list[str]:
        """All that anybody may be reading or writing."""
        return [asset_id for asset_id in self._of if self.held(asset_id)]

    async def revoke(self, asset_ids: Iterable[str]) -> None:
        """Tell every reader of these to wipe, and wait `wait_s` for their word; the silent become residues."""
        wanted = [self._grants[g] for asset_id in list(asset_ids) for g in tuple(self._of.get(asset_id, ()))]
        await asyncio.gather(*(self._revoke(grant) for grant in wanted))

    def residues(self, asset_ids: Iterable[str]) -> list[tuple[str, int, float]]:
        """What a receipt must name: (name, how many assets, until when) of holders that may still have a key."""
        now = self._real_time()
        self._unacknowledged = {a: until for a, until in self._unacknowledged.items() if until > now}
        asset_ids = list(asset_ids)
        silent = [self._unacknowledged[a] for a in asset_ids if a in self._unacknowledged]
        found = [("grant-unacknowledged", len(silent), max(silent))] if silent else []
        if now < self._foreign_until:
            found.append(("grants-of-previous-owner", len(asset_ids), self._foreign_until))
        return found

    async def _revoke(self, grant: Grant) -> None:
        self.end(grant.id)
        if not grant.revoke_url or grant.until < self._real_time():
            return
        try:
            async with asyncio.timeout(self._wait_s):
                acknowledged = await self._call(grant.revoke_url, grant.id)
        except TimeoutError:
            acknowledged = False
        if not acknowledged:
            self._unacknowledged[grant.asset] = grant.until
