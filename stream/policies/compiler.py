"""TOML → Policy. An error names the file, the line, the clause and, for a misspelt word, the one that was meant."""

from __future__ import annotations

import hashlib
import os
import re
import tomllib
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import ClassVar

import msgspec

from stream.errors import BadRequest
from stream.policies import checks, durations
from stream.policies.checks import suggest
from stream.policies.lines import Lines
from stream.policies.model import Condition, Consent, Hold, Input, Operation, Policy, Promise
from stream.policies.vocabulary import (
    Bound,
    Choice,
    Clock,
    DataClass,
    Features,
    HoldBasis,
    MediaKind,
    OperationName,
    Place,
)

APPS = Path(__file__).parent / "apps"
EXTRA_ENV = "MAYFLY_POLICIES_EXTRA"
"""Names a folder of further policies, for tests: only those may offer test-only operations."""


class BadPolicy(BadRequest):
    """A policy file does not say what it must, one `file:line: what` each line."""

    kind: ClassVar[str] = "bad-policy"
    status: ClassVar[int] = 500


class UnknownApp(BadRequest):
    """No policy of that name, so nothing may be taken for it."""

    kind: ClassVar[str] = "unknown-app"
    status: ClassVar[int] = 404


class _Row(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    of: tuple[DataClass, ...]
    at_most: str
    clause: str
    clock: tuple[Clock, ...] = ()
    at_least: str = ""
    when: Condition = Condition()
    reading: str = ""


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    app: str
    title: str
    source: str
    clause: str
    operation: tuple[Operation, ...]
    promise: tuple[_Row, ...]
    consent: tuple[Consent, ...] = ()
    choices: tuple[Choice, ...] = ()
    dated: str = ""
    hold: Hold | None = None


_VOCABULARIES: tuple[type[StrEnum], ...] = (
    OperationName,
    DataClass,
    Clock,
    Choice,
    Bound,
    MediaKind,
    Features,
    HoldBasis,
    Place,
)
_STRUCTS: tuple[type[msgspec.Struct], ...] = (_File, _Row, Operation, Input, Consent, Condition, Hold)
_WORDS = {str(word) for vocabulary in _VOCABULARIES for word in vocabulary} | {
    field.encode_name for struct in _STRUCTS for field in msgspec.structs.fields(struct)
}
_MSGSPEC = re.compile(r"(?P<what>.*?)(?: - at `(?P<path>.*)`)?", re.DOTALL)
_QUOTED = re.compile(r"['`]([^'`]+)['`]")


def compile_policy(source: bytes, file: str, *, for_tests: bool = False) -> Policy:
    """The policy that these bytes of TOML are. `file`: its name, whose stem must be the app's key.

    Raises BadPolicy with every contradiction and gap found, or with the first misspelling or missing key.
    """
    text = source.decode()
    lines = Lines(text)
    try:
        raw = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise BadPolicy(f"{file}: {error}") from None
    try:
        read = msgspec.convert(raw, _File)
    except msgspec.ValidationError as error:
        raise BadPolicy(_misspelt(str(error), raw, file, lines)) from None
    policy, origin = _policy(read, source, file, lines)
    found = [finding for check in checks.CHECKS for finding in check(policy)]
    if not for_tests:
        found.extend(checks.published(policy))
    said = [
        f"{file}:{lines.of(table, origin[index] if table == 'promise' else index, key)}: {what}"
        for table, index, key, what in found
    ]
    if read.app != Path(file).stem:
        said.insert(0, f"{file}:{lines.at('app')}: expected the app's key to be the file's name, got {read.app!r}")
    if said:
        raise BadPolicy("\n".join(dict.fromkeys(said)))
    return policy


def load_all(extra: str | None = None) -> dict[str, Policy]:
    """Every app's policy by its key: the published ones, and those of the extra folder if one is named.

    `extra`: that folder; empty for none, None to ask the environment. Published policies win over extra ones.
    """
    policies = _folder(APPS, for_tests=False)
    extra = os.environ.get(EXTRA_ENV) if extra is None else extra
    return {**_folder(Path(extra), for_tests=True), **policies} if extra else policies


def load(app: str) -> Policy:
    """One app's policy. Raises UnknownApp."""
    return find(load_all(), app)


def find(policies: Mapping[str, Policy], app: str) -> Policy:
    """The policy of an app named by a caller. Raises UnknownApp."""
    if app not in policies:
        raise UnknownApp(f"expected one of {', '.join(sorted(policies))}, got an app that has no policy here")
    return policies[app]


def _folder(folder: Path, *, for_tests: bool) -> dict[str, Policy]:
    if not folder.is_dir():
        raise BadPolicy(f"expected {EXTRA_ENV} to name a folder of policies, got {str(folder)!r}: correct or unset it")
    files = sorted(folder.glob("*.toml"))
    return {one.stem: compile_policy(one.read_bytes(), one.name, for_tests=for_tests) for one in files}


def _policy(read: _File, source: bytes, file: str, lines: Lines) -> tuple[Policy, list[int]]:
    """The policy, and for each of its promises the index of the [[promise]] that it was written in."""
    promises: list[Promise] = []
    origin: list[int] = []
    for index, row in enumerate(read.promise):
        where = f"{file}:{lines.of('promise', index, 'at_most')}"
        at_most = _at_most(row.at_most, f"{where}: clause {row.clause}")
        at_least_s = _seconds(row.at_least, f"{where}: clause {row.clause}") if row.at_least else 0
        for data_class in row.of:
            origin.append(index)
            promises.append(
                Promise(
                    data_class=data_class,
                    at_most=at_most,
                    clause=row.clause,
                    clocks=row.clock,
                    at_least_s=at_least_s,
                    when=row.when,
                    reading=row.reading,
                )
            )
    policy = Policy(
        app=read.app,
        title=read.title,
        source=read.source,
        clause=read.clause,
        dated=read.dated,
        hash=hashlib.sha256(source).hexdigest(),
        choices=read.choices,
        operations=read.operation,
        promises=tuple(promises),
        consents=read.consent,
        hold=read.hold,
    )
    return policy, origin


def _at_most(text: str, where: str) -> int | Bound:
    if text in tuple(Bound):
        return Bound(text)
    return _seconds(text, where, known=tuple(Bound))


def _seconds(text: str, where: str, known: tuple[str, ...] = ()) -> int:
    try:
        return durations.seconds(text)
    except ValueError as error:
        also = f", or one of {', '.join(known)}" if known else ""
        raise BadPolicy(f"{where}: {error}{also}{suggest(text, known)}") from None


def _misspelt(error: str, raw: dict[str, object], file: str, lines: Lines) -> str:
    match = _MSGSPEC.fullmatch(error)
    assert match is not None
    path = match["path"] or "$"
    what = match["what"]
    word = _QUOTED.search(what)
    unknown = "Invalid enum value" in what or "unknown field" in what
    line = lines.at(path + f".{word[1]}") if word and "unknown field" in what else lines.at(path)
    hint = suggest(word[1], _WORDS) if word and unknown else ""
    return f"{file}:{line}: {what}{hint}{_clause(path, raw)}"


def _clause(path: str, raw: dict[str, object]) -> str:
    """` (clause …)` of the table that a path leads into, if it has one."""
    match = re.match(r"\$\.(\w+)\[(\d+)\]", path)
    tables = raw.get(match[1]) if match else None
    table = tables[int(match[2])] if match and isinstance(tables, list) else None
    clause = table.get("clause") if isinstance(table, dict) else None
    return f" (clause {clause})" if clause else ""
