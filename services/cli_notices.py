"""`mayfly notices`: what is announced, and what must be said to whom by when."""

from __future__ import annotations

import asyncio
import json
import math
import time
from typing import Annotated

import msgspec
import typer
from rich.console import Console
from rich.table import Table

from services import cli_disclose, cli_incident, register, settings, unanswered
from services.cli_hold import parse_day, utc
from services.local.running import settings_file
from services.settings import Settings
from services.unanswered import Unanswered
from stream.policies import announcements, compiler, notices
from stream.policies.announcements import Announcement
from stream.policies.calendar import Holidays
from stream.policies.obligations import Occasion

app = typer.Typer(no_args_is_help=True, help="Changes, transfers, ends and incidents: who must be told by when.")
_out = Console()


class Line(msgspec.Struct, frozen=True):
    """Something that must be said. `by` None: without delay, no number is stated."""

    of: str
    id: str
    app: str
    to: str
    via: tuple[str, ...]
    by: float | None
    clause: str


@app.command()
def announce(
    app_: Annotated[str, typer.Argument(metavar="APP", help="The app")],
    occasion: Annotated[Occasion, typer.Argument(help="What takes effect")],
    effective: Annotated[str, typer.Option(help="On which day (UTC), as 2027-01-31")],
) -> None:
    """Announce something. Refused where it would take effect before all could have been told in time."""
    known = settings.load(settings_file())
    policy = compiler.find(compiler.load_all(known.policies_extra), app_)
    made = announcements.announce(policy, occasion, time.time(), parse_day(effective), _calendar(known))
    name = asyncio.run(register.write(known.kafka, made))
    for one in announcements.pending(policy, made, _calendar(known)):
        typer.echo(f"{name}: tell {one.to} by {utc(one.by)}, by {', '.join(one.via)} ({one.clause})")
    if occasion is Occasion.TERMINATION:
        ending = notices.ending(policy, made.effective, _calendar(known))
        typer.echo(f"stop collecting on {utc(ending.stops_at)}; all gone by {utc(max(ending.gone_by.values()))}")


@app.command()
def told(
    line: Annotated[str, typer.Argument(metavar="ID", help="The announcement's id")],
    to: Annotated[str, typer.Option(help="users, regulator or public")],
) -> None:
    """Record that an audience was told of an announcement."""
    known = settings.load(settings_file())
    made = asyncio.run(register.load(known.kafka)).find(line, Announcement)
    policy = compiler.find(compiler.load_all(known.policies_extra), made.app)
    made = announcements.told(policy, made, _calendar(known), to, time.time())
    asyncio.run(register.write(known.kafka, made, line))


@app.command()
def withdraw(line: Annotated[str, typer.Argument(metavar="ID", help="The announcement's id")]) -> None:
    """Take an announcement back, as long as it has not taken effect."""
    known = settings.load(settings_file())
    made = asyncio.run(register.load(known.kafka)).find(line, Announcement)
    if made.effective <= time.time():
        raise announcements.NotPending("expected an announcement whose day has not come: what is done stays done")
    asyncio.run(register.write(known.kafka, None, line))


@app.command()
def due(as_json: Annotated[bool, typer.Option("--json", help="For programs")] = False) -> None:  # noqa: FBT002
    """List what must be said to whom by when: of announcements, incidents and disclosures, the most urgent first.

    Exit 4: not all partitions answered, so that a disclosure may be missing.
    """
    found, silent = everything(settings.load(settings_file()))
    if as_json:
        typer.echo(json.dumps(msgspec.to_builtins({"due": found, "unanswered": silent}), indent=2))
        unanswered.tell(silent)
        return
    table = Table("of", "id", "app", "tell", "by", "via", "clause", box=None)
    for one in found:
        when = "without delay" if one.by is None else utc(one.by)
        table.add_row(one.of, one.id[:16], one.app, one.to, when, " ".join(one.via), one.clause)
    _out.print(table)
    unanswered.tell(silent)


def everything(known: Settings) -> tuple[list[Line], list[Unanswered]]:
    """All that is still to be said, and which partitions gave no answer."""
    policies, calendar = compiler.load_all(known.policies_extra), _calendar(known)
    found = [
        Line(one.of.value, name, one.app, one.to.value, tuple(via.value for via in one.via), one.by, one.clause)
        for name, made in asyncio.run(register.load(known.kafka)).of(Announcement).items()
        for one in announcements.pending(policies[made.app], made, calendar)
    ]
    found += [
        Line("incident", view.id, one.app, one.to, one.via, one.by, one.clause)
        for view in cli_incident.everything(known)
        for one in view.pending
    ]
    disclosures, silent = cli_disclose.everything(known)
    found += [
        Line("disclosure", view.case, view.app, "subject", (), None, "as far as law allows")
        for view in disclosures
        if view.tell and not view.told_at and not view.ground
    ]
    return sorted(found, key=lambda one: (-math.inf if one.by is None else one.by, one.app, one.to)), silent


def _calendar(known: Settings) -> Holidays:
    return Holidays(known.holiday_country, known.time_zone)
