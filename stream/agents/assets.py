"""Assets: each is promised something when it is made, and keeps to it until its key dies."""

from __future__ import annotations

import math
import secrets
from collections.abc import Iterable, Mapping
from typing import ClassVar

import msgspec

from stream import topics
from stream.agents.book import Asset, Job, batched
from stream.agents.drops import Drop
from stream.agents.estate import Estate
from stream.agents.held import keep
from stream.audit import grants as audit_grants
from stream.audit.grants import Grantee
from stream.audit.receipts import SALT_BYTES, commitment, milliseconds
from stream.errors import BadRequest
from stream.events.bus import ExpireDue, bus
from stream.events.rows import AssetBody, AssetHead, AssetState
from stream.ids import Kind, entry_of
from stream.ledger import Change, Outgoing
from stream.policies import deadlines
from stream.policies.vocabulary import Clock
from stream.vault.secret import Key

OBJECT_BYTES = 16
EXPIRE_BATCH = 1000


class Gone(BadRequest):
    """It was yours, and is no more."""

    kind: ClassVar[str] = "gone"
    status: ClassVar[int] = 410


class TooShort(BadRequest):
    """What is promised of this would come due before it could be used."""

    kind: ClassVar[str] = "promise-too-short"
    status: ClassVar[int] = 422


def make(
    estate: Estate,
    change: Change,
    *,
    app: str,
    data_class: str,
    job: str,
    role: str,
    n: int,
    body: AssetBody,
    clocks: Mapping[Clock, float],
    urls_until: float = 0.0,
) -> tuple[Asset, Key]:
    """Row before object: a pending asset and its key, in the page of its class's final ceiling. Raises TooShort."""
    policy = estate.policy(app)
    line = _line(estate, app, data_class, body, clocks, made_at=estate.now(), page=True)
    if line.due <= estate.now():
        raise TooShort(f"expected more than {estate.rules.lead_s:.0f} s until {line.clause} comes due")
    asset_id = estate.mint.mint(Kind.ASSET, body.tenant, estate.partition)
    page, key = estate.book.new_key(f"{policy.app}/{data_class}", line.bucket, asset_id)
    head = AssetHead(
        app=app,
        data_class=data_class,
        state=AssetState.STORED if body.record else AssetState.PENDING,
        job=job,
        role=role,
        n=n,
        object="" if body.record else secrets.token_hex(OBJECT_BYTES),
        page=page,
        created_at=estate.now(),
        ceiling=line.ceiling,
        due=line.due,
        clause=line.clause,
        leaf=commitment(body.salt, asset_id, data_class, milliseconds(line.due)),
        urls_until=urls_until,
    )
    return estate.book.put_asset(change, Asset(asset_id, head, body)), key


def salt() -> bytes:
    """A fresh salt for a body: with it alone a commitment can be opened."""
    return secrets.token_bytes(SALT_BYTES)


def started(asset: Asset) -> float:
    """When the clock `upload_received` began for it, or for what it was made from: never later than the upload."""
    return asset.head.created_at


def immediately(estate: Estate, asset: Asset, clocks: Mapping[Clock, float]) -> bool:
    """Whether, with these clocks started, the asset must go in this very step (R7)."""
    assert asset.body is not None
    head = asset.head
    return _line(estate, head.app, head.data_class, asset.body, clocks, made_at=head.created_at).ceiling <= estate.now()


def reckon(estate: Estate, asset: Asset, clocks: Mapping[Clock, float], *, data_class: str = "") -> Asset:
    """The asset with its deadline as these clocks have it, never later than before (R1, R4)."""
    assert asset.body is not None
    data_class = data_class or asset.head.data_class
    found = _reading(estate, asset.head.app, data_class, asset.body, clocks, made_at=asset.head.created_at)
    line = deadlines.deadline(found, lead_s=estate.rules.lead_s)
    ceiling, due, clause = asset.head.ceiling, asset.head.due, asset.head.clause
    if line.ceiling < ceiling:
        # Where only the return is awaited, there is no lead to take: the wait itself is a setting of ours.
        ceiling, clause = line.ceiling, line.clause
        due = min(due, line.ceiling if found.on_return else line.due)
    head = msgspec.structs.replace(
        asset.head,
        data_class=data_class,
        ceiling=ceiling,
        due=due,
        clause=clause,
        on_return=found.on_return,
        leaf=commitment(asset.body.salt, asset.id, data_class, milliseconds(due)),
    )
    return Asset(asset.id, head, asset.body)


def hide(estate: Estate, change: Change, assets: Iterable[Asset], cause: str) -> None:
    """From now on no API returns them; their keys die once every holder has let go."""
    for asset in keep(estate, change, assets, cause):
        if asset.head.state in {AssetState.PENDING, AssetState.STORED, AssetState.HELD}:
            head = msgspec.structs.replace(
                asset.head,
                state=AssetState.HIDDEN,
                hidden_at=asset.head.hidden_at or estate.now(),
                cause=asset.head.cause or cause,
                receipt=-1,
            )
            estate.book.put_asset(change, Asset(asset.id, head, asset.body))


def forget(estate: Estate, change: Change, assets: Iterable[Asset], cause: str) -> list[str]:
    """Their keys die in this commit. What is left of each is a header for the sweeper. Returns their ids."""
    dying: list[str] = []
    for asset in keep(estate, change, assets, cause):
        if asset.head.state is AssetState.DEAD:
            continue
        change.erase.append((asset.head.page, entry_of(asset.id)))
        head = msgspec.structs.replace(
            asset.head,
            state=AssetState.DEAD,
            hidden_at=asset.head.hidden_at or estate.now(),
            cause=asset.head.cause or cause,
            receipt=-1,
        )
        estate.book.put_asset(change, Asset(asset.id, head, None))
        estate.book.detach(asset.id)
        dying.append(asset.id)
    if dying:
        change.then.append(lambda commit: estate.certifier.died(dying, commit))
    return dying


def dropped(estate: Estate, change: Change, found: list[Asset], cause: str) -> None:
    """Their keys died with their bucket: each row becomes a header for the sweeper, and a receipt covers it."""
    groups: dict[Drop | None, list[Asset]] = {}
    for asset in found:
        drop = estate.drops.of(asset.head.page)
        head = msgspec.structs.replace(
            asset.head,
            state=AssetState.DEAD,
            hidden_at=asset.head.hidden_at or (estate.now() if drop is None else drop.hidden_at),
            cause=asset.head.cause or cause,
        )
        estate.book.detach(asset.id)
        groups.setdefault(drop, []).append(Asset(asset.id, head, None))
    for drop, gone in groups.items():
        if drop is None:  # a former owner's: what it measured died with it
            estate.certifier.certify(change, gone, estate.certifier.unknown(), estate.now())
        else:
            estate.certifier.certify(change, gone, drop.commit, drop.unreadable_at)


def retire(estate: Estate, change: Change, found: Iterable[Asset], cause: str) -> None:
    """Hide them now; the `expire` agent does the rest."""
    found = [asset for asset in found if asset.head.state is not AssetState.DEAD]
    hide(estate, change, found, cause)
    for ids in batched([asset.id for asset in found], EXPIRE_BATCH):
        event = ExpireDue(assets=tuple(ids), cause=cause, at=estate.now())
        change.events.append(Outgoing(topics.EXPIRE, b"%d" % estate.partition, bus.encode(event)))


def readable(estate: Estate, asset: Asset | None) -> Asset:
    """The asset, if its bytes may be returned now. Raises Gone."""
    if asset is None or asset.body is None or asset.head.state is not AssetState.STORED:
        raise Gone("this asset was yours; it is gone, or not yet there")
    if estate.now() >= asset.head.due:
        raise Gone("this asset was yours; its promise came due")
    return asset


def log_grant(estate: Estate, change: Change, asset: Asset, grantee: Grantee, until: float) -> None:
    """The leaf that says this key was released, until `until` (real time): committed before it is."""
    assert asset.body is not None
    leaf = audit_grants.grant(asset.body.salt, asset.id, grantee, milliseconds(until))
    estate.log(change, lambda log: log.grant(leaf))


def owned(estate: Estate, job: Job) -> list[Asset]:
    """What this job brought into being and is not dead or held: not the saved assets that it only used."""
    return [
        asset
        for asset in estate.book.assets_of(job)
        if asset.head.job == job.id and asset.head.state not in {AssetState.HELD, AssetState.DEAD}
    ]


def _reading(
    estate: Estate, app: str, data_class: str, body: AssetBody, clocks: Mapping[Clock, float], *, made_at: float
) -> deadlines.Ceiling:
    return deadlines.binding(
        estate.policy(app),
        data_class,
        collected_at=min((made_at, *clocks.values())),  # R10: what it was made from may have been promised less
        choice=body.choice,
        has_face=body.has_face,
        clocks=clocks,
        returned_within_s=math.floor(estate.rules.returned_max_s),
    )


def _line(
    estate: Estate,
    app: str,
    data_class: str,
    body: AssetBody,
    clocks: Mapping[Clock, float],
    *,
    made_at: float,
    page: bool = False,
) -> deadlines.Deadline:
    width_s = deadlines.bucket_width_s(estate.policy(app), data_class) if page else 1
    found = _reading(estate, app, data_class, body, clocks, made_at=made_at)
    return deadlines.deadline(found, lead_s=estate.rules.lead_s, width_s=width_s)
