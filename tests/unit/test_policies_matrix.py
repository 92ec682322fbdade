"""Every row of every catalogue is kept by the policy that is published, and would not be without the rule it names."""

import tomllib
from pathlib import Path

import pytest

from stream.policies import matrix
from stream.policies.compiler import APPS, compile_policy
from stream.policies.expectations import failures
from stream.policies.matrix import CATALOGUE, BadCatalogue
from tests.integration.test_promises import RECORDS, UNTIL

ROOT = Path(__file__).parents[2]
SOURCES = {path.stem: path.read_text() for path in sorted(APPS.glob("*.toml"))}
POLICIES = {app: compile_policy(text.encode(), f"{app}.toml") for app, text in SOURCES.items()}
ROWS = {f"{app}/{entry.id}": (app, entry) for app in SOURCES for entry in matrix.entries(app)}
ACROSS = tomllib.loads((CATALOGUE / "across.toml").read_text())
each_row = pytest.mark.parametrize("row", ROWS)


@each_row
def test_the_row_is_kept(row):
    app, entry = ROWS[row]
    assert entry.open or not failures(POLICIES[app], entry.expect)


@each_row
def test_the_row_fails_without_its_rule(row):
    app, entry = ROWS[row]
    assert not matrix.kept_without(SOURCES[app], f"{app}.toml", entry)


@pytest.mark.parametrize("app", SOURCES)
def test_every_line_over_all_apps_is_answered(app):
    answered = {line for entry in matrix.entries(app) for line in entry.across}
    assert answered == {*ACROSS["capability"], *ACROSS["promise"]}


@pytest.mark.parametrize("app", SOURCES)
def test_every_rule_of_a_policy_has_its_row(app):
    """What no row asks for could be changed without anybody noticing."""
    source = SOURCES[app]
    named = {matrix.place(source, entry) for entry in matrix.entries(app)}
    raw = tomllib.loads(source)
    listed = {name: tables for name, tables in raw.items() if isinstance(tables, (list, dict)) and name != "choices"}
    rules = {
        matrix.Lines(source).extent(name, index): f"[{name}] at line {matrix.Lines(source).of(name, index)}"
        for name, tables in listed.items()
        if name != "decision"
        for index in range(len(tables) if isinstance(tables, list) else 1)
    }
    assert not [said for extent, said in rules.items() if extent not in named]


def test_rows_say_where_they_stand_and_what_shows_it():
    for row in matrix.rows():
        path, line = row.toml.split(":")
        assert (ROOT / path).read_text().splitlines()[int(line) - 1].startswith(("[", "#"))
        for node in (*row.kept_by, *row.mechanism):
            file, *_, name = node.split("::")
            assert f"def {name.split('[')[0]}(" in (ROOT / file).read_text(), node
        assert row.status in {matrix.KEPT, matrix.ORGANISATIONAL, matrix.OPEN}


def test_node_ids_of_lives_are_those_of_the_table_of_lives():
    known = {"-".join(key) for key in (*UNTIL, *RECORDS)}
    for row in matrix.rows():
        for node in row.kept_by[1:]:
            assert node.split("[")[1].rstrip("]") in known, node


def test_node_ids_are_particular_to_their_rows():
    nodes = [node for row in matrix.rows() for node in row.kept_by]
    assert len(nodes) == len(set(nodes))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[[row]]\nid = 'x'", "missing"),
        ("x", "demo.toml"),
        ("[[row]]\nid = 'x'\nclause = '900'\npromise = 'p'\nexpect = [{ check = 'no' }]", "demo.toml.*no"),
        ("[[row]]\nid = 'x'\nclause = '900'\npromise = 'p'\nexpect = []\n" * 2, "'x' stands twice"),
    ],
)
def test_a_catalogue_that_cannot_be(tmp_path, text, said):
    (tmp_path / "demo.toml").write_text(text)
    with pytest.raises(BadCatalogue, match=said):
        matrix.entries("demo", tmp_path)


def test_a_rule_that_is_not_there_is_said():
    _, entry = ROWS["genzo/face-72h"]
    with pytest.raises(BadCatalogue, match=r"face-72h: expected one \[promise\] with .*, found 0"):
        matrix.place(SOURCES["genzo"].replace('"72 h"', '"71 h"'), entry)
