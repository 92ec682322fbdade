"""One difference between two policies, and what it means for whom."""

from __future__ import annotations

from enum import StrEnum

import msgspec


class Effect(StrEnum):
    """What a change means for what is stored, and for whom."""

    SHORTER = "shorter at once, also for what is stored"
    NARROWER = "at once, also for what is stored"
    LONGER = "only for what is collected from then on (R16)"
    ASK_AGAIN = "everybody is asked again before anything new"
    TELL = "those concerned are told before it takes effect"


class Changed(msgspec.Struct, frozen=True):
    """One difference. `before`, `after`: in words; clauses of both texts, empty where there is none."""

    what: str
    before: str
    after: str
    effect: Effect
    clause_before: str = ""
    clause_after: str = ""
