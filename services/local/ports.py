"""Free TCP ports on loopback."""

from __future__ import annotations

import socket
from contextlib import ExitStack
from typing import Final

LOOPBACK: Final = "127.0.0.1"

GRPC_OFFSET: Final = 10_000
"""SeaweedFS serves gRPC on each HTTP port plus this, so a port is free only if its twin is."""

LOWEST: Final = 10_000
HIGHEST: Final = 30_000
"""Below the kernel's ephemeral range (32768 and up), from which an outgoing connection could take a port that we
have chosen but not yet opened."""


def free_ports(count: int) -> list[int]:
    """`count` different ports in [10000, 30000), each free on loopback together with its gRPC twin.

    All are held while the rest are sought, so one call never returns a port or a twin twice.
    """
    ports: list[int] = []
    with ExitStack() as held:
        while len(ports) < count:
            port = LOWEST + _ephemeral() % (HIGHEST - LOWEST)
            try:
                for candidate in (port, port + GRPC_OFFSET):
                    held.enter_context(socket.socket()).bind((LOOPBACK, candidate))
            except OSError:
                continue
            ports.append(port)
    return ports


def _ephemeral() -> int:
    """The kernel's own choice, which differs between processes that ask at the same moment."""
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        return int(probe.getsockname()[1])
