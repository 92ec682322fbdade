"""What each app's pictures are held against: `rules.toml`, the shipped one or an operator's own."""

from __future__ import annotations

import os
import tomllib
from pathlib import Path
from typing import Annotated, Final

import msgspec

from ray_cluster.labels.errors import BadRules

DIRECTORY_VARIABLE: Final = "MAYFLY_LABELS"
FILE: Final = "rules.toml"
ANY: Final = "*"

Score = Annotated[float, msgspec.Meta(ge=0, le=1)]
Words = Annotated[str, msgspec.Meta(max_length=24)]
Producer = Annotated[str, msgspec.Meta(min_length=1, max_length=128)]


class AppRules(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One app's. `gate`: operation, or "*" → the highest score that goes through; 1 lets everything through.

    `visible`: operation, or "*" → the words written onto what it makes; none where they are empty.
    """

    app: str
    gate: dict[str, Score] = {}
    visible: dict[str, Words] = {}

    def gate_of(self, operation: str) -> float:
        """The highest score that goes through; 1 where nothing is looked at."""
        return self.gate.get(operation, self.gate.get(ANY, 1.0))

    def words_of(self, operation: str) -> str:
        """The visible mark's words; empty for none."""
        return self.visible.get(operation, self.visible.get(ANY, ""))


class Rules(msgspec.Struct, frozen=True):
    """All apps'. `producer`: who is named as having made the content, in its metadata."""

    apps: dict[str, AppRules]
    producer: str = ""

    def of(self, app: str) -> AppRules:
        """The app's, or those for any app."""
        return self.apps.get(app) or self.apps.get(ANY) or AppRules(app)

    @property
    def gated(self) -> bool:
        """Whether any app has a gate."""
        return any(score < 1 for app in self.apps.values() for score in app.gate.values())


def directory() -> Path | None:
    """The operator's folder: `MAYFLY_LABELS`, or none."""
    named = os.environ.get(DIRECTORY_VARIABLE)
    return Path(named) if named else None


def read(folder: Path | None = None) -> Rules:
    """The rules in `folder`, or the shipped ones where it has none. Raises BadRules."""
    own = folder / FILE if folder else None
    path = own if own and own.exists() else Path(__file__).with_name(FILE)
    try:
        found = msgspec.convert(tomllib.loads(path.read_text("utf-8")), _File)
    except OSError as error:
        raise BadRules(f"expected to read {path}, got {error.strerror}") from None
    except (tomllib.TOMLDecodeError, msgspec.ValidationError) as error:
        raise BadRules(f"expected rules for labels in {path}, got: {error}") from None
    return Rules({row.app: row for row in found.app}, found.producer)


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    producer: Producer
    app: tuple[AppRules, ...]
