"""Where what operators set by hand is kept: in the key-value store of Ray's own control process.

So an order outlives the scheduler, and goes with the Ray head, as every actor does. Both calls block.
"""

from __future__ import annotations

import msgspec
from ray.experimental import internal_kv

from ray_cluster.hand import NOTHING, Hand

_SPACE = b"mayfly"


def load(namespace: str) -> dict[str, Hand]:
    """What was set before, by pool."""
    found = internal_kv._internal_kv_get(_key(namespace), namespace=_SPACE)  # noqa: SLF001 - Ray has no other door
    return msgspec.msgpack.decode(found, type=dict[str, Hand]) if found else {}


def save(namespace: str, hands: dict[str, Hand]) -> None:
    """Keep these."""
    kept = {pool: hand for pool, hand in hands.items() if hand != NOTHING}
    internal_kv._internal_kv_put(_key(namespace), msgspec.msgpack.encode(kept), namespace=_SPACE)  # noqa: SLF001


def _key(namespace: str) -> bytes:
    return f"pools/{namespace}".encode()
