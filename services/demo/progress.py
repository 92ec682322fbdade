"""A job's progress as a bar: what it does, how far it is, how long it takes, where it waits."""

from __future__ import annotations

from typing import Final

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from stream.agents.api import JobView
from stream.events.rows import JobState, Stage

DETECT_SHARE: Final = 0.1
"""Of the whole bar: the engine's own fraction starts again with each stage."""

_STAGES: Final = {Stage.DETECT: "looking for faces", Stage.GENERATE: "generating"}


def bars(console: Console) -> Progress:
    """An empty set of bars; tasks have a field `doing`."""
    return Progress(
        TextColumn("  {task.description}", style="bold"),
        BarColumn(28),
        TaskProgressColumn(),
        TextColumn("elapsed"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[doing]}", style="cyan"),
        console=console,
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
    state, stage = JobState(view.state), _STAGES[Stage(view.stage)]
    if state is JobState.AWAITING:
        return "waiting for its photo"
    if state is JobState.QUEUED:
        place = "" if view.queue_position is None else f", position {view.queue_position + 1} in the queue"
        start = "" if view.eta_s is None else f", starts in about {view.eta_s:.0f} s"
        return f"{stage}: waiting for an engine{place}{start}"
    if state is JobState.LEASED:
        return f"{stage}: {view.step}" if view.step else stage
    if state is JobState.ENDING:
        return "forgetting what was promised to go"
    return f"{state.value}{f': {view.reason}' if view.reason else ''}"
