"""Tenants: who may call, and for which apps. A random id, digests of API keys, limits; no name, no address.

They live in the compacted one-partition topic `tenants`, read whole by gateways and workers. A key itself is shown
once, when it is made: only its SHA-256 is kept (256 random bits need no slow hash).
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import math
import os
import secrets
from collections.abc import Iterator
from typing import ClassVar, Final

import msgspec
import structlog

from stream.errors import BadRequest

KEY_PREFIX: Final = "mf_"
KEY_BYTES: Final = 32
GRACE_S: Final = 24 * 3600.0
_VERSION: Final = b"\x01"

log = structlog.get_logger()


class UnknownTenant(BadRequest):
    """No tenant has this id."""

    kind: ClassVar[str] = "unknown-tenant"
    status: ClassVar[int] = 404


class KeyDigest(msgspec.Struct, frozen=True):
    """SHA-256 of an API key, and until when it is valid (epoch seconds; for ever until it is rotated out)."""

    digest: bytes
    until: float = math.inf


class Limits(msgspec.Struct, frozen=True, omit_defaults=True):
    """What one tenant may do: on one gateway, and in all."""

    transfers: int = 256  # uploads and downloads at the same time
    submits: int = 64  # requests for a job at the same time
    jobs: int = 20_000  # unfinished, on all gateways together
    work_s: float = 500_000.0  # predicted seconds of engine actors that these may take


class Tenant(msgspec.Struct, frozen=True, tag="tenant"):
    """A caller of the API."""

    id: str
    apps: tuple[str, ...]
    keys: tuple[KeyDigest, ...]
    limits: Limits = Limits()

    def encode(self) -> bytes:
        """As it lies on the topic, under its id."""
        return _VERSION + msgspec.msgpack.encode(self)


def add(apps: tuple[str, ...], limits: Limits = Limits()) -> tuple[Tenant, str]:  # noqa: B008 - frozen
    """A new tenant and its API key, which is kept nowhere."""
    key = new_key()
    return Tenant(f"ten_{os.urandom(16).hex()}", apps, (KeyDigest(digest_of(key)),), limits), key


def rotate(tenant: Tenant, now: float, grace_s: float = GRACE_S) -> tuple[Tenant, str]:
    """The tenant with a new key; those before it stay valid for `grace_s` seconds, and no longer than they were."""
    key = new_key()
    old = tuple(KeyDigest(k.digest, min(k.until, now + grace_s)) for k in tenant.keys if k.until > now)
    return msgspec.structs.replace(tenant, keys=(*old, KeyDigest(digest_of(key)))), key


def limited(tenant: Tenant, **changes: float | None) -> Tenant:
    """The tenant with these limits changed; None leaves one as it is."""
    told = {name: value for name, value in changes.items() if value is not None}
    return msgspec.structs.replace(tenant, limits=msgspec.structs.replace(tenant.limits, **told))


def new_key() -> str:
    """A fresh API key."""
    return KEY_PREFIX + base64.urlsafe_b64encode(secrets.token_bytes(KEY_BYTES)).decode().rstrip("=")


def digest_of(key: str) -> bytes:
    """What is kept of a key."""
    return hashlib.sha256(key.encode()).digest()


class TenantTable:
    """All tenants, by id and by the digests of their keys."""

    def __init__(self) -> None:
        self._tenants: dict[str, Tenant] = {}
        self._by_digest: dict[bytes, tuple[Tenant, KeyDigest]] = {}

    def __iter__(self) -> Iterator[Tenant]:
        return iter(self._tenants.values())

    def __len__(self) -> int:
        return len(self._tenants)

    def apply(self, key: bytes, value: bytes | None) -> None:
        """Take one record of the topic; a tombstone revokes. What cannot be decoded is left out and logged."""
        name = key.decode(errors="replace")
        for old in self._tenants.pop(name).keys if name in self._tenants else ():
            del self._by_digest[old.digest]
        if value is None:
            return
        try:
            if value[:1] != _VERSION:
                raise msgspec.DecodeError
            tenant = msgspec.msgpack.decode(value[1:], type=Tenant)
        except msgspec.MsgspecError:
            log.warning("tenants.undecodable")
            return
        self._tenants[tenant.id] = tenant
        self._by_digest.update((k.digest, (tenant, k)) for k in tenant.keys)

    def get(self, tenant: str) -> Tenant:
        """By id. Raises UnknownTenant."""
        try:
            return self._tenants[tenant]
        except KeyError:
            raise UnknownTenant(
                "expected the id of a tenant, as `mayfly tenant ls` shows it; none has this one"
            ) from None

    def find(self, key: str, now: float) -> Tenant | None:
        """Whose API key this is, if it is valid.

        Looked up by digest, so that timing tells nothing about a key; compared once more in constant time.
        """
        digest = digest_of(key)
        tenant, held = self._by_digest.get(digest, (None, _NOBODY))
        valid = hmac.compare_digest(held.digest, digest)
        return tenant if valid and now < held.until else None


_NOBODY = KeyDigest(bytes(32))
