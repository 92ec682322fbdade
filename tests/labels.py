"""Which values each label of a metric may have. A label that is not here belongs to no metric of ours."""

from __future__ import annotations

from collections.abc import Callable
from http import HTTPStatus

from ray_cluster.engines import registry
from services.costs import SHARES
from services.scraping import OTHER as OTHER_VERB
from stream import topics
from stream.agents.api import VERBS
from stream.agents.passage import ENDS
from stream.audit.operated import Action
from stream.events.records import RequestState
from stream.events.rows import Lane
from stream.metrics.bounded import MAX_VALUES
from stream.metrics.scraped import STATES
from stream.policies.obligations import RightName
from stream.policies.vocabulary import DataClass, OperationName

LEFT = "499"  # the caller went before the answer
APPS, PARTITIONS = 32, 256  # far more than anybody has
"""Bounds of what is closed by configuration: policies that are compiled, partitions fixed at creation."""


def _word(text: str) -> bool:
    return 0 < len(text) <= 64 and text.replace("-", "").replace("_", "").replace("/", "").isalnum()


def _among(*values: str) -> tuple[int, Callable[[str], bool]]:
    return len(values), set(values).__contains__


BOUNDS: dict[str, tuple[int, Callable[[str], bool]]] = {
    "action": _among(*Action),
    "app": (APPS, _word),
    "channel": _among("email", "sms"),
    "data_class": _among(*DataClass),
    "decided": _among("committed", "aborted"),
    "direction": _among("in", "out"),
    "document": (16, _word),
    "end": _among(*ENDS),
    "kind": (MAX_VALUES + 1, _word),
    "lane": _among(*Lane),
    "operation": _among(*OperationName, *registry.OPERATIONS),
    "outcome": _among("succeeded", "failed", "left"),
    "partition": (PARTITIONS, str.isdigit),
    "pool": _among("", *(row.pool for row in registry.OPERATIONS.values())),
    "reason": (64, _word),  # kinds of our own errors: of admission, and of engines that cannot take an input
    "right": _among(*RightName),
    "route": (MAX_VALUES + 1, _word),
    "share": _among(*map(str, SHARES)),
    "state": _among(*STATES, *RequestState),
    "status": _among(LEFT, *(str(status.value) for status in HTTPStatus)),
    "to": _among("users", "regulator", "public"),
    "topic": _among(*topics.EVENTS, topics.LEDGER, topics.KEYS, topics.PARKED),
    "verb": _among(OTHER_VERB, *VERBS),
    "why": _among("unreachable", "silent", "sealed", "refused", "wrong"),
}
"""label → (how many values at most, whether this is one)."""
