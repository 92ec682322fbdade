"""What may be counted, and how long the counts may stay: what policies say of anonymised usage statistics."""

from __future__ import annotations

import math
from collections.abc import Iterable

from stream.policies import deadlines
from stream.policies.model import Policy
from stream.policies.vocabulary import Clock, DataClass, Place


def counted(policy: Policy) -> frozenset[str]:
    """The operations whose users are counted: all that jobs do, if the app promises anonymised statistics; else none.

    What runs in memory only names no user, so none can be counted once: see `rendered`.
    """
    return _run(policy, Place.SERVER)


def rendered(policy: Policy) -> frozenset[str]:
    """The operations in memory whose uses are counted, under the same promise."""
    return _run(policy, Place.MEMORY)


def _run(policy: Policy, where: Place) -> frozenset[str]:
    if math.isnan(kept_s(policy)):
        return frozenset()
    return frozenset(one.name.value for one in policy.operations if one.runs is where)


def kept_s(policy: Policy) -> float:
    """How long a published count may stay, in seconds: infinite without a limit, NaN where it may not even be made."""
    try:
        found = deadlines.ceiling(
            policy, DataClass.USAGE_STATISTIC, choice="", has_face=None, clocks={Clock.COLLECTED: 0.0}
        )
    except deadlines.NoPromise:
        return math.nan
    return found.at


def shortest_s(policies: Iterable[Policy]) -> float:
    """How long a topic may keep the counts of all of these; infinite where none of them says."""
    return min((at for policy in policies if not math.isnan(at := kept_s(policy))), default=math.inf)
