"""Sealed bodies of Kafka rows and events: small, whole, bound to the place where they lie.

    version (1 byte, 0x01) ‖ nonce (12 random bytes) ‖ AES-256-GCM ciphertext ‖ tag (16)

`place` says where the body belongs (topic, record key, clear header), so that nobody with write access to a topic can
move one row's body to another. Random nonces are safe for 2^32 bodies under one key (NIST SP 800-38D, 8.3): a job or a
subject has a handful.
"""

from __future__ import annotations

import contextlib
import secrets

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from stream.vault.secret import Key, Tampered

_VERSION = b"\x01"
_NONCE_BYTES = 12
_TAG_BYTES = 16
OVERHEAD_BYTES = len(_VERSION) + _NONCE_BYTES + _TAG_BYTES


def seal_body(key: Key, plaintext: bytes, place: bytes) -> bytes:
    """`plaintext` sealed for `place`; `OVERHEAD_BYTES` longer."""
    nonce = secrets.token_bytes(_NONCE_BYTES)
    return _VERSION + nonce + _cipher(key).encrypt(nonce, plaintext, place)


def open_body(key: Key, sealed: bytes, place: bytes) -> bytes:
    """What `seal_body` was given. Raises `Tampered` for any other key, place or bytes."""
    nonce, body = sealed[1 : 1 + _NONCE_BYTES], sealed[1 + _NONCE_BYTES :]
    if len(body) >= _TAG_BYTES and sealed.startswith(_VERSION):
        with contextlib.suppress(InvalidTag):
            return _cipher(key).decrypt(nonce, body, place)
    raise Tampered(
        f"expected a body sealed for this place under this key, got {len(sealed)} bytes that are not: park it"
    )


def _cipher(key: Key) -> AESGCM:
    # Derived, so that a key that also seals a stream never meets the same AES key twice.
    return AESGCM(key.derive(b"record").view)
