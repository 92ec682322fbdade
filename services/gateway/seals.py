"""What keys and streams are bound to between owner, gateway and engine. All three must say the same bytes.

The data class is left out of grants: detection may raise it while an asset lives.
"""

from __future__ import annotations

from stream.ids import entry_of
from stream.vault.envelope import binding


def write_info(asset: str, app: str) -> bytes:
    """HPKE `info` of a `WriteTicket.sealed_key`."""
    return binding("write", asset=entry_of(asset), fence=0, app=app, data_class="")


def read_info(asset: str, app: str) -> bytes:
    """HPKE `info` of a `ReadTicket.sealed_key`."""
    return binding("read", asset=entry_of(asset), fence=0, app=app, data_class="")


def stream_name(asset: str) -> bytes:
    """The `asset` of a `Sealer` or an `Opener`: the id's 16 random bytes, its name in the key tree too."""
    return entry_of(asset)
