"""`mayfly parked`: events that no agent could handle. Never what is sealed in them.

Exit status: 0 done; 1 not done, with a sentence on stderr; of `ls`, 4 where it lacks what some partition has.
"""

from __future__ import annotations

from typing import Annotated

import typer
from rich.table import Table

from services import operator, terminal, unanswered
from services.operator import AsJson, By, Key
from stream.agents import api_operator as api
from stream.agents.parked import UnknownParked
from stream.audit.operated import Action

app = typer.Typer(no_args_is_help=True, help="Parked events: why, since when, until when; put back, or forgotten.")

Event = Annotated[str, typer.Argument(metavar="EVENT", help="As `ls` shows it: partition/topic/offset")]


@app.command()
def ls(
    topic: Annotated[str, typer.Option(help="Of this topic")] = "",
    reason: Annotated[str, typer.Option(help="For this reason")] = "",
    as_json: AsJson = False,  # noqa: FBT002
) -> None:
    """List the parked events of all partitions, oldest first. Exit 4: not all partitions answered."""
    answers, silent = operator.ask_every(api.ListParked(), api.ParkedLines)
    found = [
        line
        for answer in answers
        for line in answer.parked
        if topic in {"", line.topic} and reason in {"", line.reason}
    ]
    found.sort(key=lambda line: line.at)
    if as_json:
        operator.print_json({"parked": found, "unanswered": silent})
        unanswered.tell(silent)
        return
    table = Table("event", "reason", "age", "expires", "", box=None)
    for line in found:
        table.add_row(_name(line), line.reason, operator.age(line.age_s), operator.moment(line.due), line.handled)
    terminal.console().print(table)
    unanswered.tell(silent)


@app.command()
def show(event: Event, as_json: AsJson = False) -> None:  # noqa: FBT002
    """One of them: its reason, and the clear header of its original."""
    partition, name = _parse(event)
    found = operator.ask(partition, api.ShowParked(name), api.ParkedDetail)
    if as_json:
        operator.print_json(found)
        return
    _say(found.parked)
    if not found.digest:
        typer.echo("its original has left the topic")
        return
    sealed = f"{found.sealed_bytes} bytes are sealed, and stay so" if found.event else "it is no event of ours"
    typer.echo(f"{found.size_bytes} bytes, digest {found.digest}; {sealed}")
    if found.event:
        typer.echo(f"{found.event} {found.header}")


@app.command()
def replay(event: Event, by: By = "", key: Key = None, as_json: AsJson = False) -> None:  # noqa: FBT002
    """Put one back on its topic, once: its agent decides anew."""
    partition, name = _parse(event)
    request = api.ReplayParked(name, operator.signatures(Action.REPLAY, f"{partition}/{name}", by, key))
    _show(operator.ask(partition, request, api.ParkedLine), as_json=as_json)


@app.command()
def drop(event: Event, by: By = "", key: Key = None, as_json: AsJson = False) -> None:  # noqa: FBT002
    """Forget one: nothing replays it any more."""
    partition, name = _parse(event)
    request = api.DropParked(name, operator.signatures(Action.DROP, f"{partition}/{name}", by, key))
    line = operator.ask(partition, request, api.ParkedLine)
    if as_json:
        operator.print_json(line)
    else:
        typer.echo(f"{_name(line)} is dropped")


def _show(line: api.ParkedLine, *, as_json: bool) -> None:
    if as_json:
        operator.print_json(line)
    else:
        _say(line)


def _say(line: api.ParkedLine) -> None:
    typer.echo(
        f"{_name(line)}: {line.reason}, parked {operator.age(line.age_s)} ago, until {operator.moment(line.due)}"
    )
    if line.handled:
        before = ", before this was asked" if line.again else ""
        typer.echo(f"{line.handled} at {operator.moment(line.handled_at)}{before}")


def _name(line: api.ParkedLine) -> str:
    return f"{line.partition}/{line.name}"


def _parse(event: str) -> tuple[int, str]:
    """(partition, name). Raises UnknownParked."""
    partition, _, name = event.partition("/")
    if not partition.isascii() or not partition.isdigit() or int(partition) >= operator.partitions():
        raise UnknownParked("expected partition/topic/offset, as `mayfly parked ls` shows it")
    return int(partition), name
