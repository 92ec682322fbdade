"""A job's progress as a bar: what it does, how far it is, how long it takes, where it waits."""

from __future__ import annotations

from typing import Final

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.table import Column

from stream.agents.api import JobView
from stream.events.rows import JobState, Stage

DETECT_SHARE: Final = 0.1
"""Of the whole bar: the engine's own fraction starts again with each stage."""

BAR_CHARS: Final = 12


def bars(console: Console) -> Progress:
    """An empty set of bars; tasks have a field `doing`."""
    whole, rest = Column(no_wrap=True), Column(no_wrap=True, overflow="ellipsis", ratio=1)
    return Progress(
        TextColumn("  {task.description}", style="bold", table_column=whole),
        BarColumn(BAR_CHARS),
        TaskProgressColumn(table_column=Column(no_wrap=True)),
        TextColumn("ETA", table_column=Column(no_wrap=True)),
        TimeRemainingColumn(compact=True, table_column=Column(no_wrap=True)),
        TextColumn("{task.fields[doing]}", style="cyan", table_column=rest),
        console=console,
        expand=True,
    )


def fraction(view: JobView) -> float:
    """How much of the job is done, from 0 to 1."""
    if JobState(view.state) in {JobState.SUCCEEDED, JobState.ENDING}:
        return 1.0
    if Stage(view.stage) is Stage.DETECT:
        return DETECT_SHARE * view.progress
    return DETECT_SHARE + (1 - DETECT_SHARE) * view.progress


def doing(view: JobView) -> str:
    """What happens to the job now."""
    state, stage = JobState(view.state), view.stage
    if state is JobState.AWAITING:
        return "waiting for its photo"
    if state is JobState.QUEUED:
        place = "" if view.queue_position is None else f" #{view.queue_position + 1}"
        start = "" if view.eta_s is None else f", ~{view.eta_s:.0f} s"
        return f"{stage}: queued{place}{start}"
    if state is JobState.LEASED:
        return f"{stage}: {view.step}" if view.step else stage
    if state is JobState.ENDING:
        return "forgetting what goes now"
    return f"{state.value}{f': {view.reason}' if view.reason else ''}"
