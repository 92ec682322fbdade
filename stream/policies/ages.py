"""Age bands: all that is ever known of an age (T19). They follow from the ages that a policy names."""

from __future__ import annotations

from itertools import pairwise

import msgspec

from stream.policies.obligations import Age

MAJORITY = 18


class Band(msgspec.Struct, frozen=True):
    """Ages from `low` up to, but not including, `high`; 0 as `high` has no end."""

    name: str
    low: int
    high: int = 0


def bands(age: Age | None) -> tuple[Band, ...]:
    """The bands that the policy tells apart, youngest first; none where it does not ask for an age.

    `under_14`, `14_to_17`, `adult` for a guardian below 14 and advice below 18.
    """
    if age is None:
        return ()
    limits = sorted({age.guardian_below, age.advice_below} - {0})
    if not limits:
        return ()
    between = [Band(f"{low}_to_{high - 1}", low, high) for low, high in pairwise(limits)]
    last = limits[-1]
    oldest = Band("adult" if last >= MAJORITY else f"{last}_and_over", last)
    return (Band(f"under_{limits[0]}", 0, limits[0]), *between, oldest)


def find(age: Age | None, name: str) -> Band | None:
    """The band of this name, if the policy knows it: a band of an earlier policy may be none of this one's."""
    return next((one for one in bands(age) if one.name == name), None)


def guarded(age: Age | None, name: str) -> bool:
    """Whether somebody of this band needs a guardian's consent instead of their own."""
    band = find(age, name)
    return age is not None and band is not None and band.low < age.guardian_below


def advised(age: Age | None, name: str) -> bool:
    """Whether the text only recommends that a guardian guides and consents."""
    band = find(age, name)
    return age is not None and band is not None and age.guardian_below <= band.low < age.advice_below
