"""What operators do by hand is in the log: a leaf in the commit that does it. One person is enough, named or not."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from stream.agents import cases
from stream.agents.estate import Estate
from stream.audit.operated import Action, Operated, target_of
from stream.errors import BadRequest
from stream.ledger import Change
from stream.metrics import operators as metrics


class NotSigned(BadRequest):
    """An operator named themselves, and no registered key of that name signed exactly this."""

    kind: ClassVar[str] = "operator-not-known"
    status: ClassVar[int] = 403


def signed_part(action: Action, target: str) -> bytes:
    """What an operator signs who wants to be named."""
    return b"mayfly operate 1\n" + f"{action.value} {target}".encode()


def record(estate: Estate, change: Change, action: Action, target: str, signatures: Mapping[str, bytes]) -> None:
    """The leaf, and a count once it is committed. Raises NotSigned."""
    registered = estate.tools.approvers() if signatures else {}  # whoever is not named needs no register
    keys = cases.approvers(signed_part(action, target), signatures, registered)
    if signatures and not keys:
        raise NotSigned("expected the signature of a registered key: leave the name out, or register it first")
    leaf = Operated(
        partition=estate.partition,
        action=action,
        target=target_of(action, target),
        operator=keys[0] if keys else "",
    )
    estate.log(change, lambda log: log.operated(leaf))
    change.then.append(lambda _: metrics.ACTIONS.labels(action).inc())
