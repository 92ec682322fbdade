"""`mayfly disclose`: lawful requests, each a case that two people sign, executed once, all of it sealed."""

from __future__ import annotations

import asyncio
import hashlib
import json
import secrets
import time
from pathlib import Path
from typing import Annotated

import msgspec
import typer
from rich.console import Console
from rich.table import Table

from services import approvers, disclosed, owner_call, settings, unanswered
from services.case_files import CaseFiles, NoSuchCase
from services.cli_export import recipient_of
from services.cli_hold import parse_day, utc
from services.local.running import running, settings_file
from services.settings import Settings
from services.unanswered import Unanswered
from stream.agents import api_cases as api
from stream.agents import orders
from stream.agents.cases import APPROVERS, BadCase
from stream.agents.orders import Order
from stream.ids import Kind, Mint
from stream.policies import compiler, disclosures

app = typer.Typer(no_args_is_help=True, help="Lawful requests: a case hands out what its paper covers, sealed, once.")
_out = Console()

By = Annotated[str, typer.Option("--by", help="Your name, as registered among the approvers")]
Key = Annotated[Path, typer.Option("--key", help="The file with your private key (`mayfly hold key`)")]
CaseId = Annotated[str, typer.Argument(metavar="CASE", help="Its id")]


class Proposed(msgspec.Struct, frozen=True, tag="proposed"):
    """A case that gathers signatures, or has them."""

    order: Order
    signatures: dict[str, bytes]


class Executed(msgspec.Struct, frozen=True, tag="executed"):
    """A case that handed out its extract."""

    case: str  # hex of its commitment
    partition: int


State = Proposed | Executed


@app.command()
def propose(  # noqa: PLR0917 - one option for each part of a case
    case: Annotated[str, typer.Option("--case", help="Its id in your files")],
    app_: Annotated[str, typer.Option("--app", help="The app")],
    tenant: Annotated[str, typer.Option(help="The tenant's id")],
    authority: Annotated[str, typer.Option(help="Who asks")],
    document: Annotated[str, typer.Option(help="What they showed, as the app's policy names it, such as subpoena")],
    file: Annotated[Path, typer.Option(help="That paper: its digest is part of the case, itself it stays with you")],
    of: Annotated[list[str], typer.Option("--class", help="A class that the paper covers; once for each")],
    to: Annotated[Path, typer.Option(help="A file with the authority's public key (`mayfly export key`), in hex")],
    until: Annotated[str, typer.Option(help="Until when it may be handed out: a day (UTC), as 2027-01-31")],
    by: By,
    key: Key,
    subject: Annotated[str, typer.Option(help="All of this subject …")] = "",
    asset: Annotated[list[str] | None, typer.Option(help="… or these assets of one subject")] = None,
) -> None:
    """Write a case down and sign it as its first approver. Nothing is read for it yet."""
    known = settings.load(settings_file())
    try:
        order = msgspec.convert(
            {
                "id": case,
                "app": app_,
                "tenant": tenant,
                "subject": subject,
                "assets": tuple(asset or ()),
                "authority": authority,
                "document": document,
                "document_sha256": hashlib.sha256(file.read_bytes()).hexdigest(),
                "classes": tuple(of),
                "recipient": to.read_text().strip(),
                "until": parse_day(until),
                "proposed_at": int(time.time()),
                "proposed_by": by,
                "nonce": secrets.token_hex(16),
            },
            Order,
        )
    except OSError as error:
        raise BadCase(f"expected the paper and the public key in readable files, got: {error.strerror}") from None
    except msgspec.ValidationError as error:
        raise BadCase(f"expected a case of known words: {_where(error)}") from None
    _partition(known, order)
    policy = compiler.find(compiler.load_all(known.policies_extra), order.app)
    disclosures.allowed(policy, order.document, order.classes)
    signature = approvers.sign(key, orders.signed_part(order))
    _files(known).propose(case, Proposed(order, {by: signature}))
    _out.print(f"proposed; signed by {by}, 1 of {APPROVERS}. Another: mayfly disclose approve …", highlight=False)


@app.command()
def approve(
    case: CaseId,
    by: By,
    key: Key,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask whether this is the case you mean")] = False,  # noqa: FBT002
) -> None:
    """Read a case and sign it. Nothing leaves yet."""
    files = _files(settings.load(settings_file()))
    found = _proposed(files, case)
    shown = {name: getattr(found.order, name) for name in Order.__struct_fields__ if name != "recipient"}
    shown["recipient_sha256"] = hashlib.sha256(bytes.fromhex(found.order.recipient)).hexdigest()
    _out.print_json(data=shown)
    if not yes:
        typer.confirm("Is this the case that you approve?", abort=True)
    signatures = found.signatures | {by: approvers.sign(key, orders.signed_part(found.order))}
    files.write(case, Proposed(found.order, signatures))
    _out.print(f"signed by {by}, {len(signatures)} of {APPROVERS}", highlight=False)


@app.command()
def export(
    case: CaseId, out: Annotated[Path, typer.Option(help="A new folder for what leaves: everything in it is sealed")]
) -> None:
    """Execute a case that two have signed, once. The owner verifies, records, and only then seals."""
    known = settings.load(settings_file())
    files = _files(known)
    found = _proposed(files, case)
    partition = _partition(known, found.order)
    disclosed.create(out)
    extract = _ask(known, partition, api.Disclose(found.order, found.signatures), api.Extract)
    files.write(case, Executed(extract.view.case, partition))
    asyncio.run(disclosed.write(out, extract))
    what = ", ".join(f"{count} {name}" for name, count in extract.view.items.items())
    _out.print(f"handed out, sealed: {what}; {extract.passed_over} passed over", highlight=False)
    if extract.view.tell:
        _out.print(f"The subject is to be told, as far as law allows: then `mayfly disclose told {case}`")


@app.command()
def told(
    case: CaseId, ground: Annotated[str, typer.Option(help="On which law the subject may not be told")] = ""
) -> None:
    """Say that the subject was told of it, or why they may not be."""
    known = settings.load(settings_file())
    found = _files(known).read(case)
    if not isinstance(found, Executed):
        raise NoSuchCase("expected a case that handed something out; this one did not")
    _ask(known, found.partition, api.TellDisclosed(found.case, ground), api.DisclosureView)
    _out.print("recorded: not to be told" if ground else "recorded: told")


@app.command()
def withdraw(case: CaseId) -> None:
    """Forget a case's file: one that is not executed is withdrawn."""
    _files(settings.load(settings_file())).remove(case)


@app.command()
def ls(as_json: Annotated[bool, typer.Option("--json", help="For programs")] = False) -> None:  # noqa: FBT002
    """List what was handed out, and whose subjects are still to be told. Exit 4: not all partitions answered."""
    found, silent = everything(settings.load(settings_file()))
    if as_json:
        typer.echo(json.dumps(msgspec.to_builtins({"disclosures": found, "unanswered": silent}), indent=2))
        unanswered.tell(silent)
        return
    table = Table("case", "app", "authority", "document", "classes", "at", "subject", box=None)
    for view in found:
        what = " ".join(f"{count} {name}" for name, count in view.items.items())
        table.add_row(view.case[:16], view.app, view.authority, view.document, what, utc(view.at), _telling(view))
    _out.print(table)
    unanswered.tell(silent)


@app.command("open")
def open_(
    folder: Annotated[Path, typer.Argument(help="What `mayfly disclose export` made")],
    private: Annotated[Path, typer.Option("--key", help="The recipient's private key, from `mayfly export key`")],
    media: Annotated[Path | None, typer.Option(help="A new folder for pictures and videos, in clear")] = None,
) -> None:
    """For the recipient: print what the records say; with --media, open the pictures too."""
    try:
        recipient = recipient_of(private)
    except (OSError, ValueError) as error:
        raise disclosed.BadExtract(f"expected the file of a recipient's key: {type(error).__name__}") from None
    typer.echo(json.dumps(json.loads(disclosed.opened(folder, recipient)), indent=2, ensure_ascii=False))
    if media is not None:
        disclosed.open_media(folder, recipient, media)


def everything(known: Settings) -> tuple[list[api.DisclosureView], list[Unanswered]]:
    """Every record of a disclosure that lives, oldest first, and which partitions gave no answer."""
    ports = list(running().workers.values())
    answers, silent = asyncio.run(owner_call.ask_every(known, ports, api.ListDisclosures(), api.DisclosuresView))
    found = [view for _, answer in answers for view in answer.disclosures]
    return sorted(found, key=lambda one: one.at), silent


def _telling(view: api.DisclosureView) -> str:
    if not view.tell:
        return ""
    if view.ground:
        return "not to be told"
    return f"told {utc(view.told_at)}" if view.told_at else "to be told"


def _where(error: msgspec.ValidationError) -> str:
    """The place, without what was sent."""
    text = str(error)
    return text[text.rfind("`$") :] if "`$" in text else "see the options"


def _proposed(files: CaseFiles[State], case: str) -> Proposed:
    found = files.read(case)
    if not isinstance(found, Proposed):
        raise NoSuchCase("expected a case that is not executed; this one handed out its extract")
    return found


def _ask(known: Settings, partition: int, ask: msgspec.Struct, reply: type[owner_call.T]) -> owner_call.T:
    return asyncio.run(owner_call.ask(known, list(running().workers.values()), partition, ask, reply))


def _files(known: Settings) -> CaseFiles[State]:
    return CaseFiles(Path(known.state_dir) / "disclosures", State)


def _partition(known: Settings, order: Order) -> int:
    """Where the scope is. Raises BadCase or UnknownId."""
    orders.check(order, time.time())
    mint = Mint(bytes.fromhex(known.secret), known.partitions)
    if order.assets:
        return mint.check(Kind.ASSET, order.tenant, order.assets[0])
    return mint.place(order.tenant, order.subject)
