"""`mayfly incident`: what happened, what was done, and who must be told of it by when."""

from __future__ import annotations

import asyncio
import json
from typing import Annotated

import msgspec
import typer
from rich.console import Console
from rich.table import Table

from services import owner_call, settings
from services.cli_hold import utc
from services.local.running import running, settings_file
from services.settings import Settings
from stream.agents import api_incidents as api
from stream.agents import incidents

app = typer.Typer(no_args_is_help=True, help="Incidents: facts, measures, and who must be told by when. Name no user.")
_out = Console()

Id = Annotated[str, typer.Argument(metavar="ID", help="As `mayfly incident ls` shows it")]
Grade = Annotated[int, typer.Option(min=1, max=4, help="1, the worst, to 4: docs/operators/incident-plan.md")]
Apps = Annotated[list[str] | None, typer.Option("--app", help="An app that it concerns; once for each")]
Classes = Annotated[list[str] | None, typer.Option("--class", help="A data class that it concerns; once for each")]
Fact = Annotated[str, typer.Option(help="What was found")]
Measure = Annotated[str, typer.Option(help="What was done")]


@app.command("open")
def open_(grade: Grade, fact: Fact, app_: Apps = None, of: Classes = None) -> None:
    """Write a suspicion down."""
    ask = api.OpenIncident(grade, tuple(app_ or ()), tuple(of or ()), fact)
    _show(_ask(settings.load(settings_file()), ask, api.IncidentView))


@app.command()
def update(  # noqa: PLR0917 - one option for each part
    incident: Id,
    fact: Fact = "",
    measure: Measure = "",
    grade: Annotated[int, typer.Option(min=0, max=4, help="0: as before")] = 0,
    app_: Apps = None,
    of: Classes = None,
) -> None:
    """Add what was found or done, another grade, further apps and classes."""
    ask = api.ChangeIncident(
        incident, grade=grade, apps=tuple(app_ or ()), classes=tuple(of or ()), fact=fact, measure=measure
    )
    _show(_ask(settings.load(settings_file()), ask, api.IncidentView))


@app.command()
def confirm(incident: Id, fact: Fact = "") -> None:
    """It is one: from now on people must be told."""
    ask = api.ChangeIncident(incident, fact=fact, confirm=True)
    _show(_ask(settings.load(settings_file()), ask, api.IncidentView))


@app.command()
def told(
    incident: Id,
    app_: Annotated[str, typer.Option("--app", help="Whose")],
    to: Annotated[str, typer.Option(help="users, regulator or public")],
    via: Annotated[str, typer.Option(help="Which way, as the policy names it: site, push, sms, …")],
) -> None:
    """Record that an audience was told."""
    ask = api.ChangeIncident(incident, told_app=app_, told_to=to, told_via=via)
    _show(_ask(settings.load(settings_file()), ask, api.IncidentView))


@app.command()
def close(incident: Id, measure: Measure = "") -> None:
    """It is over. Refused while somebody is still to be told."""
    ask = api.ChangeIncident(incident, measure=measure, close=True)
    _show(_ask(settings.load(settings_file()), ask, api.IncidentView))


@app.command()
def show(incident: Id) -> None:
    """All that is known of it, as JSON."""
    found = [one for one in everything(settings.load(settings_file())) if one.id == incident]
    if not found:
        raise incidents.UnknownIncident("expected the id of an incident that is kept: see `mayfly incident ls`")
    typer.echo(json.dumps(msgspec.to_builtins(found[0]), indent=2, ensure_ascii=False))


@app.command()
def ls(as_json: Annotated[bool, typer.Option("--json", help="For programs")] = False) -> None:  # noqa: FBT002
    """List incidents, and how many are still to be told of each."""
    found = everything(settings.load(settings_file()))
    if as_json:
        typer.echo(json.dumps([msgspec.to_builtins(one) for one in found], indent=2, ensure_ascii=False))
        return
    table = Table("id", "grade", "state", "apps", "opened", "to be told", box=None)
    for one in found:
        said = one.incident
        table.add_row(
            one.id, str(said.grade), said.state.value, " ".join(said.apps), utc(said.opened_at), str(len(one.pending))
        )
    _out.print(table)


def everything(known: Settings) -> tuple[api.IncidentView, ...]:
    """Every incident that is kept, oldest first."""
    return _ask(known, api.ListIncidents(), api.IncidentsView).incidents


def _show(view: api.IncidentView) -> None:
    said = view.incident
    typer.echo(f"{view.id}: grade {said.grade}, {said.state}; kept until {utc(view.kept_until)}")
    for one in view.pending:
        typer.echo(f"tell {one.to} of {one.app} by {utc(one.by)}, by one of {', '.join(one.via)} ({one.clause})")


def _ask(known: Settings, ask: msgspec.Struct, reply: type[owner_call.T]) -> owner_call.T:
    return asyncio.run(owner_call.ask(known, list(running().workers.values()), incidents.PARTITION, ask, reply))
