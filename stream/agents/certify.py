"""Receipts: one for each app and cause of an erasing commit, once its older roots are destroyed."""

from __future__ import annotations

import asyncio
import math
from collections import Counter, defaultdict
from collections.abc import Callable
from typing import TYPE_CHECKING

import msgspec

from stream.agents.book import Asset, batched
from stream.audit.log import Entry, Log
from stream.audit.receipts import Cause, Covered, Erasure, Residue, milliseconds
from stream.events.rows import AssetState
from stream.ledger import Change, Commit
from stream.metrics import erasures as metrics

if TYPE_CHECKING:
    from stream.agents.estate import Estate

UNKNOWN_OFFSET = -1
"""Of an erasing commit whose owner died before its receipt: the next owner certifies what it finds."""


UNCOUNTED = -1

DISCLOSED, NO_END = "disclosed", 0
"""The residue of what a case handed out: an authority has a copy and its key, and nobody here knows until when."""

PORTION = 16_384
"""Assets in one receipt: its commitments must fit a Kafka record."""


class Certifier:
    """One per estate."""

    def __init__(self, estate: Estate) -> None:
        self.outstanding: Counter[int] = Counter()  # receipt → assets not yet verified absent
        self._estate = estate
        self._died: list[tuple[list[str], Commit, float]] = []

    def died(self, asset_ids: list[str], commit: Commit) -> None:
        """The keys of these are dead, and older roots destroyed. All of one commit are certified together."""
        if not self._died:
            asyncio.get_running_loop().call_soon(self._certify)
        self._died.append((asset_ids, commit, self._estate.now()))  # before whoever waits for the commit goes on

    @property
    def behind(self) -> bool:
        """Whether something died whose receipt is not applied yet, for the rest of this turn of the loop."""
        return bool(self._died)

    def resume(self) -> None:
        """Certify what a former owner erased and did not live to certify; count what the sweeper has left to do."""
        silent: list[str] = []
        for asset_id in self._estate.book.dead:
            asset = self._estate.book.asset(asset_id)
            assert asset is not None
            if asset.head.receipt < 0:
                silent.append(asset_id)
            else:
                self.outstanding[asset.head.receipt] += 1
        if silent:
            self.died(silent, self.unknown())

    def unknown(self) -> Commit:
        """An erasing commit that a former owner made: its root is dead, and more is not known of it."""
        return Commit(0.0, UNKNOWN_OFFSET, self._estate.pages.root_version)

    def certify(self, change: Change, assets: list[Asset], commit: Commit, unreadable_at: float) -> None:
        """Receipts for these, which died in `commit`: their rows say DEAD, and from this change on who certifies it."""
        estate = self._estate
        groups: defaultdict[tuple[str, str], list[Asset]] = defaultdict(list)
        for asset in assets:
            groups[asset.head.app, asset.head.cause].append(asset)
        for (app, cause), found in groups.items():
            kept = self._kept(app, cause)
            for portion in batched(found, PORTION):
                index = estate.log(change, self._receipt(app, cause, commit, portion, unreadable_at, holds=len(kept)))
                for asset in kept:
                    head = msgspec.structs.replace(asset.head, receipt=index)
                    estate.book.put_asset(change, Asset(asset.id, head, asset.body))
                kept = []
                self.outstanding[index] = len(portion)
                for asset in portion:
                    _measure(asset, unreadable_at)
                    head = msgspec.structs.replace(asset.head, receipt=index, unreadable_at=unreadable_at)
                    estate.book.put_asset(change, Asset(asset.id, head, None))
        if groups:
            change.then.append(lambda _: estate.sweeper.wake())

    def _certify(self) -> None:
        estate = self._estate
        died, self._died = self._died, []
        if estate.ledger.lost is not None:
            return  # the next owner will
        by_commit: defaultdict[Commit, list[Asset]] = defaultdict(list)
        change, now = Change(), max(at for _, _, at in died)
        for asset_ids, commit, _ in died:
            for asset_id in asset_ids:
                if (asset := estate.book.asset(asset_id)) is not None and asset.head.receipt < 0:
                    by_commit[commit].append(asset)
        for commit, assets in by_commit.items():
            self.certify(change, assets, commit, now)
        estate.commit(change)

    def _kept(self, app: str, cause: str) -> list[Asset]:
        """What was due for this cause and is kept by a legal hold: each is counted by one receipt, the next one."""
        held = [
            asset for asset_id in self._estate.book.held if (asset := self._estate.book.asset(asset_id)) is not None
        ]
        return [
            asset
            for asset in held
            if asset.head.state is AssetState.HELD
            and (asset.head.app, asset.head.cause, asset.head.receipt) == (app, cause, UNCOUNTED)
        ]

    def _receipt(
        self, app: str, cause: str, commit: Commit, assets: list[Asset], now: float, *, holds: int
    ) -> Callable[[Log], Entry]:
        estate = self._estate
        covered: defaultdict[tuple[str, int], list[bytes]] = defaultdict(list)
        for asset in assets:
            covered[asset.head.data_class, milliseconds(asset.head.due)].append(asset.head.leaf)
        residues = tuple(
            Residue(name=name, count=count, until_ms=milliseconds(until))
            for name, count, until in estate.grants.residues([asset.id for asset in assets])
        )
        if copies := sum(asset.head.disclosed for asset in assets):
            residues = (*residues, Residue(name=DISCLOSED, count=copies, until_ms=NO_END))
        erasure = Erasure(
            app=app,
            cause=Cause(cause),
            root_version=commit.root,
            root_claim=estate.pages.claim,
            keys_offset=commit.keys_offset,
            t_hidden_ms=milliseconds(max(asset.head.hidden_at for asset in assets)),
            t_unreadable_ms=milliseconds(now),
            policy_hash=estate.policy(app).hash,
            holds=holds,
            residues=residues,
        )
        groups = [Covered.of(*of, leaves) for of, leaves in sorted(covered.items())]
        return lambda log: log.erased(erasure, groups)


def _measure(asset: Asset, unreadable_at: float) -> None:
    """Seconds to its ceiling: of what has one, and no hold was to keep beyond it."""
    head = asset.head
    if math.isfinite(head.ceiling) and not head.hold and not head.released:
        metrics.SLACK_S.labels(head.app, head.data_class).observe(head.ceiling - unreadable_at)
