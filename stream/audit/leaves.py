"""Every kind of leaf, each in a module of its own, and what all have in common."""

from __future__ import annotations

from typing import ClassVar

import msgspec

from stream.audit.disclosures import Disclosure
from stream.audit.grants import Grant
from stream.audit.holds import Held, Released
from stream.audit.operated import Operated
from stream.audit.receipts import Absent, Receipt
from stream.audit.signing_key import SigningKey
from stream.errors import BadRequest

Leaf = Receipt | Absent | Grant | SigningKey | Held | Released | Disclosure | Operated

_decoder: msgspec.json.Decoder[Leaf] = msgspec.json.Decoder(Leaf)


class WrongLeaf(BadRequest):
    """What the log holds there is no leaf."""

    kind: ClassVar[str] = "log-wrong-leaf"
    status: ClassVar[int] = 422


def decode(raw: bytes, index: int) -> Leaf:
    """The leaf at `index`. Raises WrongLeaf."""
    try:
        return _decoder.decode(raw)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise WrongLeaf(f"expected a leaf at {index}, got what does not decode: {type(error).__name__}") from None


def kind_of(leaf: Leaf) -> str:
    """Its `kind` in JSON."""
    return str(leaf.__struct_config__.tag)


def signer_of(leaf: Leaf) -> str:
    """The id of the key that must have signed it; empty for a leaf that only the checkpoint vouches for."""
    return str(getattr(leaf, "key_id", ""))
