"""The closed lists of names that live effects have."""

from __future__ import annotations

from typing import Literal

FilterName = Literal["warm", "cool", "vivid", "vintage", "mono", "night"]
PropName = Literal["sunglasses", "crown", "cat"]
MakeupName = Literal["natural", "evening", "rose"]
