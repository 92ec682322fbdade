"""What the routes need, injected into each of them."""

from __future__ import annotations

import asyncio
from typing import TypeVar

import msgspec

from services.gateway.flights import Flights
from services.gateway.grants import Grants
from services.gateway.owner_client import OwnerClient
from services.gateway.owners import OwnerTable
from services.gateway.render.desk import Desk
from services.gateway.tenants import TenantTable
from stream.ids import Mint
from stream.vault.courier import Courier

T = TypeVar("T", bound=msgspec.Struct)


class Core(msgspec.Struct, frozen=True):
    """The gateway without its HTTP face."""

    mint: Mint
    tenants: TenantTable
    owners: OwnerTable
    client: OwnerClient
    courier: Courier
    grants: Grants
    flights: Flights
    caught_up: asyncio.Event  # tenants are read whole
    revoke_url: str
    grant_ttl_s: float
    desk: Desk  # of RAM-only apps

    async def ask(self, tenant: str, subject: str, request: msgspec.Struct, reply: type[T]) -> T:
        """The answer of whoever owns this subject's partition. Raises as `OwnerClient.ask` does."""
        return await self.client.ask(self.mint.place(tenant, subject), request, reply)
