"""What a case names, and lives: all of a subject, or assets by their ids."""

from __future__ import annotations

from collections.abc import Iterable

from stream.agents.book import Asset
from stream.agents.estate import Estate
from stream.events.rows import AssetState
from stream.ids import Kind, UnknownId


def living(estate: Estate, *, app: str, tenant: str, subject: str, assets: Iterable[str] = ()) -> list[Asset]:
    """In the order of their ids, with what a hold hides. Raises UnknownId for another tenant's or app's asset."""
    ids = set(assets)
    for asset_id in ids:
        if estate.mint.check(Kind.ASSET, tenant, asset_id) != estate.partition:
            raise UnknownId("expected assets that lie together: those of one subject")
    if not ids:
        who = estate.book.subjects.get((tenant, app, subject))
        ids = set(estate.book.of_subject.get(who, ())) if who is not None else set()
    found = [asset for row in sorted(ids) if row.startswith(Kind.ASSET.value) and (asset := estate.book.asset(row))]
    if any(asset.head.app != app for asset in found):
        raise UnknownId("expected an asset of this app")
    return [
        asset for asset in found if asset.body is not None and asset.head.state in {AssetState.STORED, AssetState.HELD}
    ]
