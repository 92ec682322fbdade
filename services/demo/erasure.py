"""One asset's end as it was witnessed, and what is wrong with it. Pure."""

from __future__ import annotations

from http import HTTPStatus

import msgspec

from services.demo.terms import Ends


class Erasure(msgspec.Struct, frozen=True, kw_only=True):
    """Times in epoch seconds on the demo's clock; 0 where the receipt did not tell."""

    asset: str
    salt: str
    name: str  # for people
    data_class: str
    ends: Ends
    promised: str
    clause: str
    ceiling: float
    due: float
    hidden_at: float = 0.0
    unreadable_at: float = 0.0
    gone_at: float = 0.0
    receipt: str = ""  # path of its file
    unproven: str = ""  # why the receipt does not prove it
    readable_before: bool = True
    answer_after: int = HTTPStatus.GONE
    object_left: bool = False
    tombstoned: bool = True
    older_root_left: bool = False


def broken(found: Erasure) -> list[str]:
    """A sentence for each way in which the promise was not kept."""
    what = f"{found.name} ({found.data_class}, {found.clause})"
    late_s = found.unreadable_at - found.ceiling
    wrong = {
        f"{what}: expected it to be readable until it came due, it was not": not found.readable_before,
        f"{what}: expected 410 once it had come due, got {found.answer_after}": found.answer_after != HTTPStatus.GONE,
        f"{what}: expected a receipt that verifies: {found.unproven}": bool(found.unproven),
        f"{what}: expected it to be unreadable by its ceiling, it was {late_s:.3f} s late": late_s > 0,
        f"{what}: expected its ciphertext to be gone from the bucket, it is there": found.object_left,
        f"{what}: expected its row to be tombstoned in the ledger, it is not": not found.tombstoned,
        f"{what}: expected root versions older than its receipt's to be destroyed, one lives": found.older_root_left,
    }
    return [sentence for sentence, holds in wrong.items() if holds]
