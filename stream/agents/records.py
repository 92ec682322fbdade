"""Records: what is kept of a person besides media, with a key, a deadline and a receipt of its own.

A record is an asset whose bytes are in its row: no object, stored as soon as its row is. So pages, drops, erasure,
holds and restore treat it as they treat a picture. It counts from the clocks in its body; one that starts later only
shortens its life. What has a floor (R2) is not erased before it, whoever asks: see `erasable`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TypeVar

import msgspec

from stream.agents import assets
from stream.agents.book import Asset
from stream.agents.estate import Estate
from stream.events import records
from stream.events.rows import AssetBody, AssetState
from stream.ids import Kind
from stream.ledger import Change
from stream.policies import deadlines
from stream.policies.vocabulary import Clock

ROLE = "record"

V = TypeVar("V", bound=records.Value)


def is_record(asset: Asset) -> bool:
    """Whether its bytes are in its row."""
    return asset.head.role == ROLE


def create(
    estate: Estate,
    change: Change,
    *,
    app: str,
    data_class: str,
    tenant: str,
    subject: str,
    value: records.Value,
    clocks: Mapping[Clock, float],
) -> Asset:
    """A new record, readable once its commit is acknowledged. `subject`: a row's id; empty where it is about nobody.

    Raises NoPromise where the policy keeps no such thing, TooShort where its time would be over already.
    """
    body = AssetBody(
        tenant=tenant,
        subject=subject,
        salt=assets.salt(),
        record=records.encode(value),
        clocks={str(clock): at for clock, at in clocks.items()},
    )
    made, _ = assets.make(
        estate, change, app=app, data_class=data_class, job="", role=ROLE, n=0, body=body, clocks=clocks
    )
    return made


def lives(estate: Estate, asset: Asset) -> bool:
    """Whether it is a record that may be read now: its promise has not come due, and nobody asked for its end."""
    head = asset.head
    readable = asset.body is not None and head.state is AssetState.STORED and estate.now() < head.due
    return readable and is_record(asset)


def value(asset: Asset) -> records.Value:
    """What it says."""
    assert asset.body is not None
    return records.decode(asset.body.record)


def rewrite(estate: Estate, change: Change, asset: Asset, said: records.Value) -> Asset:
    """It says something else now; how long it is kept does not change."""
    assert asset.body is not None
    body = msgspec.structs.replace(asset.body, record=records.encode(said))
    return estate.book.put_asset(change, Asset(asset.id, asset.head, body))


def start(estate: Estate, change: Change, asset: Asset, clock: Clock, at: float) -> Asset:
    """A clock of it started: its life gets shorter, or stays as it is (R1, R4)."""
    assert asset.body is not None
    if clock in asset.body.clocks:
        return asset
    clocks = asset.body.clocks | {str(clock): at}
    body = msgspec.structs.replace(asset.body, clocks=clocks)
    return estate.book.put_asset(change, assets.reckon(estate, Asset(asset.id, asset.head, body), started(body)))


def started(body: AssetBody) -> dict[Clock, float]:
    """The clocks of a record."""
    return {Clock(clock): at for clock, at in body.clocks.items()}


def of(estate: Estate, subject_id: str, *classes: str) -> Iterator[Asset]:
    """The living records of a subject, of these classes or of all, in the order of their ids."""
    for row_id in sorted(estate.book.of_subject.get(subject_id, ())):
        asset = estate.book.asset(row_id) if row_id.startswith(Kind.ASSET.value) else None
        if asset is not None and lives(estate, asset) and (not classes or asset.head.data_class in classes):
            yield asset


def saying(estate: Estate, kind: type[V]) -> list[tuple[Asset, V]]:
    """Every living record of the partition that says this kind of thing, with what it says, in the order of ids."""
    found = [estate.book.asset(row_id) for row_id in sorted(estate.book.records)]
    return [
        (asset, said)
        for asset in found
        if asset is not None and lives(estate, asset) and isinstance(said := value(asset), kind)
    ]


def erasable(estate: Estate, found: Iterable[Asset]) -> list[Asset]:
    """Without what must be kept a while longer: neither a request nor an account's end takes it before its floor."""
    return [asset for asset in found if not _floored(estate, asset)]


def _floored(estate: Estate, asset: Asset) -> bool:
    if asset.body is None or not is_record(asset):
        return False
    data_class, clocks, now = asset.head.data_class, started(asset.body), estate.now()
    binding = estate.policy(asset.head.app).binding(asset.head.created_at)
    return all(deadlines.floor(one, data_class, clocks) > now for one in binding)  # R16: no floor comes to it later
