"""What may be counted, and how long the counts may stay: what policies say of anonymised usage statistics."""

from __future__ import annotations

import math
from collections.abc import Iterable

from stream.policies import deadlines
from stream.policies.model import Policy
from stream.policies.vocabulary import Clock, DataClass, Place


def counted(policy: Policy) -> frozenset[str]:
    """The operations that are counted: all that servers do, if the app promises anonymised statistics; else none."""
    if math.isnan(kept_s(policy)):
        return frozenset()
    return frozenset(one.name.value for one in policy.operations if one.runs is not Place.DEVICE)


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
