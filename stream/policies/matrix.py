"""Every promise of every app, which rule keeps it, and what proves that: one row each (`mayfly policy matrix`).

The catalogue, one file for each app, lists what the texts promise in our words, with what must follow from each. A row
is *kept* where tests show it, *organisational* where people keep it and a document of ours says how, else *open*.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar

import msgspec

from stream.errors import BadRequest
from stream.policies.compiler import APPS, BadPolicy, compile_policy
from stream.policies.expectations import Expectation, failures
from stream.policies.lines import Lines

CATALOGUE = Path(__file__).parent / "catalogue"
TEST = "tests/unit/test_policies_matrix.py::test_the_row_is_kept"
KEPT, ORGANISATIONAL, OPEN = "kept", "organisational", "open"


class BadCatalogue(BadRequest):
    """A catalogue file does not say what it must."""

    kind: ClassVar[str] = "bad-catalogue"
    status: ClassVar[int] = 500


class Entry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One promise of one app. `across`: the lines of the tables over all apps that this answers.

    `rule` and `find` lead to the table of the policy file that keeps it: its name, and values that it has; a value that
    is a list there must contain what is given here. Where the text is silent and nothing may be found, `rule` is empty:
    the head of the file, without which there is no policy.
    """

    id: str
    clause: str
    promise: str
    expect: tuple[Expectation, ...]
    rule: str = ""
    find: dict[str, Any] = {}
    across: tuple[str, ...] = ()
    also: tuple[str, ...] = ()  # tests of the running system that would fail without the rule, and are of no other row
    mechanism: tuple[str, ...] = ()  # tests of what keeps it, which know nothing of the rule
    artefact: str = ""
    open: str = ""  # why nothing keeps it yet


class Row(msgspec.Struct, frozen=True):
    """As `mayfly policy matrix --json` prints it."""

    promise: str
    app: str
    clause: str
    rule: str
    toml: str
    kept_by: tuple[str, ...]
    status: str
    id: str
    across: tuple[str, ...] = ()
    mechanism: tuple[str, ...] = ()
    note: str = ""


class _Catalogue(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    row: tuple[Entry, ...]


def entries(app: str, folder: Path = CATALOGUE) -> tuple[Entry, ...]:
    """The catalogue of one app. Raises BadCatalogue."""
    path = folder / f"{app}.toml"
    try:
        found = msgspec.convert(tomllib.loads(path.read_text()), _Catalogue).row
    except (OSError, tomllib.TOMLDecodeError, msgspec.ValidationError) as error:
        raise BadCatalogue(f"{path.name}: {error}") from None
    ids = [one.id for one in found]
    if twice := sorted({one for one in ids if ids.count(one) > 1}):
        raise BadCatalogue(f"{path.name}: {twice[0]!r} stands twice: expected an id for each row")
    return found


def place(source: str, entry: Entry) -> tuple[int, int]:
    """(first, last) line of the table that keeps a row. Raises BadCatalogue unless it is there, and alone."""
    raw, lines = _read(source)
    if not entry.rule:
        return 1, next((n for n, line in enumerate(source.splitlines()) if line.startswith("[")), 1)
    tables = raw.get(entry.rule)
    listed = tables if isinstance(tables, list) else [tables] if isinstance(tables, dict) else []
    found = [index for index, table in enumerate(listed) if _has(table, entry.find)]
    if len(found) != 1:
        raise BadCatalogue(f"{entry.id}: expected one [{entry.rule}] with {entry.find}, found {len(found)}")
    return lines.extent(entry.rule, found[0])


@lru_cache(maxsize=8)  # each of a file's eighty rows is looked for in it
def _read(source: str) -> tuple[dict[str, Any], Lines]:
    return tomllib.loads(source), Lines(source)


def without(source: str, entry: Entry) -> str:
    """The policy file without the table that keeps a row: a test shows that the row is then kept no more."""
    first, last = place(source, entry)
    lines = source.splitlines(keepends=True)
    return "".join(lines[: first - 1] + lines[last:])


def rows() -> Iterator[Row]:
    """All rows of all published apps."""
    for path in sorted(APPS.glob("*.toml")):
        source = path.read_text()
        policy = compile_policy(source.encode(), path.name)
        for entry in entries(path.stem):
            wrong = failures(policy, entry.expect)
            kept_by = (f"{TEST}[{path.stem}/{entry.id}]", *entry.also)
            status = OPEN if entry.open or wrong or not entry.expect else KEPT
            if status is KEPT and entry.artefact:
                status = ORGANISATIONAL
            yield Row(
                promise=entry.promise,
                app=path.stem,
                clause=entry.clause,
                rule=entry.rule,
                toml=f"stream/policies/apps/{path.name}:{place(source, entry)[0]}",
                kept_by=kept_by if status is not OPEN else (),
                status=status,
                id=entry.id,
                across=entry.across,
                mechanism=entry.mechanism,
                note="; ".join(filter(None, (entry.artefact, entry.open, *wrong))),
            )


def kept_without(source: str, file: str, entry: Entry) -> bool:
    """Whether the row would still be kept if the rule that it names were deleted. It must not be."""
    try:
        policy = compile_policy(without(source, entry).encode(), file)
    except BadPolicy:
        return False
    return not failures(policy, entry.expect)


def _has(table: dict[str, Any], wanted: dict[str, Any]) -> bool:
    return all(_is(table.get(key), value) for key, value in wanted.items())


def _is(found: Any, wanted: Any) -> bool:
    if isinstance(found, list) and not isinstance(wanted, list):
        return wanted in found
    if isinstance(found, list):
        return all(one in found for one in wanted)
    return bool(found == wanted)
