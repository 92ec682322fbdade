"""The privacy budget: which hours may still be released, and whose counts of a day. Pure.

A row of the ledger, written *before* noise is drawn. What it says was spent is spent, whether anything came of it or
not, so no cell is ever drawn twice. A day whose row nobody can read counts as spent: the next one opens a new account.
Charges depend on who owned what and when, never on what was counted.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from stream.events.rows import Budget
from stream.metrics.anonymity import BUDGET, EPSILON, OWNERS_A_DAY
from stream.metrics.cells import HOURS_A_DAY
from stream.metrics.tally import Share

MAX_HOURS = 48
"""How far back hours are released that no publisher was there for; older ones never are."""


def fresh(hour: int) -> Budget:
    """An account where none is known: it begins with the day after this hour's."""
    day = hour // HOURS_A_DAY + 1
    return Budget(next_hour=day * HOURS_A_DAY, day=day)


def releasable(budget: Budget, hour: int) -> range:
    """Hours that are over at `hour` and not released, of one day: a day is an account of its own."""
    first = max(budget.next_hour, hour - MAX_HOURS)
    return range(first, max(first, min(hour, (first // HOURS_A_DAY + 1) * HOURS_A_DAY)))


def spend(budget: Budget, hours: range, shares: Iterable[Share]) -> tuple[Budget, list[Share], int]:
    """The account once these hours (of one day) are paid for, the shares that it can pay for, how many it cannot."""
    day = hours.start // HOURS_A_DAY
    owners = dict(budget.owners) if budget.day == day else {}
    latest = {(share.partition, share.tenure): share for share in shares}  # asked for twice, it is still one
    paid: list[Share] = []
    refused = 0
    for share in latest.values():
        if share.since >= hours.stop or share.until <= hours.start:
            continue  # it owned the partition at another time
        known = owners.get(share.partition, ())
        if share.tenure not in known:
            if len(known) >= OWNERS_A_DAY:
                refused += 1
                continue
            owners[share.partition] = (*known, share.tenure)
        paid.append(share)
    return msgspec.structs.replace(budget, next_hour=hours.stop, day=day, owners=owners), paid, refused


def left(budget: Budget) -> float:
    """What remains of the budget of this account's day, for each app, in the partition that has least."""
    return BUDGET - EPSILON * max(map(len, budget.owners.values()), default=0)
