"""A receipt against an auditor's copy of the log: the file's head must be one that this log had."""

from __future__ import annotations

from typing import ClassVar

import msgspec

from stream.audit.checkpoint import parse_note
from stream.audit.receipt_file import BadReceipt, Verdict, note_of, verify
from stream.audit.verify import Audited, ForkedLog


class OtherLog(BadReceipt):
    """The receipt is of another partition's log."""

    kind: ClassVar[str] = "receipt-other-log"


class NewerReceipt(BadReceipt):
    """The log was exported before the receipt was served."""

    kind: ClassVar[str] = "receipt-newer-than-log"


def verify_in_log(file: bytes, asset_id: str, salt: str, log: Audited) -> Verdict:
    """As `receipt_file.verify`, and the receipt is in this log. Raises also OtherLog, NewerReceipt, ForkedLog.

    The key that must have signed the file is the one that the log names for its time, so a file from before a rotation,
    and one from after it, both follow from one trusted key.
    """
    head = parse_note(note_of(file))
    if head.origin != log.head.origin:
        raise OtherLog(f"expected a receipt of {log.head.origin}, got one of another log")
    if head.size > log.head.size:
        raise NewerReceipt(
            f"expected a copy of the log with {head.size} leaves, it has {log.head.size}: export it again"
        )
    if log.tree.root(head.size) != head.root:
        raise ForkedLog(f"expected the receipt's head over {head.size} leaves to be this log's; it is of a fork of it")
    found = verify(file, asset_id, salt, trusted_key=log.history.public_at(head.size))
    return msgspec.structs.replace(found, trusted=log.trusted)
