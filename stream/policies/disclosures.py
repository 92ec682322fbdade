"""What law can demand of an app's data, and what must be shown for it (R15). Pure."""

from __future__ import annotations

from collections.abc import Collection
from typing import ClassVar

from stream.errors import BadRequest
from stream.policies.model import Policy
from stream.policies.obligations import Disclosure


class NoDisclosure(BadRequest):
    """The app's policy knows no disclosure to anybody, whatever is shown."""

    kind: ClassVar[str] = "no-disclosure"
    status: ClassVar[int] = 403


class WrongDocument(BadRequest):
    """What was shown is not what the policy asks an authority to show."""

    kind: ClassVar[str] = "wrong-document"
    status: ClassVar[int] = 403


class NotDisclosable(BadRequest):
    """The case asks for a class that the policy lets nobody demand."""

    kind: ClassVar[str] = "not-disclosable"
    status: ClassVar[int] = 403


def allowed(policy: Policy, document: str, classes: Collection[str]) -> Disclosure:
    """The rule under which these classes may be handed out. Raises NoDisclosure, WrongDocument, NotDisclosable."""
    rule = policy.disclosure
    if rule is None:
        clause = policy.sharing.clause if policy.sharing is not None else f"{policy.source} silent"
        raise NoDisclosure(f"expected an app whose policy knows disclosure; {policy.app} discloses nothing ({clause})")
    if document not in rule.documents:
        accepted = ", ".join(rule.documents)
        raise WrongDocument(f"expected one of the documents that {policy.app} accepts ({rule.clause}): {accepted}")
    if not classes or not set(classes) <= set(rule.of):
        raise NotDisclosable(f"expected classes that {rule.clause} lets be demanded: {', '.join(rule.of)}")
    return rule
