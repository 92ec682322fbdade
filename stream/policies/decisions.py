"""What a person must decide is a named value with a strict default; a rule uses it as `"@name"`.

Decided values stand in one TOML file, a table for each app, named by MAYFLY_DECISIONS. They are part of the policy's
hash, so a receipt says by which of them a thing was kept.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from stream.policies.obligations import Decision

DECISIONS_ENV = "MAYFLY_DECISIONS"

Value = str | int | bool | list[str]
Decided = Mapping[str, Mapping[str, Value]]
"""App → name → value."""


def decided(path: str | None = None) -> Decided:
    """What was decided, from a file; nothing where none is named. Raises ValueError for what is no such file."""
    path = os.environ.get(DECISIONS_ENV, "") if path is None else path
    if not path:
        return {}
    try:
        return msgspec.convert(tomllib.loads(Path(path).read_text()), dict[str, dict[str, Value]])
    except (OSError, tomllib.TOMLDecodeError, msgspec.ValidationError) as error:
        raise ValueError(f"expected {DECISIONS_ENV} to name a TOML file of one table for each app: {error}") from None


def in_force(known: tuple[Decision, ...], values: Mapping[str, Value]) -> dict[str, Value]:
    """Every decision's value. Raises ValueError for a name that the policy does not leave open, or another type."""
    for name, value in values.items():
        match = next((one for one in known if one.name == name), None)
        if match is None:
            raise ValueError(f"no decision is named {name!r}: expected one of {', '.join(d.name for d in known)}")
        if type(value) is not type(match.strict):
            raise ValueError(f"expected {name!r} to be like its strict value {match.strict!r}, got {value!r}")
    return {one.name: values.get(one.name, one.strict) for one in known}


def put_in(raw: Any, values: Mapping[str, Value], used: set[str]) -> Any:
    """The file with each `"@name"` replaced; names met are added to `used`. Raises KeyError for an unknown one."""
    if isinstance(raw, dict):
        return {key: put_in(value, values, used) for key, value in raw.items()}
    if isinstance(raw, list):
        return [put_in(value, values, used) for value in raw]
    if isinstance(raw, str) and raw.startswith("@"):
        used.add(raw[1:])
        return values[raw[1:]]
    return raw
