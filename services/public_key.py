"""A public key as people pass it on."""

from __future__ import annotations

import base64
import binascii
from typing import ClassVar

from stream.errors import BadRequest

PUBLIC_BYTES = 32


class BadPublicKey(BadRequest):
    """What was given is no Ed25519 public key."""

    kind: ClassVar[str] = "bad-public-key"


def parse_public_key(text: str) -> bytes:
    """32 bytes, from 64 hex digits or from base64. Raises BadPublicKey."""
    try:
        raw = bytes.fromhex(text) if len(text) == 2 * PUBLIC_BYTES else base64.b64decode(text, validate=True)
    except (ValueError, binascii.Error):
        raw = b""
    if len(raw) != PUBLIC_BYTES:
        raise BadPublicKey("expected --key to be a public key: 64 hex digits, or 32 bytes in base64")
    return raw
