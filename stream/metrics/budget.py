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


def spend(budget: Budget, hours: range, shares: Iterable[Share]) -> tuple[Budget, dict[tuple[int, int], Share], int]:
    """The account once these hours (of one day) are paid for; (hour, partition) → whose counts; how many it refused.

    An hour of a partition is taken from one tenure alone, so that a user is in a cell once: from the owner of now, or
    else from one of the former.
    """
    day = hours.start // HOURS_A_DAY
    owners = dict(budget.owners) if budget.day == day else {}
    taken: dict[tuple[int, int], Share] = {}
    for share in sorted(shares, key=lambda share: (share.open, share.tenure)):
        taken |= {(hour, share.partition): share for hour in share.hours if hour in hours}
    refused: set[tuple[int, str]] = set()
    for share in taken.values():
        known = owners.get(share.partition, ())
        if share.tenure in known:
            continue
        if len(known) < OWNERS_A_DAY:
            owners[share.partition] = (*known, share.tenure)
        else:
            refused.add((share.partition, share.tenure))
    paid = {where: share for where, share in taken.items() if (share.partition, share.tenure) not in refused}
    return msgspec.structs.replace(budget, next_hour=hours.stop, day=day, owners=owners), paid, len(refused)


def left(budget: Budget) -> float:
    """What remains of the budget of this account's day, for each app, in the partition that has least."""
    return BUDGET - EPSILON * max(map(len, budget.owners.values()), default=0)
