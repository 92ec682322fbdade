"""What of a backup may come back to a partition: rows, keys and log in, verdicts out. Pure; the shell commits them.

The tree is its own suppression list: `keys` is never restored, so a row whose key is not in the *present* tree was
erased since, and is dropped. Of the others only what the backup can vouch for stays: nothing that changed after it may
be undone in anybody's disfavour. A key that no row names any more belongs to something younger than the backup, which
nobody could ever find again: it dies.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

import msgspec

from stream.agents.held import HOLD_GROUP
from stream.audit.log import Log
from stream.audit.receipts import Cause
from stream.events.rows import (
    AssetHead,
    AssetState,
    JobHead,
    JobState,
    Offsets,
    Parked,
    SubjectBody,
    SubjectHead,
    rows,
)
from stream.ids import entry_of
from stream.policies import consents
from stream.vault.pages import KeyPages
from stream.vault.record import open_body, seal_body

RESTORED = "restored"
"""The reason of a job that was under way when the backup was made."""


class Why(StrEnum):
    """Why a row of a backup does not come back."""

    ERASED = "erased"  # its key is not in the present tree
    ANNOUNCED = "erasure-announced"  # `expire.due` named it, or it was hidden: its key dies now
    IN_FLIGHT = "job-in-flight"  # its job had not ended: later deadlines of it are not in the backup
    HOLD_OVER = "hold-over"  # a case took it after the backup, and has ended or was released
    NO_OBJECT = "object-missing"  # neither the bucket nor the backup has its bytes
    NOTHING_LEFT = "nothing-left"  # a job of which no asset lives
    OVER = "over"  # a parked event past its time
    OFFSETS = "offsets"  # of input topics, which may have been made anew


@dataclass(slots=True, frozen=True, kw_only=True)
class Now:
    """What is known at present. `page_of`: every live entry; `announced`: assets whose erasure was decided."""

    page_of: Mapping[bytes, bytes]
    announced: frozenset[str]
    objects: frozenset[str]  # in the bucket, or in the backup
    at: float  # promise clock
    content_free_s: float


@dataclass(slots=True)
class Plan:
    """What to write. `erase`: (page, entry), all in one commit, before any row."""

    rows: dict[bytes, bytes] = field(default_factory=dict)
    erase: list[tuple[bytes, bytes]] = field(default_factory=list)
    objects: set[str] = field(default_factory=set)  # that rows which come back name
    kept: Counter[tuple[str, str, str]] = field(default_factory=Counter)  # (kind, app, class)
    dropped: Counter[tuple[str, str, str, Why]] = field(default_factory=Counter)
    consents_withdrawn: int = 0
    jobs_failed: int = 0
    keys_without_row: int = 0
    erased_without_receipt: int = 0


def plan(backup: Mapping[bytes, bytes], pages: KeyPages, log: Log, now: Now) -> Plan:
    """Decide on every row of one partition. Raises Tampered for a body that its own key does not open."""
    return _Planner(backup, pages, log, now).run()


class _Planner:
    def __init__(self, backup: Mapping[bytes, bytes], pages: KeyPages, log: Log, now: Now) -> None:
        self._pages, self._log, self._now = pages, log, now
        self._plan = Plan()
        self._headers = {key.decode(): rows.decode(value) for key, value in backup.items()}
        self._named: set[bytes] = set()  # entries of rows that come back with their key
        self._living: Counter[str] = Counter()  # job → assets of it that come back

    def run(self) -> Plan:
        found = self._headers.items()
        for row_id, (head, sealed) in found:
            if isinstance(head, AssetHead):
                self._asset(row_id, head, sealed)
        for row_id, (head, sealed) in found:
            if isinstance(head, JobHead):
                self._job(row_id, head, sealed)
            elif isinstance(head, SubjectHead):
                self._subject(row_id, head, sealed)
            elif isinstance(head, Parked):
                self._parked(row_id, head, sealed)
            elif isinstance(head, Offsets):
                self._drop("offsets", "", "", Why.OFFSETS)
        of_rows = {entry_of(row_id) for row_id, (head, _) in found if _keyed(head)}
        for entry, page in self._now.page_of.items():
            if entry not in self._named:
                self._plan.erase.append((page, entry))
                self._plan.keys_without_row += entry not in of_rows
        return self._plan

    def _asset(self, row_id: str, head: AssetHead, sealed: bytes) -> None:
        if head.state is AssetState.DEAD:
            self._dead(row_id, head)
            return
        page = self._now.page_of.get(entry_of(row_id))
        if page is None:
            self._erased(row_id, head)
        elif (held := self._held(head, page)) is not None and self._whole(head):
            self._plan.objects.add(head.object)
            self._keep(row_id, held, sealed)
        elif page != head.page:
            self._forget(row_id, head, Why.HOLD_OVER)
        elif (why := self._doubt(row_id, head)) is not None:
            self._forget(row_id, head, why)
        else:
            self._living[head.job] += 1
            self._plan.objects.add(head.object)
            self._keep(row_id, head, sealed)

    def _held(self, head: AssetHead, page: bytes) -> AssetHead | None:
        """The row as a case holds it now, by its key's page and the log. Hidden: it may have come due meanwhile."""
        group, _ = self._pages.place_of(page) or (b"", b"")
        case = group.removeprefix(HOLD_GROUP).decode() if group.startswith(HOLD_GROUP) else ""
        until = self._log.case_until(case)
        if until <= self._now.at:
            return None
        return msgspec.structs.replace(
            head,
            page=page,
            hold=bytes.fromhex(case),
            hold_until=until,
            state=AssetState.HELD,
            hidden_at=head.hidden_at or self._now.at,
            cause=head.cause or Cause.RESTORE,
        )

    def _doubt(self, row_id: str, head: AssetHead) -> Why | None:
        """Why a row whose key lives must go all the same."""
        job = self._headers.get(head.job)
        if head.state is AssetState.HIDDEN or row_id in self._now.announced:
            return Why.ANNOUNCED
        if job is not None and isinstance(job[0], JobHead) and not job[0].state.ended:
            return Why.IN_FLIGHT
        return None if self._whole(head) else Why.NO_OBJECT

    def _whole(self, head: AssetHead) -> bool:
        """Whether its bytes are there: in the bucket, in the backup, or, of a record, in the row itself."""
        return not head.object or head.object in self._now.objects

    def _dead(self, row_id: str, head: AssetHead) -> None:
        """Dead when the backup was made: its commitment is final, so its receipt can be looked up by it."""
        receipt = self._log.covering(head.leaf)
        if receipt is not None and self._log.completed(receipt):
            self._drop("asset", head.app, head.data_class, Why.ERASED)
        else:
            self._write_dead(row_id, head, -1 if receipt is None else receipt, head.cause)

    def _erased(self, row_id: str, head: AssetHead) -> None:
        """Erased after the backup. No second receipt is made for it, even where none is found.

        Its class and deadline may have changed between backup and end, and with them the commitment that its receipt
        covers: a receipt made from this row could contradict that one.
        """
        self._drop("asset", head.app, head.data_class, Why.ERASED)
        receipt = self._log.covering(head.leaf)
        if receipt is None:
            self._plan.erased_without_receipt += 1
        elif not self._log.completed(receipt):
            self._write_dead(row_id, head, receipt, head.cause or Cause.RESTORE)

    def _forget(self, row_id: str, head: AssetHead, why: Why) -> None:
        """Its key lives, and dies in the restore: the owner that opens the partition makes the receipt."""
        self._drop("asset", head.app, head.data_class, why)
        self._write_dead(row_id, head, -1, head.cause or Cause.RESTORE)

    def _write_dead(self, row_id: str, head: AssetHead, receipt: int, cause: str) -> None:
        dead = msgspec.structs.replace(
            head, state=AssetState.DEAD, hidden_at=head.hidden_at or self._now.at, cause=cause, receipt=receipt
        )
        self._plan.rows[row_id.encode()] = rows.encode(dead)

    def _job(self, row_id: str, head: JobHead, sealed: bytes) -> None:
        if not head.page:
            self._keep(row_id, head, sealed)
        elif self._now.page_of.get(entry_of(row_id)) != head.page:
            self._drop("job", head.app, "", Why.ERASED)
        elif not head.state.ended:
            self._plan.jobs_failed += 1
            failed = msgspec.structs.replace(
                head, state=JobState.FAILED, ending=None, actor="", reason=RESTORED, ended_at=self._now.at
            )
            self._content_free(row_id, failed)
        elif self._living[row_id]:
            self._keep(row_id, head, sealed)
        else:
            self._drop("job", head.app, "", Why.NOTHING_LEFT)
            self._content_free(row_id, head)

    def _content_free(self, row_id: str, head: JobHead) -> None:
        due = min(head.due, head.ended_at + self._now.content_free_s)
        self._plan.rows[row_id.encode()] = rows.encode(msgspec.structs.replace(head, page=b"", due=due))

    def _subject(self, row_id: str, head: SubjectHead, sealed: bytes) -> None:
        entry = entry_of(row_id)
        if self._now.page_of.get(entry) != head.page:
            self._drop("subject", head.app, "", Why.ERASED)
            return
        place = row_id.encode()
        key = self._pages.key(head.page, entry)
        assert key is not None  # its page was just looked up
        try:
            body = msgspec.msgpack.decode(open_body(key, sealed, place), type=SubjectBody)
            ledger, withdrawn = consents.withdraw_all(
                consents.ledger_of(body), at=self._now.at, how=consents.How.RESTORE
            )
            if withdrawn or body.age:  # a later band may have asked for a guardian: it is asked for again
                body = msgspec.structs.replace(body, consents={}, history=ledger, age="")
                sealed = seal_body(key, msgspec.msgpack.encode(body), place)
        finally:
            key.wipe()
        self._plan.consents_withdrawn += withdrawn
        self._keep(row_id, head, sealed)

    def _parked(self, row_id: str, head: Parked, sealed: bytes) -> None:
        if head.due <= self._now.at:
            self._drop("parked", "", "", Why.OVER)
        else:
            self._plan.kept["parked", "", ""] += 1
            self._plan.rows[row_id.encode()] = rows.encode(head, sealed)

    def _keep(self, row_id: str, head: AssetHead | JobHead | SubjectHead, sealed: bytes) -> None:
        """It comes back as it was; its key, if it has one, lives on."""
        if head.page:
            self._named.add(entry_of(row_id))
        data_class = head.data_class if isinstance(head, AssetHead) else ""
        self._plan.kept[_kind(head), head.app, data_class] += 1
        self._plan.rows[row_id.encode()] = rows.encode(head, sealed)

    def _drop(self, kind: str, app: str, data_class: str, why: Why) -> None:
        self._plan.dropped[kind, app, data_class, why] += 1


def _keyed(head: object) -> bool:
    return isinstance(head, AssetHead | JobHead | SubjectHead)


def _kind(head: AssetHead | JobHead | SubjectHead) -> str:
    return {AssetHead: "asset", JobHead: "job", SubjectHead: "subject"}[type(head)]
