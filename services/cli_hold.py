"""`mayfly hold`: legal holds, each a case that two people sign and the owners verify."""

from __future__ import annotations

import asyncio
import json
import secrets
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import msgspec
import typer
from rich.console import Console
from rich.table import Table

from services import approvers, owner_call, settings, unanswered
from services.hold_files import HoldFiles, NoSuchCase, Opened, Proposed
from services.local.running import running, settings_file
from services.settings import Settings
from stream.agents import api, cases
from stream.agents.cases import BadCase, Case
from stream.ids import Kind, Mint

app = typer.Typer(no_args_is_help=True, help="Legal holds: a case keeps what exists beyond its promise, hidden.")
_out = Console()

By = Annotated[str, typer.Option("--by", help="Your name, as registered among the approvers")]
Key = Annotated[Path, typer.Option("--key", help="The file with your private key")]
CaseId = Annotated[str, typer.Argument(metavar="CASE", help="Its id")]


@app.command()
def key(out: Annotated[Path, typer.Option(help="A new file for the private key, which never leaves you")]) -> None:
    """Make an approver's key. The operator registers the public part that this prints."""
    typer.echo(approvers.make_key(out).hex())


@app.command()
def propose(  # noqa: PLR0917 - one option for each part of a case
    case: Annotated[str, typer.Option("--case", help="Its id in your files")],
    basis: Annotated[str, typer.Option(help="A basis that the app's policy knows, such as court_order")],
    app_: Annotated[str, typer.Option("--app", help="The app")],
    tenant: Annotated[str, typer.Option(help="The tenant's id")],
    until: Annotated[str, typer.Option(help="When the hold ends: a day (UTC), as 2027-01-31")],
    by: By,
    key: Key,
    subject: Annotated[str, typer.Option(help="All media of this subject …")] = "",
    asset: Annotated[str, typer.Option(help="… or one asset")] = "",
) -> None:
    """Write a case down and sign it as its first approver. Nothing is held yet."""
    known = settings.load(settings_file())
    made = Case(
        id=case,
        basis=basis,
        app=app_,
        tenant=tenant,
        subject=subject,
        asset=asset,
        until=parse_day(until),
        proposed_at=int(time.time()),
        proposed_by=by,
        nonce=secrets.token_hex(cases.NONCE_DIGITS // 2),
    )
    _partition(known, made)
    signature = approvers.sign(key, cases.signed_part(made))
    _files(known).propose(case, Proposed(made, {by: signature}))
    _out.print(
        f"proposed; signed by {by}, 1 of {cases.APPROVERS}. Another approver: mayfly hold approve …", highlight=False
    )


@app.command()
def approve(
    case: CaseId,
    by: By,
    key: Key,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask whether this is the case you mean")] = False,  # noqa: FBT002
) -> None:
    """Read a case, sign it, and open it once two have signed: what lives of its scope is held from then on."""
    known, files = settings.load(settings_file()), _files(settings.load(settings_file()))
    found = files.read(case)
    if not isinstance(found, Proposed):
        raise NoSuchCase("expected a case that still gathers signatures; this one is open")
    _out.print_json(data={name: getattr(found.case, name) for name in Case.__struct_fields__})
    if not yes:
        typer.confirm("Is this the case that you approve?", abort=True)
    signatures = found.signatures | {by: approvers.sign(key, cases.signed_part(found.case))}
    files.write(case, Proposed(found.case, signatures))
    if len(signatures) < cases.APPROVERS:
        _out.print(f"signed by {by}, {len(signatures)} of {cases.APPROVERS}", highlight=False)
        return
    partition = _partition(known, found.case)
    view = _ask(known, partition, api.OpenHold(found.case, signatures), api.HoldView)
    files.write(case, Opened(view.case, partition))
    _out.print(f"{view.held} assets held until {utc(view.until)}; {view.passed_over} passed over", highlight=False)


@app.command()
def release(case: CaseId, by: By, key: Key) -> None:
    """Let go before the end, or withdraw a case that is not open. One approver is enough."""
    known, files = settings.load(settings_file()), _files(settings.load(settings_file()))
    found = files.read(case)
    if isinstance(found, Opened):
        commitment = bytes.fromhex(found.case)
        ask = api.ReleaseHold(commitment, {by: approvers.sign(key, cases.release_part(commitment))})
        view = _ask(known, found.partition, ask, api.HoldView)
        _out.print(f"{view.held} assets released; what was overdue is erased now", highlight=False)
    files.remove(case)


@app.command()
def ls(as_json: Annotated[bool, typer.Option("--json", help="For programs")] = False) -> None:  # noqa: FBT002
    """List what is held. Owners know a case by its commitment only. Exit 4: not all partitions answered."""
    known, ports = settings.load(settings_file()), list(running().workers.values())
    answers, silent = asyncio.run(owner_call.ask_every(known, ports, api.ListHolds(), api.HoldsView))
    found = [(partition, view) for partition, answer in answers for view in answer.holds]
    if as_json:
        rows = [{"partition": n, "case": v.case, "app": v.app, "until": v.until, "held": v.held} for n, v in found]
        json.dump({"holds": rows, "unanswered": msgspec.to_builtins(silent)}, sys.stdout, indent=2)
        sys.stdout.write("\n")
        unanswered.tell(silent)
        return
    table = Table("case", "app", "until", "held", box=None)
    for _, view in found:
        table.add_row(view.case[:16], view.app, utc(view.until), str(view.held))
    _out.print(table)
    unanswered.tell(silent)


def _ask(known: Settings, partition: int, ask: msgspec.Struct, reply: type[owner_call.T]) -> owner_call.T:
    return asyncio.run(owner_call.ask(known, list(running().workers.values()), partition, ask, reply))


def _files(known: Settings) -> HoldFiles:
    return HoldFiles(Path(known.state_dir) / "holds")


def _partition(known: Settings, case: Case) -> int:
    """Where the scope is. Raises BadCase or UnknownId."""
    cases.check(case, time.time())
    mint = Mint(bytes.fromhex(known.secret), known.partitions)
    if case.asset:
        return mint.check(Kind.ASSET, case.tenant, case.asset)
    return mint.place(case.tenant, case.subject)


def parse_day(text: str) -> int:
    """The beginning of a day, UTC. Raises BadCase."""
    try:
        return int(datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=UTC).timestamp())
    except ValueError:
        raise BadCase("expected --until to be a day such as 2027-01-31") from None


def utc(seconds: float) -> str:
    """As people read it."""
    return time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(seconds))
