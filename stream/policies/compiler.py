"""TOML → Policy. An error names the file, the line, the clause and, for a misspelt word, the one that was meant."""

from __future__ import annotations

import hashlib
import os
import re
import time
import tomllib
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import ClassVar

import msgspec

from stream.errors import BadRequest
from stream.policies import checks, decisions, durations, obligation_checks, obligations
from stream.policies.checks import Finding, suggest
from stream.policies.decisions import Value
from stream.policies.durations import Span
from stream.policies.lines import Lines
from stream.policies.model import Condition, Consent, Hold, Input, Operation, Policy, Promise
from stream.policies.obligations import (
    Account,
    Age,
    Audience,
    Channel,
    Contradiction,
    Decision,
    Disclosure,
    Duty,
    Notice,
    Occasion,
    PurposeRule,
    Residency,
    Right,
    RightName,
    Sharing,
    Side,
    Stops,
    Window,
)
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


_CHECKS: tuple[Callable[[Policy], Iterable[Finding]], ...] = (
    checks.clauses,
    checks.contradictions,
    checks.decisions,
    checks.operations,
    checks.bounds,
    checks.cases,
    checks.floors,
    checks.gaps,
    checks.holds,
    obligation_checks.records,
    obligation_checks.obligations,
)


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


class _Right(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    name: RightName
    clause: str
    within: str = ""
    counts_from: Clock = Clock.REQUEST_RECEIVED
    identity: bool = False
    reversible: bool = False
    stops: Stops = Stops.NOTHING
    reading: str = ""


class _Notice(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    of: Occasion
    to: tuple[Audience, ...]
    via: tuple[Channel, ...]
    clause: str
    before: str = ""
    within: str = ""
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
    effective: str = ""
    hold: Hold | None = None
    right: tuple[_Right, ...] = ()
    notice: tuple[_Notice, ...] = ()
    purpose: tuple[PurposeRule, ...] = ()
    duty: tuple[Duty, ...] = ()
    age: Age | None = None
    account: Account | None = None
    residency: Residency | None = None
    sharing: Sharing | None = None
    disclosure: Disclosure | None = None
    contradiction: tuple[Contradiction, ...] = ()
    decision: tuple[Decision, ...] = ()


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
    *(found for found in vars(obligations).values() if isinstance(found, type) and issubclass(found, StrEnum)),
)
_STRUCTS: tuple[type[msgspec.Struct], ...] = (
    *(_File, _Row, _Right, _Notice, Operation, Input, Consent, Condition, Hold, PurposeRule, Duty, Age, Account),
    *(Residency, Sharing, Disclosure, Contradiction, Side, Decision),
)
_WORDS = {str(word) for vocabulary in _VOCABULARIES for word in vocabulary} | {
    field.encode_name for struct in _STRUCTS for field in msgspec.structs.fields(struct)
}
_MSGSPEC = re.compile(r"(?P<what>.*?)(?: - at `(?P<path>.*)`)?", re.DOTALL)
_QUOTED = re.compile(r"['`]([^'`]+)['`]")


def compile_policy(
    source: bytes, file: str, *, for_tests: bool = False, decided: Mapping[str, Value] | None = None
) -> Policy:
    """The policy that these bytes of TOML are. `file`: its name, whose stem must be the app's key.

    `decided`: values that a person set in place of strict ones, by the names of the file's decisions. Raises BadPolicy
    with every contradiction and gap found, or with the first misspelling or missing key.
    """
    text = source.decode()
    lines = Lines(text)
    try:
        raw = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise BadPolicy(f"{file}: {error}") from None
    decided = decided or {}
    raw, values, used = _decide(raw, decided, file, lines)
    try:
        read = msgspec.convert(raw, _File)
    except msgspec.ValidationError as error:
        raise BadPolicy(_misspelt(str(error), raw, file, lines)) from None
    policy, origin = _policy(read, file, lines)
    salt = msgspec.json.encode(dict(sorted(decided.items()))) if decided else b""
    policy = msgspec.structs.replace(
        policy, hash=hashlib.sha256(source + salt).hexdigest(), decided=values, used=frozenset(used)
    )
    found = [finding for check in _CHECKS for finding in check(policy)]
    if not for_tests:
        found.extend(checks.published(policy))
    said = [
        f"{file}:{lines.of(table, origin[index] if table == 'promise' else index, key)}: {what}"
        for table, index, key, what in found
    ]
    app, _, from_day = Path(file).stem.partition("@")
    if read.app != app:
        said.insert(0, f"{file}:{lines.at('app')}: expected the app's key to be the file's name, got {read.app!r}")
    if read.effective != from_day:
        wanted = f"effective = {from_day!r}, as the file's name says"
        named = wanted if from_day else "a name like app@2027-01-01.toml"
        said.insert(0, f"{file}:{lines.at('effective')}: expected {named}, got {read.effective!r}")
    if said:
        raise BadPolicy("\n".join(dict.fromkeys(said)))
    return policy


def load_all(
    extra: str | None = None, decided: decisions.Decided | None = None, *, now: float | None = None
) -> dict[str, Policy]:
    """Every app's policy in force, by its key: the published ones, and those of the extra folder if one is named.

    A successor lies beside the policy that it follows, as `app@2027-01-01.toml`, and is in force from that day on,
    00:00 UTC. `now`: epoch seconds; None for the real time. `extra`: that folder; empty for none, None to ask the
    environment. Published policies win over extra ones. `decided`: what a person decided, by app and name; None to ask
    the environment.
    """
    try:
        decided = decisions.decided() if decided is None else decided
    except ValueError as error:
        raise BadPolicy(str(error)) from None
    now = time.time() if now is None else now
    policies = _folder(APPS, decided, now, for_tests=False)
    extra = os.environ.get(EXTRA_ENV) if extra is None else extra
    policies = {**_folder(Path(extra), decided, now, for_tests=True), **policies} if extra else policies
    if strangers := sorted(set(decided) - set(policies)):
        raise BadPolicy(f"expected decisions of apps that have a policy, got {strangers[0]!r}")
    return policies


def load(app: str) -> Policy:
    """One app's policy. Raises UnknownApp."""
    return find(load_all(), app)


def find(policies: Mapping[str, Policy], app: str) -> Policy:
    """The policy of an app named by a caller. Raises UnknownApp."""
    if app not in policies:
        raise UnknownApp(f"expected one of {', '.join(sorted(policies))}, got an app that has no policy here")
    return policies[app]


def _folder(folder: Path, decided: decisions.Decided, now: float, *, for_tests: bool) -> dict[str, Policy]:
    if not folder.is_dir():
        raise BadPolicy(f"expected {EXTRA_ENV} to name a folder of policies, got {str(folder)!r}: correct or unset it")
    in_force: dict[str, Policy] = {}
    for path in sorted(folder.glob("*.toml")):  # a successor's name sorts after the name that it begins with
        app, _, from_day = path.stem.partition("@")
        policy = compile_policy(path.read_bytes(), path.name, for_tests=for_tests, decided=decided.get(app))
        since = _midnight(from_day) if from_day else 0.0
        if since <= now:
            in_force[app] = msgspec.structs.replace(policy, since=since, follows=in_force.get(app))
    return in_force


def _midnight(day: str) -> float:
    try:
        return datetime.fromisoformat(day).replace(tzinfo=UTC).timestamp()
    except ValueError:
        raise BadPolicy(f"expected a day after the @ of a policy's name, such as 2027-01-01, got {day!r}") from None


def _decide(
    raw: dict[str, object], decided: Mapping[str, Value], file: str, lines: Lines
) -> tuple[dict[str, object], dict[str, Value], set[str]]:
    """(the file with every `"@name"` replaced, the values in force, the names that a rule uses)."""
    try:
        known = msgspec.convert(raw.get("decision", []), tuple[Decision, ...])
    except msgspec.ValidationError as error:
        raise BadPolicy(_misspelt(str(error).replace("`$", "`$.decision"), raw, file, lines)) from None
    try:
        values = decisions.in_force(known, decided)
    except ValueError as error:
        raise BadPolicy(f"{file}: {error}") from None
    used: set[str] = set()
    try:
        rest = {key: decisions.put_in(value, values, used) for key, value in raw.items() if key != "decision"}
    except KeyError as error:
        name = str(error.args[0])
        said = f"no decision is named {name!r}{suggest(name, values)}: add a [[decision]]"
        raise BadPolicy(f"{file}:{lines.saying('@' + name)}: {said}") from None
    return {**rest, "decision": raw.get("decision", [])}, values, used


def _policy(read: _File, file: str, lines: Lines) -> tuple[Policy, list[int]]:
    """The policy, and for each of its promises the index of the [[promise]] that it was written in."""
    promises: list[Promise] = []
    origin: list[int] = []
    for index, row in enumerate(read.promise):
        where = f"{file}:{lines.of('promise', index, 'at_most')}: clause {row.clause}"
        at_most = Bound(row.at_most) if row.at_most in tuple(Bound) else _span(row.at_most, where, known=tuple(Bound))
        floor_at = f"{file}:{lines.of('promise', index, 'at_least')}: clause {row.clause}"
        at_least = _span(row.at_least, floor_at) if row.at_least else None
        for data_class in row.of:
            origin.append(index)
            promises.append(
                Promise(
                    data_class=data_class,
                    at_most=at_most,
                    clause=row.clause,
                    clocks=row.clock,
                    at_least=at_least,
                    when=row.when,
                    reading=row.reading,
                )
            )

    def window(text: str, table: str, index: int, key: str, clause: str) -> Window | None:
        where = f"{file}:{lines.of(table, index, key)}: clause {clause}"
        return Window(_span(text, where), durations.working_days(text)) if text else None

    policy = Policy(
        app=read.app,
        title=read.title,
        source=read.source,
        clause=read.clause,
        dated=read.dated,
        hash="",
        choices=read.choices,
        operations=read.operation,
        promises=tuple(promises),
        consents=read.consent,
        hold=read.hold,
        rights=tuple(
            Right(
                name=row.name,
                clause=row.clause,
                within=window(row.within, "right", index, "within", row.clause),
                counts_from=row.counts_from,
                identity=row.identity,
                reversible=row.reversible,
                stops=row.stops,
                reading=row.reading,
            )
            for index, row in enumerate(read.right)
        ),
        notices=tuple(
            Notice(
                of=row.of,
                to=row.to,
                via=row.via,
                clause=row.clause,
                before=window(row.before, "notice", index, "before", row.clause),
                within=window(row.within, "notice", index, "within", row.clause),
                reading=row.reading,
            )
            for index, row in enumerate(read.notice)
        ),
        purposes=read.purpose,
        duties=read.duty,
        age=read.age,
        account=read.account,
        residency=read.residency,
        sharing=read.sharing,
        disclosure=read.disclosure,
        contradictions=read.contradiction,
        decisions=read.decision,
    )
    return policy, origin


def _span(text: str, where: str, known: tuple[str, ...] = ()) -> Span:
    try:
        return durations.span(text)
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
