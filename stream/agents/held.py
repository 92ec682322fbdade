"""What a legal hold keeps from going: asked wherever an asset is hidden, or its key would die."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import msgspec

from stream.agents.book import Asset
from stream.events.rows import AssetHead, AssetState
from stream.ledger import Change

if TYPE_CHECKING:
    from stream.agents.estate import Estate

HOLD_GROUP = b"hold/"
"""What the group of a held key begins with; the case's commitment, in hex, follows."""


def held(estate: Estate, head: AssetHead) -> bool:
    """Whether a hold keeps this now."""
    return head.hold_until > estate.now()


def keep(estate: Estate, change: Change, found: Iterable[Asset], cause: str) -> list[Asset]:
    """Of what is to go, that which no hold keeps. What is kept is hidden from everybody until its hold ends."""
    free: list[Asset] = []
    for asset in found:
        if not held(estate, asset.head):
            free.append(asset)
        elif asset.head.state is not AssetState.HELD:
            head = msgspec.structs.replace(
                asset.head,
                state=AssetState.HELD,
                hidden_at=asset.head.hidden_at or estate.now(),
                cause=asset.head.cause or cause,
            )
            estate.book.put_asset(change, Asset(asset.id, head, asset.body))
    return free
