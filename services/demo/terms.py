"""What was promised of an asset, read from the policy and from what a client is told. Pure."""

from __future__ import annotations

from enum import StrEnum

import msgspec

from stream.agents.api import AssetView
from stream.policies import deadlines
from stream.policies.model import Policy
from stream.policies.vocabulary import Clock
from stream.policies.words import explain


class Ends(StrEnum):
    """What brings an asset's end."""

    DEADLINE = "deadline"
    JOB = "job"  # the step that ends the job (R7)
    RETURN = "return"  # the last byte of its first complete GET


class Terms(msgspec.Struct, frozen=True):
    """One promise. Times in epoch seconds on the promise clock."""

    ends: Ends
    promised: str
    clause: str
    ceiling: float


def terms_of(
    policy: Policy, view: AssetView, *, choice: str, uploaded_at: float, ended_at: float, returned_within_s: float
) -> Terms:
    """The earliest promise that binds, given when the upload began and when the asset's own job ended.

    A photo nobody has looked at is presumed to hold a face (R11), and a promise never grows longer afterwards, so
    presuming one here finds the ceiling that was given at the start.
    """
    clocks = {Clock.UPLOAD_RECEIVED: uploaded_at, Clock.GENERATION_COMPLETED: ended_at, Clock.JOB_ENDED: ended_at}
    found = deadlines.ceiling(
        policy, view.data_class, choice=choice, has_face=None, clocks=clocks, returned_within_s=returned_within_s
    )
    ends = Ends.JOB if found.at <= ended_at else Ends.RETURN if found.on_return else Ends.DEADLINE
    promised = explain(found.promise).partition(" (")[0].replace("upload_received", "the upload").replace("_", " ")
    ceiling = min(found.at, view.ceiling)
    return Terms(ends, promised, found.clause, ceiling)
