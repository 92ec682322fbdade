"""The leaf that names the key which signs the log from there on: the first leaf, and one more for each rotation.

The first is signed by the key that it names; each later one by the key before it. So whoever trusts one key of a log
can follow to all after it, offline.
"""

from __future__ import annotations

from typing import Annotated

import msgspec

from stream.audit.receipts import VERSION

PublicHex = Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$")]


class SigningKey(msgspec.Struct, frozen=True, kw_only=True, tag="key", tag_field="kind"):
    """The leaf. `public`: hex of the Ed25519 key that signs what follows; `key_id`: of the key that signed this."""

    version: int = VERSION
    partition: int
    public: PublicHex
    key_id: str
