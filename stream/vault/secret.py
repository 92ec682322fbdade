"""Keys and plaintext as types: they hide in a repr, refuse to be pickled, and can be wiped.

Refusing pickle keeps both out of Ray's object store, which spills to disk: across a process border a key goes sealed
to a recipient (`envelope`) or not at all.
"""

from __future__ import annotations

import hmac
import secrets
from typing import NoReturn, Self

from cryptography.utils import Buffer

from stream.errors import BrokenPromise

KEY_BYTES = 32
_DERIVE = b"mayfly/derive/1/"


class Tampered(BrokenPromise):
    """What came is not what was sealed here, for this place, under this key: which of the three is never said."""

    kind = "tampered"


class Truncated(Tampered):
    """A sealed stream ended before its last chunk: the object is shorter than what was sealed."""

    kind = "truncated"


class Wiped(BrokenPromise):
    """A key or plaintext was used after it had been wiped."""

    kind = "wiped"


class _Hidden:
    """Bytes of ours that nothing shows, copies by accident, or keeps after `wipe()`."""

    __slots__ = ("_raw", "_wiped")
    __hash__ = None  # type: ignore[assignment]  # what can be wiped is no dictionary key

    def __init__(self, raw: bytearray) -> None:
        self._raw = raw
        self._wiped = False

    @property
    def view(self) -> memoryview:
        """The bytes themselves, not a copy; they turn to zeros when wiped. Raises `Wiped` afterwards."""
        if self._wiped:
            raise Wiped(f"expected a live {type(self).__name__}, it was wiped: ask its owner for a new grant")
        return memoryview(self._raw).toreadonly()

    def wipe(self) -> None:
        """Overwrite the bytes with zeros, for every view of them too. Idempotent."""
        self._raw[:] = bytes(len(self._raw))
        self._wiped = True

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and isinstance(other, _Hidden) and hmac.compare_digest(self._raw, other._raw)

    def __repr__(self) -> str:
        return f"<{type(self).__name__}>"

    def __reduce__(self) -> NoReturn:
        raise TypeError(f"a {type(self).__name__} never leaves its process: seal it to a recipient instead")


class Key(_Hidden):
    """A 256-bit data key. Equality is constant-time; there is no hash."""

    __slots__ = ()

    def __init__(self, raw: Buffer) -> None:
        """Copy `raw` (exactly 32 bytes); the caller wipes its own copy."""
        super().__init__(bytearray(raw))
        if len(self._raw) != KEY_BYTES:
            raise ValueError(f"expected a key of {KEY_BYTES} bytes, got {len(self._raw)}")

    @classmethod
    def new(cls) -> Self:
        """A fresh random key."""
        return cls(secrets.token_bytes(KEY_BYTES))

    def derive(self, purpose: bytes, salt: bytes = b"") -> Key:
        """A key for one purpose (HKDF-SHA256, RFC 5869): what is learnt of one says nothing of the others.

        Written out, since one block of output is two HMACs: 3 µs against 12 with cryptography's HKDF object, and a
        takeover derives one key for each row.
        """
        pseudorandom = hmac.digest(salt, self.view, "sha256")
        return Key(hmac.digest(pseudorandom, _DERIVE + purpose + b"\x01", "sha256"))


class Plaintext(_Hidden):
    """Opened media. Its holder wipes it; `len()` is its size in bytes."""

    __slots__ = ()

    def __len__(self) -> int:
        return len(self._raw)
