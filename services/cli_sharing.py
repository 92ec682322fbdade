"""`mayfly sharing`: who outside receives what. Nothing here sends anything: it says what may be, and what is agreed."""

from __future__ import annotations

import asyncio
import json
import time
from typing import Annotated

import msgspec
import typer
from rich.console import Console
from rich.table import Table

from services import register, settings
from services.cli_hold import utc
from services.local.running import settings_file
from stream.policies import compiler, sharing
from stream.policies.obligations import Purpose
from stream.policies.sharing import Shared
from stream.policies.vocabulary import DataClass

app = typer.Typer(no_args_is_help=True, help="Who outside receives what: refused where the policy forbids it.")
_out = Console()

App = Annotated[str, typer.Argument(metavar="APP", help="The app")]
To = Annotated[str, typer.Option(help="The recipient, as the policy lists it")]
Of = Annotated[list[DataClass], typer.Option("--class", help="A data class; once for each")]
Anonymous = Annotated[bool, typer.Option("--anonymous", help="It identifies nobody, and cannot be made to (R12)")]
For = Annotated[Purpose, typer.Option("--purpose", help="What the recipient may use it for")]


@app.command()
def check(app_: App, to: To, of: Of, purpose: For, anonymous: Anonymous = False) -> None:  # noqa: FBT002
    """Say whether the policy lets these classes go to this recipient, and which clause decides. Exit 1 if not."""
    found = _line(app_, to, purpose, of, ground="to be named", anonymous=anonymous)
    typer.echo(f"{found.app} lets {', '.join(found.classes)} go to {found.recipient} ({found.clause})")


@app.command("register")
def register_(  # noqa: PLR0917 - one option for each part of a line
    app_: App,
    to: To,
    of: Of,
    purpose: For,
    ground: Annotated[str, typer.Option(help="The legal ground: a consent, a contract, a law")],
    anonymous: Anonymous = False,  # noqa: FBT002
) -> None:
    """Write down who receives what from now on. What the policy forbids is refused with its clause."""
    found = _line(app_, to, purpose, of, ground=ground, anonymous=anonymous)
    typer.echo(asyncio.run(register.write(settings.load(settings_file()).kafka, found)))


@app.command()
def end(line: Annotated[str, typer.Argument(metavar="ID", help="Its id")]) -> None:
    """Take a line away: nothing goes there any more."""
    kafka = settings.load(settings_file()).kafka
    asyncio.run(register.load(kafka)).find(line, Shared)
    asyncio.run(register.write(kafka, None, line))


@app.command()
def ls(as_json: Annotated[bool, typer.Option("--json", help="For programs")] = False) -> None:  # noqa: FBT002
    """List who receives what."""
    found = asyncio.run(register.load(settings.load(settings_file()).kafka)).of(Shared)
    if as_json:
        typer.echo(json.dumps([{"id": name} | msgspec.to_builtins(one) for name, one in found.items()], indent=2))
        return
    table = Table("id", "app", "recipient", "purpose", "classes", "ground", "since", box=None)
    for name, one in found.items():
        table.add_row(name, one.app, one.recipient, one.purpose, " ".join(one.classes), one.ground, utc(one.at))
    _out.print(table)


def _line(app_: str, to: str, purpose: Purpose, of: list[DataClass], *, ground: str, anonymous: bool) -> Shared:
    policies = compiler.load_all(settings.load(settings_file()).policies_extra)
    classes = tuple(one.value for one in of)
    return sharing.register(
        compiler.find(policies, app_), to, purpose, classes, ground=ground, now=time.time(), anonymous=anonymous
    )
