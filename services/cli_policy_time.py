"""`mayfly policy timeline|simulate|diff`: a policy in time."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import msgspec
import typer
from rich.table import Table
from rich.text import Text

from services import policy_lives
from services.policy_lives import JOB_S, span
from services.policy_tables import WIDTH, table
from services.terminal import console
from stream.policies import change, compiler
from stream.policies import simulate as simulation
from stream.policies.calendar import Holidays
from stream.policies.change_duties import window
from stream.policies.vocabulary import DataClass

Json = Annotated[bool, typer.Option("--json", help="For machines")]
_MARKS = ((3600.0, "1 h"), (86_400.0, "1 d"), (10 * 86_400.0, "10 d"), (100 * 86_400.0, "100 d"))
_COLUMNS = 44


def timeline(name: Annotated[str, typer.Argument(metavar="APP")], *, as_json: Json = False) -> None:
    """From its upload to its end: how long each kind of thing lives, case by case."""
    policy = compiler.load(name)
    lives = [life for data_class in DataClass for life in policy_lives.lives(policy, data_class)]
    if as_json:
        typer.echo(msgspec.json.encode([life | {"seconds": _finite(life["seconds"])} for life in lives]).decode())
        return
    made = Table(box=None, pad_edge=False, header_style="dim")
    for heading in ("data", "case", _scale(), "gone", "clause"):
        made.add_column(heading, no_wrap=heading == _scale(), overflow="fold")
    before = ""
    for life in lives:
        shown = "" if life["data_class"] == before else str(life["data_class"])
        before = str(life["data_class"])
        made.add_row(shown, str(life["case"]), _bar(life["seconds"]), str(life["gone"]), str(life["clause"]))
    console(WIDTH).print(made)
    console(WIDTH).print(
        "\n━ lives  ╸ gone  · never stored, or gone with the account  ─▶ until its user, or whoever it is for, ends it"
        "\nA job here takes a minute; what goes with an account counts from its cancellation.",
        style="dim",
    )


def simulate(
    name: Annotated[str, typer.Argument(metavar="APP")],
    events: Annotated[Path, typer.Option(help="CSV or JSON lines: at, event, thing, class, choice, face")],
    *,
    as_json: Json = False,
) -> None:
    """Play events through a policy: when each thing goes, and which clause ends it."""
    policy = compiler.load(name)
    lives = simulation.run(policy, simulation.read(readable(events).decode()))
    if as_json:
        rows = [msgspec.to_builtins(life) for life in lives]
        typer.echo(msgspec.json.encode([_without_infinity(row) for row in rows]).decode())
        return
    made = table("thing", "class", "made", "gone at the latest", "lives", "ended by", "not before")
    for life in lives:
        if life.refused:
            made.add_row(life.thing, life.data_class, _when(life.made_at), "never stored", "", life.refused, "")
        else:
            lived = "" if math.isinf(life.gone_at) else span(life.gone_at - life.made_at)
            floor = _when(life.floor) if life.floor else ""
            made.add_row(
                life.thing, life.data_class, _when(life.made_at), _when(life.gone_at), lived, life.clause, floor
            )
    console(WIDTH).print(made)


def diff(
    old: Annotated[Path, typer.Argument(metavar="OLD")],
    new: Annotated[Path, typer.Argument(metavar="NEW")],
    published: Annotated[str, typer.Option(help="The day on which the new text is published (ISO 8601)")] = "",
    *,
    as_json: Json = False,
) -> None:
    """What a new policy changes, for what is stored and for what comes; who must be told; when it may take effect."""
    before, after = (compiler.compile_policy(readable(path), path.name) for path in (old, new))
    found = change.diff(before, after)
    said = change.tellings(before, after, found)
    day = _day(published) if published else datetime.now(UTC)
    effective = datetime.fromtimestamp(change.effective(day.timestamp(), said, Holidays()), UTC)
    if as_json:
        typer.echo(
            msgspec.json.encode({"changes": found, "notices": said, "effective": effective.isoformat()}).decode()
        )
        return
    made = table("what", "until now", "then", "for whom", "clauses")
    for one in found:
        clauses = " → ".join(dict.fromkeys(filter(None, (one.clause_before, one.clause_after))))
        made.add_row(one.what, one.before, one.after, one.effect, clauses)
    console(WIDTH).print(made if found else "Nothing changes for anybody.")
    for telling in said:
        days = f"{window(telling.before)} before" if telling.before else "before"
        typer.echo(f"told of {telling.of}, {days} it takes effect, by {', '.join(telling.via)} ({telling.clause})")
    typer.echo(f"published on {day:%d %b %Y}, it may take effect on {effective:%d %b %Y}")


def readable(path: Path) -> bytes:
    """A file of text. Raises what a person is told of any wrong argument."""
    try:
        found = path.read_bytes()
        found.decode()
    except OSError as error:
        raise typer.BadParameter(f"expected a readable file, got: {error.strerror}") from None
    except UnicodeDecodeError:
        raise typer.BadParameter("expected a file of UTF-8 text, got other bytes") from None
    return found


def _day(text: str) -> datetime:
    try:
        return datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=UTC)
    except ValueError:
        raise typer.BadParameter("expected --published to be a day such as 2027-01-31") from None


def _at(seconds: float) -> int:
    """The column of a moment, on a scale from a minute to a year by equal factors."""
    low, high = math.log(60.0), math.log(366 * 86_400.0)
    share = (math.log(max(seconds, 60.0)) - low) / (high - low)
    return min(max(round(share * (_COLUMNS - 1)), 0), _COLUMNS - 1)


def _scale() -> str:
    line = [" "] * (_COLUMNS + 4)
    for seconds, label in _MARKS:
        line[_at(seconds) : _at(seconds) + len(label)] = label
    return "".join(line).rstrip()


def _bar(seconds: object) -> Text:
    assert isinstance(seconds, float)
    if seconds == 0.0:
        return Text("·", "dim")  # never stored, or gone in the very step
    if math.isinf(seconds):
        return Text("─" * (_COLUMNS - 1) + "▶", "yellow")
    return Text("━" * _at(seconds) + "╸", "green" if seconds <= JOB_S else "cyan")


def _when(moment: float) -> str:
    return "open" if math.isinf(moment) else f"{datetime.fromtimestamp(moment, UTC):%d %b %Y %H:%M}"


def _finite(seconds: object) -> object:
    return None if isinstance(seconds, float) and math.isinf(seconds) else seconds


def _without_infinity(row: dict[str, object]) -> dict[str, object]:
    return {key: _finite(value) for key, value in row.items()}
