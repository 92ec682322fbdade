"""Cases that hand something out: what an operator asks the owner, and what it hears."""

from __future__ import annotations

import msgspec

from stream.agents.orders import Order


class Disclose(msgspec.Struct, frozen=True):
    """Hand out what a case names, once. → Extract."""

    order: Order
    signatures: dict[str, bytes]  # approver's name → Ed25519 over orders.signed_part


class TellDisclosed(msgspec.Struct, frozen=True, omit_defaults=True):
    """The subject was told; or may not be, on a ground. → DisclosureView."""

    case: str
    ground: str = ""


class ListDisclosures(msgspec.Struct, frozen=True):
    """The records of one partition. → DisclosuresView."""


class Piece(msgspec.Struct, frozen=True):
    """A picture or video as it lies in custody: ciphertext, and its data key sealed to the case's recipient."""

    asset: str
    url: str
    sealed_key: bytes

    def __repr__(self) -> str:
        return "<Piece>"


class DisclosureView(msgspec.Struct, frozen=True, omit_defaults=True):
    """A disclosure's record."""

    case: str  # hex of its commitment
    app: str
    authority: str
    document: str
    items: dict[str, int]  # class → how many
    at: float
    kept_until: float
    tell: bool = False
    told_at: float = 0.0
    ground: str = ""


class DisclosuresView(msgspec.Struct, frozen=True):
    """Oldest first."""

    disclosures: tuple[DisclosureView, ...]


class Extract(msgspec.Struct, frozen=True):
    """What leaves: all of it sealed. `passed_over`: what lives in the scope and was not to be handed out."""

    view: DisclosureView
    sealed: bytes
    pieces: tuple[Piece, ...]
    passed_over: int


VERBS: dict[str, tuple[type[msgspec.Struct], type[msgspec.Struct]]] = {
    "disclose": (Disclose, Extract),
    "tell_disclosed": (TellDisclosed, DisclosureView),
    "list_disclosures": (ListDisclosures, DisclosuresView),
}
