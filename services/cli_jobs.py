"""`mayfly jobs`: what waits, runs, failed, and what an operator may do about it. No content, no name of a user.

Exit status: 0 done; 1 not done, with a sentence on stderr; of `ls`, 4 where it lacks what some partition has.
"""

from __future__ import annotations

from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from services import operator, terminal, unanswered
from services.operator import AsJson, By, Key
from stream.agents import api_operator as api
from stream.audit.operated import Action
from stream.events.rows import JobState, Lane

app = typer.Typer(no_args_is_help=True, help="Jobs of all owners: ids, states, deadlines. Never what they are about.")

UNFINISHED = tuple(state for state in JobState if not state.ended)

JobId = Annotated[str, typer.Argument(metavar="JOB", help="Its id")]


@app.command()
def ls(  # noqa: PLR0917 - one option for each filter
    app_: Annotated[str, typer.Option("--app", help="Of this app")] = "",
    state: Annotated[list[JobState] | None, typer.Option(help="In this state; once for each")] = None,
    all_: Annotated[bool, typer.Option("--all", help="Ended ones too")] = False,  # noqa: FBT002
    lane: Annotated[Lane | None, typer.Option(help="In this lane")] = None,
    tenant: Annotated[str, typer.Option(help="Of this tenant, by its id")] = "",
    older_than: Annotated[str, typer.Option(help="Submitted so long ago: 90s, 15m, 2h, 3d")] = "0s",
    limit: Annotated[int, typer.Option(min=1, max=1000, help="At most so many")] = 200,
    as_json: AsJson = False,  # noqa: FBT002
) -> None:
    """List jobs, oldest first: without options those that have not ended. Exit 4: not all partitions answered."""
    request = api.ListJobs(
        app=app_,
        states=tuple(state or (() if all_ else UNFINISHED)),
        lane=lane,
        tenant=tenant,
        older_than_s=operator.seconds(older_than),
        limit=limit,
    )
    answers, silent = operator.ask_every(request, api.JobLines)
    found = sorted((line for answer in answers for line in answer.jobs), key=lambda line: line.created_at)[:limit]
    matched = sum(answer.matched for answer in answers)
    if as_json:
        operator.print_json({"jobs": found, "matched": matched, "unanswered": silent})
        unanswered.tell(silent)
        return
    console = terminal.console()
    table = Table("job", "app", "lane", "state", "stage", "failed", "age", "position", "why", "tenant", box=None)
    for line in found:
        position = "" if line.queue_position is None else str(line.queue_position)
        table.add_row(
            line.id,
            line.app,
            line.lane,
            line.state,
            line.stage,
            str(line.attempts),
            operator.age(line.age_s),
            position,
            line.reason,
            line.tenant,
        )
    console.print(table)
    if matched > len(found):
        console.print(f"{matched - len(found)} more match", highlight=False)
    unanswered.tell(silent)


@app.command()
def show(job: JobId, as_json: AsJson = False) -> None:  # noqa: FBT002
    """One job, the deadlines of what it holds, and whether it can be retried."""
    found = operator.ask(operator.partition_of(job), api.ShowJob(job), api.JobDetail)
    if as_json:
        operator.print_json(found)
        return
    console = terminal.console()
    _say(console, found.job)
    table = Table("asset", "role", "state", "class", "clause", "due", box=None)
    for held in found.assets:
        table.add_row(
            held.id, f"{held.role} {held.n}", held.state, held.data_class, held.clause, operator.moment(held.due)
        )
    console.print(table)
    for n, reason in found.refused.items():
        console.print(f"item {n} gave nothing: {reason}", highlight=False)
    kind, sentence = found.no_retry
    console.print(f"no retry: {kind}: {sentence}" if kind else "can be retried", highlight=False, soft_wrap=True)


@app.command()
def retry(job: JobId, by: By = "", key: Key = None, as_json: AsJson = False) -> None:  # noqa: FBT002
    """Begin a failed or cancelled job anew, while its inputs live; one that waits for its next try, at once."""
    request = api.RetryJob(job, operator.signatures(Action.RETRY, job, by, key))
    _show(operator.ask(operator.partition_of(job), request, api.JobLine), as_json=as_json)


@app.command()
def cancel(
    job: JobId,
    wait: Annotated[float, typer.Option(min=0, max=25, help="Seconds to wait for its end")] = 15.0,
    by: By = "",
    key: Key = None,
    as_json: AsJson = False,  # noqa: FBT002
) -> None:
    """End a job: a running engine stops. What its user chose to keep stays."""
    request = api.CancelJob(job, operator.signatures(Action.CANCEL, job, by, key), wait)
    _show(operator.ask(operator.partition_of(job), request, api.JobLine), as_json=as_json)


def _show(line: api.JobLine, *, as_json: bool) -> None:
    if as_json:
        operator.print_json(line)
    else:
        _say(terminal.console(), line)


def _say(console: Console, line: api.JobLine) -> None:
    parts = [f"{line.id}: {line.state}", line.app, f"lane {line.lane}", f"stage {line.stage}"]
    parts += [f"{line.attempts} attempts failed"] if line.attempts else []
    parts += [line.reason] if line.reason else []
    console.print(", ".join(parts), highlight=False, soft_wrap=True)
