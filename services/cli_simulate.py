"""`mayfly simulate`: how a pool would fare with a trace, and whether logged decisions would be taken again."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import msgspec
import typer
from rich.table import Table

from ray_cluster.journal import Line, again, read, written
from ray_cluster.simulator import draw, trace
from ray_cluster.simulator.compare import LAG_TARGET, POLICIES, world
from ray_cluster.simulator.made import MAKERS
from ray_cluster.simulator.mayfly import Mayfly
from ray_cluster.simulator.report import Report, report
from ray_cluster.simulator.trace import Asked, BadTrace
from ray_cluster.simulator.world import Setup
from services.costs import seed
from services.terminal import console

Actors = Annotated[int, typer.Option(min=1, help="At most so many at a time, whoever steers")]
LINE = 72  # characters of a drawn line
SHOWN = 5  # of the decisions that would be another


def simulate(
    source: Annotated[
        str, typer.Argument(metavar="TRACE", help=f"A CSV file, or one that is made up: {', '.join(MAKERS)}")
    ] = "mixed",
    *,
    policy: Annotated[list[str] | None, typer.Option(help=f"Only this one, of {', '.join(POLICIES)}")] = None,
    actors: Actors = 16,
    start_s: Annotated[float, typer.Option(min=0, help="Seconds until an actor can work")] = 2.0,
    price: Annotated[float, typer.Option(min=0, help="Of one actor, an hour")] = 1.0,
    load: Annotated[
        float | None, typer.Option(min=0.01, help="Stretch arrivals until the work is this share of all actors' time")
    ] = None,
    lag_target: Annotated[float, typer.Option(min=0.01, help="Of lag scaling: jobs an actor")] = LAG_TARGET,
    jobs: Annotated[int, typer.Option(min=10, help="Of a made-up trace")] = 20_000,
    random: Annotated[int, typer.Option("--seed", help="Of a made-up trace")] = 0,
    write: Annotated[Path | None, typer.Option(help="Write the trace to this CSV file, and stop")] = None,
    svg: Annotated[Path | None, typer.Option(help="Draw into this file")] = None,
    html: Annotated[Path | None, typer.Option(help="Figures and drawing as a page, into this file")] = None,
    journal: Annotated[Path | None, typer.Option(help="Write our own policy's decisions to this file")] = None,
    replay: Annotated[
        Path | None, typer.Option(help="No trace: take the decisions in this log again. Exit 1 if one is another")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="For machines")] = False,
) -> None:
    """Play a trace in virtual time: deadlines met, useful ÷ paid GPU-seconds, cost; beside three other policies."""
    if replay is not None:
        raise typer.Exit(_replayed(replay, as_json=as_json))
    if unknown := [name for name in policy or () if name not in POLICIES]:
        raise typer.BadParameter(f"expected policies of {', '.join(POLICIES)}, got {', '.join(unknown)}")
    asked = MAKERS[source](jobs, random) if source in MAKERS else trace.read(Path(source))
    if load is not None:
        asked = trace.at_load(asked, actors, load)
    if write is not None:
        trace.write(asked, write)
        return
    setup = Setup(max_actors=actors, start_s=start_s, price_per_hour=price)
    reports: list[Report] = []
    for name in policy or POLICIES:
        made = world(name, asked, setup, seed=seed, lag_target=lag_target)
        made.play()
        reports.append(report(name, made))
        if journal is not None and isinstance(made, Mayfly):
            journal.write_text("".join(f"{written(line)}\n" for line in made.lines), encoding="utf-8")
    title = f"{Path(source).name}: {len(asked)} jobs, {actors} actors, load {trace.load(asked, actors):.2f}"
    if svg is not None:
        svg.write_text(draw.svg(reports, title), encoding="utf-8")
    if html is not None:
        html.write_text(draw.html(reports, title), encoding="utf-8")
    if as_json:
        typer.echo(msgspec.json.encode({"load": trace.load(asked, actors), "policies": reports}).decode())
    else:
        _shown(reports, title, asked)


def _shown(reports: list[Report], title: str, asked: list[Asked]) -> None:
    out = console()
    out.print(f"[bold]{title}[/], over {asked[-1].arrival_s / 3600:.1f} h")
    table = Table(box=None, pad_edge=False)
    for heading in ("policy", *(name for name, _ in draw.FIGURES)):
        table.add_column(heading, justify="left" if heading == "policy" else "right")
    for one in reports:
        table.add_row(one.policy, *(figure(one) for _, figure in draw.FIGURES))
    out.print(table)
    for name, value in draw.PANELS:
        most = max(value(point) for one in reports for point in one.points)
        out.print(f"\n{name}, up to {most}")
        for one in reports:
            line = draw.blocks(one.points, value, most=most, width=LINE)
            out.print(f"  {one.policy:<7}[on grey11]{line}[/]", highlight=False)


def _replayed(log: Path, *, as_json: bool) -> int:
    """How many decisions a log tells of, and which would be another now; 1 if any."""
    try:
        lines = [line for text in log.read_text(encoding="utf-8").splitlines() if (line := read(text))]
    except (OSError, UnicodeDecodeError) as error:
        raise BadTrace(f"expected a readable log, got {type(error).__name__}: {log.name}") from None
    if not lines:
        raise BadTrace(f"expected decisions of the autoscaler, one JSON object a line, got none in {log.name}")
    others = [(line, taken) for line in lines if (taken := again(line)) != line.decisions]
    if as_json:
        typer.echo(msgspec.json.encode({"decisions": len(lines), "others": [_told(*one) for one in others]}).decode())
    else:
        console().print(f"{len(lines)} decisions, {len(others)} would be another now")
        for one in others[:SHOWN]:
            console().print(msgspec.json.encode(_told(*one)).decode(), soft_wrap=True)
    return 1 if others else 0


def _told(line: Line, taken: object) -> dict[str, object]:
    return {"at": line.at, "logged": line.decisions, "now": taken}
