"""What keys and streams are bound to between owner, gateway and engine: all three must say the same bytes.

The data class is left out: detection may raise it while an asset lives. The fence is in every envelope of a lease, so
one made for an attempt opens in no other.
"""

from __future__ import annotations

from stream.ids import entry_of
from stream.vault.envelope import binding


def stream_name(asset: str) -> bytes:
    """The `asset` of a Sealer or an Opener: the id's 16 random bytes, its name in the key tree too."""
    return entry_of(asset)


def write_info(asset: str, app: str) -> bytes:
    """HPKE `info` of an upload's data key, sealed to the gateway."""
    return binding("write", asset=entry_of(asset), fence=0, app=app, data_class="")


def read_info(asset: str, app: str) -> bytes:
    """HPKE `info` of a download's data key, sealed to the gateway."""
    return binding("read", asset=entry_of(asset), fence=0, app=app, data_class="")


def export_info(request: str, app: str) -> bytes:
    """HPKE `info` of everything that is held of somebody, sealed to whoever asked for it."""
    return binding("export", asset=entry_of(request), fence=0, app=app, data_class="")


def disclosure_info(case: bytes, app: str) -> bytes:
    """HPKE `info` of what a case's extract says, sealed to the key that the case names."""
    return binding("disclosure", asset=case, fence=0, app=app, data_class="")


def disclosed_key_info(asset: str, case: bytes, app: str) -> bytes:
    """HPKE `info` of the data key of a picture or video that a case hands out."""
    return binding("disclosed-key", asset=entry_of(asset) + case, fence=0, app=app, data_class="")


def lease_info(asset: str, app: str, *, fence: int, role: str) -> bytes:
    """HPKE `info` of a data key sealed to an engine actor, for one attempt."""
    return binding("lease-key", asset=entry_of(asset), fence=fence, app=app, data_class=role)


def params_info(app: str, *, fence: int) -> bytes:
    """HPKE `info` of a job's parameters, sealed to the key pair of one lease."""
    return binding("lease-params", asset=b"", fence=fence, app=app, data_class="params")
