"""Disclosures: a recorded case hands out what lives of its scope, sealed to the case's own key, and no more than that.

It makes nothing that the policy says is not stored, and moves no deadline (R15). In one commit, before a byte leaves:
a grant's leaf for each key, the leaf of the disclosure, and its record, which names no subject. Pictures leave as the
ciphertext that lies in custody, with their data keys in envelopes: no process of ours opens them.
"""

from __future__ import annotations

from collections import Counter
from typing import Any, ClassVar

import msgspec
import rfc8785

from stream.agents import api_cases as api
from stream.agents import assets, export, orders, records, scope
from stream.agents.book import Asset
from stream.agents.cases import BadCase
from stream.agents.estate import Estate
from stream.agents.held import held
from stream.agents.orders import Order
from stream.audit.disclosures import Disclosure as Leaf
from stream.audit.grants import Grantee
from stream.errors import BadRequest
from stream.events.records import Disclosed
from stream.events.rows import AssetState
from stream.ledger import Change
from stream.metrics import worker as metrics
from stream.policies import disclosures as rules
from stream.policies.vocabulary import Clock, DataClass
from stream.vault import purposes
from stream.vault.envelope import seal_bytes, seal_key

FORMAT = "mayfly/disclosure/1"


class NothingToDisclose(BadRequest):
    """What the case names is erased, was never stored, or is of other classes. Nothing is made for it."""

    kind: ClassVar[str] = "nothing-to-disclose"
    status: ClassVar[int] = 410


class AlreadyDisclosed(BadRequest):
    """This very case handed out its extract: another needs another case."""

    kind: ClassVar[str] = "already-disclosed"
    status: ClassVar[int] = 409


class UnknownDisclosure(BadRequest):
    """No record of this case lives here."""

    kind: ClassVar[str] = "unknown-disclosure"
    status: ClassVar[int] = 404


async def disclose(estate: Estate, ask: api.Disclose) -> api.Extract:
    """Verify, record, and only then seal. A case is executed once, so that leaves count extracts."""
    await estate.book.complete()
    order = ask.order
    orders.check(order, estate.now())
    keys = orders.approved(order, ask.signatures, estate.tools.approvers())
    policy = estate.policy(order.app)
    rule = rules.allowed(policy, order.document, order.classes)
    name = orders.commitment(order)
    if estate.audit.case_disclosed(name.hex()):
        raise AlreadyDisclosed("expected a case that handed out nothing yet: propose another")
    living = [
        asset
        for asset in scope.living(
            estate, app=order.app, tenant=order.tenant, subject=order.subject, assets=order.assets
        )
        if _kept(estate, asset)
    ]
    found = [asset for asset in living if asset.head.data_class in order.classes]
    if not found:
        raise NothingToDisclose("expected something of these classes that lives: nothing is made, or kept, for a case")
    seal_bytes(b"", bytes.fromhex(order.recipient), b"")  # raises NotARecipient before anything is recorded
    change, now = Change(), estate.now()
    for asset in found:
        assets.log_grant(estate, change, asset, Grantee.AUTHORITY, order.until)
        estate.book.put_asset(change, Asset(asset.id, msgspec.structs.replace(asset.head, disclosed=True), asset.body))
    said = Disclosed(
        case=name.hex(),
        authority=order.authority,
        document=order.document,
        document_sha256=order.document_sha256,
        items=dict(sorted(Counter(asset.head.data_class for asset in found).items())),
        at=now,
        clause=rule.clause,
        tell=rule.tell_subject,
    )
    made = records.create(
        estate,
        change,
        app=order.app,
        data_class=DataClass.DISCLOSURE_RECORD,
        tenant=order.tenant,
        subject="",
        value=said,
        clocks={Clock.DISCLOSURE_MADE: now},
    )
    leaf = Leaf(
        partition=estate.partition,
        case=name.hex(),
        app=order.app,
        document=order.document,
        classes=tuple(said.items),
        count=len(found),
        approvers=tuple(keys),
    )
    estate.log(change, lambda log: log.disclosed(leaf))
    await estate.commit(change)
    estate.ledger.check()
    metrics.DISCLOSURES.labels(order.app, order.document).inc()
    return _extract(estate, order, name, found, _view(made, said), passed_over=len(living) - len(found))


async def told(estate: Estate, ask: api.TellDisclosed) -> api.DisclosureView:
    """The subject was told, or may not be: the notice is no longer pending."""
    found = next((one for one in records.saying(estate, Disclosed) if one[1].case == ask.case), None)
    if found is None:
        raise UnknownDisclosure("expected a case whose record lives here")
    asset, said = found
    if not said.tell or said.told_at or said.ground:
        raise BadCase("expected a disclosure of which its subject is still to be told")
    said = msgspec.structs.replace(said, told_at=0.0 if ask.ground else estate.now(), ground=ask.ground)
    change = Change()
    records.rewrite(estate, change, asset, said)
    await estate.commit(change)
    return _view(asset, said)


async def ls(estate: Estate, _ask: api.ListDisclosures) -> api.DisclosuresView:
    """Every record that lives."""
    found = [_view(asset, said) for asset, said in records.saying(estate, Disclosed)]
    await estate.ledger.barrier()
    return api.DisclosuresView(tuple(sorted(found, key=lambda one: one.at)))


def _kept(estate: Estate, asset: Asset) -> bool:
    """Whether its promise still lets it be read; what a hold keeps hidden is kept for just such a case."""
    if asset.head.state is AssetState.HELD:
        return held(estate, asset.head)
    return estate.now() < asset.head.due


def _extract(
    estate: Estate, order: Order, name: bytes, found: list[Asset], view: api.DisclosureView, *, passed_over: int
) -> api.Extract:
    """All sealed. What came due while it was recorded is left out, though the log says that it was meant to go."""
    public = bytes.fromhex(order.recipient)
    pieces: list[api.Piece] = []
    content: dict[str, Any] = {
        "format": FORMAT,
        "case": name.hex(),
        "app": order.app,
        "policy": estate.policy(order.app).hash,
        "at": view.at,
        "records": [],
        "media": [],
    }
    for asset in (estate.book.asset(one.id) for one in found):
        if asset is None or asset.body is None or not _kept(estate, asset):
            continue
        facts: dict[str, Any] = {"class": asset.head.data_class, "since": asset.head.created_at}
        if records.is_record(asset):
            content["records"].append(facts | {"says": msgspec.to_builtins(records.value(asset))})
            continue
        content["media"].append(
            facts | {"id": asset.id, "media_type": asset.body.media_type, "size_bytes": asset.body.size_bytes}
        )
        url = estate.custody.get_url(asset.head.object, int(estate.rules.lease_url_s))
        key = estate.book.key(asset.head.page, asset.id)
        pieces.append(
            api.Piece(asset.id, url, seal_key(key, public, purposes.disclosed_key_info(asset.id, name, order.app)))
        )
        key.wipe()
    sealed = seal_bytes(rfc8785.dumps(export.plain(content)), public, purposes.disclosure_info(name, order.app))
    return api.Extract(view=view, sealed=sealed, pieces=tuple(pieces), passed_over=passed_over)


def _view(asset: Asset, said: Disclosed) -> api.DisclosureView:
    return api.DisclosureView(
        case=said.case,
        app=asset.head.app,
        authority=said.authority,
        document=said.document,
        items=said.items,
        at=said.at,
        kept_until=asset.head.due,
        tell=said.tell,
        told_at=said.told_at,
        ground=said.ground,
    )
