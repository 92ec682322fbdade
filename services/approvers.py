"""Who may approve legal holds: one JSON object, name → public key. The operator writes it; owners read it each time.

An approver's private key is a file of 32 random bytes that only they have: no process of the system ever reads it.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import ClassVar

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from services.public_key import parse_public_key
from stream.errors import BadRequest

SEED_BYTES = 32


class BadApprovers(BadRequest):
    """The list of approvers, or an approver's key, cannot be read: nobody can approve anything."""

    kind: ClassVar[str] = "bad-approvers"


def registered(path: str) -> dict[str, bytes]:
    """Name → public key; nobody where no list is named. Raises BadApprovers or BadPublicKey."""
    if not path:
        return {}
    try:
        named = msgspec.json.decode(Path(path).read_bytes(), type=dict[str, str])
    except (OSError, msgspec.MsgspecError) as error:
        raise BadApprovers(f"expected a JSON object of names and public keys: {type(error).__name__}") from None
    return {name: parse_public_key(text) for name, text in named.items()}


def make_key(path: Path) -> bytes:
    """A fresh private key in a file that only its owner may read; the public key. Raises BadApprovers."""
    seed = os.urandom(SEED_BYTES)
    try:
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(file, "wb") as writing:
            writing.write(seed)
    except OSError as error:
        raise BadApprovers(f"expected to make a new file for the key, got: {error.strerror}") from None
    return Ed25519PrivateKey.from_private_bytes(seed).public_key().public_bytes_raw()


def sign(path: Path, message: bytes) -> bytes:
    """The approver's signature. Raises BadApprovers."""
    try:
        return Ed25519PrivateKey.from_private_bytes(path.read_bytes()).sign(message)
    except (OSError, ValueError) as error:
        raise BadApprovers(f"expected the file of a private key ({SEED_BYTES} bytes): {type(error).__name__}") from None
