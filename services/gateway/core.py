"""What the routes need, injected into each of them."""

from __future__ import annotations

import asyncio

import msgspec

from services.gateway.flights import Flights
from services.gateway.grants import Grants
from services.gateway.owner_client import OwnerClient
from services.gateway.owners import OwnerTable
from services.gateway.render.desk import Desk
from services.gateway.tenants import TenantTable
from stream.ids import Mint
from stream.vault.courier import Courier


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
