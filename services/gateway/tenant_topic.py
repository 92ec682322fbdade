"""Write tenants to their topic: what `mayfly tenant` and the local stack do. Gateways follow within a second."""

from __future__ import annotations

import time

from aiokafka import AIOKafkaProducer

from services.gateway import tenants
from services.gateway.tenants import Limits, Tenant, TenantTable
from services.topic_follow import read_whole
from stream import topics


async def load(bootstrap: str) -> TenantTable:
    """Every tenant there is."""
    table = TenantTable()
    await read_whole(bootstrap, topics.TENANTS, table.apply)
    return table


async def add(bootstrap: str, apps: tuple[str, ...], limits: Limits = Limits()) -> tuple[Tenant, str]:  # noqa: B008
    """A new tenant, and its API key: show it once."""
    tenant, key = tenants.add(apps, limits)
    await _write(bootstrap, tenant.id, tenant.encode())
    return tenant, key


async def rotate(bootstrap: str, tenant: str, grace_s: float = tenants.GRACE_S) -> tuple[Tenant, str]:
    """A new API key for this tenant; the old ones are valid for `grace_s` more. Raises UnknownTenant."""
    rotated, key = tenants.rotate((await load(bootstrap)).get(tenant), time.time(), grace_s)
    await _write(bootstrap, rotated.id, rotated.encode())
    return rotated, key


async def limit(bootstrap: str, tenant: str, **changes: float | None) -> Tenant:
    """Other limits for this tenant: gateways go by them within a second. Raises UnknownTenant."""
    changed = tenants.limited((await load(bootstrap)).get(tenant), **changes)
    await _write(bootstrap, changed.id, changed.encode())
    return changed


async def revoke(bootstrap: str, tenant: str) -> None:
    """No key of this tenant opens anything any more; what it stored goes as promised. Raises UnknownTenant."""
    await _write(bootstrap, (await load(bootstrap)).get(tenant).id, None)


async def _write(bootstrap: str, key: str, value: bytes | None) -> None:
    async with AIOKafkaProducer(bootstrap_servers=bootstrap, acks="all", enable_idempotence=True) as producer:
        await producer.send_and_wait(topics.TENANTS, value, key.encode(), partition=0)
