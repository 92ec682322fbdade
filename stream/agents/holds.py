"""Legal holds: a recorded case keeps what exists a while longer than was promised, hidden from the product (R15).

A held asset's key moves to a page of its own, group `hold/{case}`, in one erasing commit with its row and a leaf of the
log; so the drop of its former bucket passes it by. Until its promise comes due it is an asset like any other. What
would then erase it makes it HELD instead: no API returns it. When the hold ends or is released, a HELD asset is overdue
and is erased at once, for the cause that it was due for.

The page's bucket is the later of the hold's end and the row's own deadline, so that a bucket still never comes due
before its rows; which of the two ends a row is decided by the row.
"""

from __future__ import annotations

from typing import ClassVar

import msgspec

from stream.agents import api, assets, cases, scope
from stream.agents.book import Asset
from stream.agents.estate import Estate
from stream.agents.held import HOLD_GROUP, held
from stream.audit import holds as leaves
from stream.audit.receipts import milliseconds
from stream.errors import BadRequest
from stream.events.rows import AssetState
from stream.ids import entry_of
from stream.ledger import Change
from stream.policies.deadlines import bucket_of


class NoHoldBasis(BadRequest):
    """The app's policy knows no hold, or none on this basis or of such a thing."""

    kind: ClassVar[str] = "no-hold-basis"
    status: ClassVar[int] = 403


class NothingToHold(BadRequest):
    """What the case names is erased, or was never there: a hold brings nothing back, and creates nothing."""

    kind: ClassVar[str] = "nothing-to-hold"
    status: ClassVar[int] = 410


class CaseKnown(BadRequest):
    """This very case was opened before, and released: it must be proposed and approved anew."""

    kind: ClassVar[str] = "case-known"
    status: ClassVar[int] = 409


class UnknownCase(BadRequest):
    """No asset of this partition is held by this case."""

    kind: ClassVar[str] = "unknown-case"
    status: ClassVar[int] = 404


async def open_case(estate: Estate, ask: api.OpenHold) -> api.HoldView:
    """Verify, then hold all of the scope that lives, in one commit. Asked again, it answers what is held."""
    await estate.book.complete()  # who owns what must be known to find a subject's assets
    case = ask.case
    cases.check(case, estate.now())
    keys = cases.approved(case, ask.signatures, estate.tools.approvers())
    name = cases.commitment(case)
    hold = estate.policy(case.app).hold
    if hold is None or case.basis not in hold.basis:
        known = ", ".join(hold.basis) if hold is not None else "none"
        raise NoHoldBasis(f"expected a basis that the policy of this app knows: {known}")
    if estate.audit.case_until(name.hex()):
        await estate.ledger.barrier()  # what it repeats may still be in flight
        before = [asset for asset in _all(estate) if asset.head.hold == name]
        return api.HoldView(case=name.hex(), app=case.app, until=case.until, held=len(before))
    if estate.audit.case_known(name.hex()):
        raise CaseKnown("expected a case that was not released before: propose it anew")
    found = scope.living(
        estate, app=case.app, tenant=case.tenant, subject=case.subject, assets=(case.asset,) if case.asset else ()
    )
    free = [asset for asset in found if not asset.head.hold and asset.head.data_class in hold.of]
    if not found:
        raise NothingToHold("expected something that lives: what this case names is erased, or was never there")
    if not free:
        raise NoHoldBasis("expected what the policy lets be held, and no other case holds, got nothing of it")
    change = Change()
    for asset in free:
        _move(estate, change, asset, name, case.until)
    leaf = leaves.Held(
        partition=estate.partition,
        case=name.hex(),
        app=case.app,
        basis=case.basis,
        count=len(free),
        until_ms=milliseconds(case.until),
        approvers=tuple(keys),
    )
    estate.log(change, lambda log: log.held(leaf))
    await estate.commit(change)
    return api.HoldView(
        case=name.hex(), app=case.app, until=case.until, held=len(free), passed_over=len(found) - len(free)
    )


async def release(estate: Estate, ask: api.ReleaseHold) -> api.HoldView:
    """One approver is enough to let go. What is overdue is erased at once; the rest keeps its own deadline."""
    signed = cases.approvers(cases.release_part(ask.case), ask.signatures, estate.tools.approvers())
    if not signed:
        raise cases.NotApproved("expected a registered approver to have signed this release")
    found = [asset for asset in _all(estate) if asset.head.hold == ask.case]
    if not found:
        raise UnknownCase("expected a case that holds something here")
    change = Change()
    due = [_free(asset) for asset in found]
    for asset in due:
        estate.book.put_asset(change, asset)
    overdue = [asset for asset in due if asset.head.state is AssetState.HELD]
    assets.retire(estate, change, overdue, overdue[0].head.cause if overdue else "")
    leaf = leaves.Released(partition=estate.partition, case=ask.case.hex(), count=len(found), approver=signed[0])
    estate.log(change, lambda log: log.held(leaf))
    await estate.commit(change)
    until = max(asset.head.hold_until for asset in found)
    return api.HoldView(case=ask.case.hex(), app=found[0].head.app, until=until, held=len(found), passed_over=0)


async def ls(estate: Estate, _ask: api.ListHolds) -> api.HoldsView:
    """Every case that holds something here now."""
    by_case: dict[bytes, list[Asset]] = {}
    for asset in _all(estate):
        if held(estate, asset.head):
            by_case.setdefault(asset.head.hold, []).append(asset)
    return api.HoldsView(
        tuple(
            api.HoldView(case=name.hex(), app=found[0].head.app, until=found[0].head.hold_until, held=len(found))
            for name, found in sorted(by_case.items())
        )
    )


def _move(estate: Estate, change: Change, asset: Asset, name: bytes, until: int) -> None:
    group, bucket = HOLD_GROUP + name.hex().encode(), bucket_of(max(until, asset.head.due))
    page = estate.pages.copy(asset.head.page, entry_of(asset.id), group, bucket)
    assert page is not None  # its body was just opened under this key
    change.erase.append((asset.head.page, entry_of(asset.id)))
    head = msgspec.structs.replace(asset.head, page=page, hold=name, hold_until=float(until))
    estate.book.put_asset(change, Asset(asset.id, head, asset.body))


def _free(asset: Asset) -> Asset:
    return Asset(asset.id, msgspec.structs.replace(asset.head, hold=b"", hold_until=0.0, released=True), asset.body)


def _all(estate: Estate) -> list[Asset]:
    """Every asset that a case was opened over."""
    return [asset for asset_id in sorted(estate.book.held) if (asset := estate.book.asset(asset_id)) is not None]
