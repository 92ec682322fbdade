"""What operators set by hand: a pool paused, its floor and its maximum. Pure; hand_store.py keeps it."""

from __future__ import annotations

from typing import Annotated, ClassVar

import msgspec

from stream.errors import BadRequest

Limit = Annotated[int, msgspec.Meta(ge=0, le=10_000)]


class BadScale(BadRequest):
    """A floor above the maximum."""

    kind: ClassVar[str] = "bad-scale"


class Hand(msgspec.Struct, frozen=True):
    """One pool. None: as its settings say."""

    paused: bool = False
    min_actors: Limit | None = None
    max_actors: Limit | None = None

    def scaled(self, min_actors: int | None, max_actors: int | None, *, usual_max: int) -> Hand:
        """With these instead, where the settings allow `usual_max`. Raises BadScale."""
        most = usual_max if max_actors is None else max_actors
        if min_actors is not None and min_actors > most:
            raise BadScale(f"expected a floor of at most the maximum, got {min_actors} and {most}")
        return Hand(self.paused, min_actors, max_actors)


NOTHING = Hand()
"""A pool that nobody touched."""
