"""`mayfly policy`: what the five apps promise, read, checked, compared and played through. No system need run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer
from rich.console import Console

from services import cli_matrix, cli_policy_time, policy_tables
from services.policy_tables import table
from stream.policies import compiler
from stream.policies.model import Policy

app = typer.Typer(no_args_is_help=True, help="What the apps promise: read, check, compare, play through.")
Json = Annotated[bool, typer.Option("--json", help="For machines")]
WIDTH = 150


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
    console().print(made)


@app.command()
def show(name: Annotated[str, typer.Argument(metavar="APP")], *, as_json: Json = False) -> None:
    """One policy, whole, in words and with its clauses."""
    policy = compiler.load(name)
    if as_json:
        _json(policy)
        return
    said = f"{policy.title}, text {policy.source}, {policy.dated or 'undated'}; {policy.hash[:12]}"
    console().print(said, policy_tables.whole(policy), sep="\n")


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
    rows = [(policy, one) for policy in compiler.load_all().values() for one in policy.decisions]
    if as_json:
        _json(
            [
                {"app": policy.app, **msgspec.to_builtins(one), "in_force": policy.decided[one.name]}
                for policy, one in rows
            ]
        )
        return
    made = table("app", "decision", "question", "in force", "clause")
    for policy, one in rows:
        value = policy.decided[one.name]
        shown = (", ".join(value) or "nobody") if isinstance(value, list) else str(value)
        by = " (strict)" if value == one.strict else f" (decided; strict: {one.strict})"
        made.add_row(policy.app, one.name, one.question, shown + by, policy_tables.cited(one))
    console().print(made)
    console().print(
        "\nA decision is a line in the TOML file that MAYFLY_DECISIONS names: a table for each app.", style="dim"
    )


app.command()(cli_policy_time.timeline)
app.command()(cli_policy_time.simulate)
app.command()(cli_policy_time.diff)
app.command()(cli_matrix.matrix)


def console() -> Console:
    """A file or a pipe has no width; tables then take what they need."""
    made = Console()
    return made if made.is_terminal else Console(width=WIDTH)


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
