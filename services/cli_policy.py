"""`mayfly policy`: what the five apps promise, read, checked, compared and played through. No system need run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer

from services import cli_matrix, cli_policy_time, policy_tables, settings
from services.local.running import NotRunning, settings_file
from services.policy_tables import WIDTH, table
from services.terminal import console
from stream.policies import compiler
from stream.policies.model import Policy

app = typer.Typer(no_args_is_help=True, help="What the apps promise: read, check, compare, play through.")
PLATFORM = {
    "lead_s": ("How long before a ceiling do we act, so that a takeover fits?", "R1"),
    "returned_max_s": ("How long does what goes once returned wait for that?", "R3"),
    "holiday_country": ("Whose legal holidays are no working days?", "R6"),
    "time_zone": ("Where does a working day end?", "R6"),
}
"""What is decided once for all apps: settings of the system, with the rule that leaves them open."""

Json = Annotated[bool, typer.Option("--json", help="For machines")]


@app.callback()
def _policy() -> None:
    """What the apps promise: read, check, compare, play through."""


@app.command("list")
def ls(*, as_json: Json = False) -> None:
    """The apps, and how much each promises."""
    policies = compiler.load_all()
    if as_json:
        _json([_summary(policy) for policy in policies.values()])
        return
    made = table("app", "text", "dated", "operations", "promises", "rights", "open decisions", "hash")
    for policy in policies.values():
        made.add_row(
            policy.app,
            policy.source,
            policy.dated or "no date",
            ", ".join(f"{one.name}{'' if one.runs == 'server' else f' ({one.runs})'}" for one in policy.operations),
            str(len(policy.promises)),
            str(len(policy.rights)),
            str(sum(policy.decided[one.name] == one.strict for one in policy.decisions)),
            policy.hash[:12],
        )
    console(WIDTH).print(made)


@app.command()
def show(name: Annotated[str, typer.Argument(metavar="APP")], *, as_json: Json = False) -> None:
    """One policy, whole, in words and with its clauses."""
    policy = compiler.load(name)
    if as_json:
        _json(policy)
        return
    said = f"{policy.title}, text {policy.source}, {policy.dated or 'undated'}; {policy.hash[:12]}"
    console(WIDTH).print(said, policy_tables.whole(policy), sep="\n")


@app.command()
def check(path: Annotated[Path, typer.Argument(metavar="FILE")], *, as_json: Json = False) -> None:
    """Compile a file. Exit 1 with every error: file, line, clause, and what was probably meant."""
    try:
        policy = compiler.compile_policy(cli_policy_time.readable(path), path.name)
    except compiler.BadPolicy as error:
        said = str(error).splitlines()
        if as_json:
            _json({"ok": False, "errors": said})
        else:
            typer.echo("\n".join(said), err=True)
        raise typer.Exit(1) from None
    if as_json:
        _json({"ok": True, "errors": [], **_summary(policy)})
    else:
        typer.echo(f"{path.name} compiles: {len(policy.promises)} promises, {len(policy.operations)} operations")


@app.command()
def decisions(*, as_json: Json = False) -> None:
    """What the texts leave to a person: until somebody decides, the strict value holds."""
    found = [
        {"app": policy.app, **msgspec.to_builtins(one), "in_force": policy.decided[one.name]}
        for policy in compiler.load_all().values()
        for one in policy.decisions
    ]
    found += _platform()
    if as_json:
        _json(found)
        return
    made = table("app", "decision", "question", "in force", "clause")
    for row in found:
        value, strict = row["in_force"], row["strict"]
        shown = (", ".join(value) or "nobody") if isinstance(value, list) else str(value)
        by = " (strict)" if value == strict else f" (decided; strict: {strict})"
        clauses = "; ".join(filter(None, (row["clause"], row["reading"])))
        made.add_row(row["app"] or "all", row["name"], row["question"], shown + by, clauses)
    console(WIDTH).print(made)
    console(WIDTH).print(
        "\nA decision is a line in the TOML file that MAYFLY_DECISIONS names: a table for each app."
        " What is of all apps is a setting of the system.",
        style="dim",
    )


app.command()(cli_policy_time.timeline)
app.command()(cli_policy_time.simulate)
app.command()(cli_policy_time.diff)
app.command()(cli_matrix.matrix)


def _platform() -> list[dict[str, Any]]:
    """With the values of the system that MAYFLY_SETTINGS names or that runs here, else the defaults."""
    defaults = {field.name: field.default for field in msgspec.structs.fields(settings.Settings)}
    try:
        known: settings.Settings | None = settings.load(settings_file())
    except NotRunning:
        known = None
    return [
        {
            "app": "",
            "name": name,
            "question": question,
            "clause": rule,
            "reading": "",
            "strict": defaults[name],
            "in_force": defaults[name] if known is None else getattr(known, name),
        }
        for name, (question, rule) in PLATFORM.items()
    ]


def _summary(policy: Policy) -> dict[str, Any]:
    return {
        "app": policy.app,
        "title": policy.title,
        "source": policy.source,
        "dated": policy.dated,
        "hash": policy.hash,
        "operations": {one.name: one.runs for one in policy.operations},
        "promises": len(policy.promises),
        "rights": [one.name for one in policy.rights],
        "decisions": len(policy.decisions),
        "contradictions": len(policy.contradictions),
    }


def _json(value: Any) -> None:
    typer.echo(msgspec.json.encode(value, order="deterministic").decode())
