"""Masses: at a bucket's moment all of its keys die in one commit, whatever their number; its rows are told afterwards.

A row's own deadline is never later than its bucket's, so nothing in a due bucket may live. But a key does not die in
somebody's hands: where a job under way, a reader or an asset on its way out has a row in it, the bucket waits, and
those rows go first, each by itself (retention, closing).

Between the drop and its row's turn an asset is unreadable, and every API says so: its deadline has passed.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from stream.ledger import Change, Commit
from stream.metrics import worker as metrics
from stream.policies.deadlines import bucket_of
from stream.vault.keytree import Place

if TYPE_CHECKING:
    from stream.agents.estate import Estate

log = logging.getLogger(__name__)

PATIENCE_S = 20.0  # an engine's release takes 10 s at most; after this a waiting bucket is erased row by row


@dataclass(slots=True, frozen=True)
class Drop:
    """One erasing commit that took whole buckets. Times are epoch seconds on the promise clock."""

    commit: Commit
    hidden_at: float
    unreadable_at: float


class Drops:
    """One per estate. Remembers which page died when, until all of its rows have been told."""

    def __init__(self, estate: Estate) -> None:
        self._estate = estate
        self._of: dict[bytes, Drop] = {}
        self._waiting: dict[Place, float] = {}  # due, and in somebody's hands since

    def of(self, page: bytes) -> Drop | None:
        """The drop that took this page, if it was this owner's."""
        return self._of.get(page)

    async def take(self) -> list[bytes]:
        """Drop every due bucket that is in nobody's hands. The keys of rows that are, for retention to end."""
        estate, now = self._estate, self._estate.now()
        due = set(estate.pages.due(bucket_of(now)))
        busy: defaultdict[Place, list[str]] = defaultdict(list)
        for row in self._in_hands() if due else ():
            place = estate.pages.place_of(estate.book.page_of(row.encode()))
            if place in due:
                busy[place].append(row)
        self._waiting = {place: self._waiting.get(place, now) for place in busy}
        free = [place for place in due if place not in busy]
        if free and not estate.pages.away:  # else it would wait for the root store, and hold up what is in hands
            await self._drop(free)
        return estate.book.take((row for rows in busy.values() for row in rows), now)

    @property
    def patient(self) -> bool:
        """Whether a bucket waits for its holders, and not too long: then its rows wait with it."""
        return any(self._estate.now() - since < PATIENCE_S for since in self._waiting.values())

    def put_aside(self, keys: list[bytes]) -> list[bytes]:
        """Those of these rows that must be ended one by one; rows of dropped and of waiting buckets are put aside.

        Else whatever comes due a moment after a mass would wait until all of it was told.
        """
        if not self._of and not self._waiting:
            return keys
        book, living, patient = self._estate.book, [], self.patient
        for key in keys:
            page = book.page_of(key)
            if page in self._of or (patient and self._estate.pages.place_of(page) in self._waiting):
                book.put_aside(key)
            else:
                living.append(key)
        return living

    def settled(self) -> None:
        """Forget the drops, if every row of theirs was told."""
        if not self._estate.book.aside:
            self._of.clear()

    def _in_hands(self) -> set[str]:
        """What jobs under way, readers and writers hold, and what is on its way out already."""
        book = self._estate.book
        return {*book.active, *book.users, *book.hidden, *self._estate.grants.assets()}

    async def _drop(self, places: list[Place]) -> None:
        estate = self._estate
        hidden_at = estate.now()
        pages = [page for place in places for page in estate.pages.of(*place)]
        commit = await estate.commit(Change(drop=places))
        drop = Drop(commit, hidden_at, estate.now())
        self._of.update(dict.fromkeys(pages, drop))
        metrics.DROPPED_BUCKETS.inc(len(places))
        metrics.DROP_S.observe(drop.unreadable_at - hidden_at)
        log.info("%d buckets dropped, %d pages: unreadable", len(places), len(pages))
