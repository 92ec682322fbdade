"""`mayfly pool`: how engines are scaled, why, and what to do about it at three in the morning.

Exit status: 0 done; 1 not done, with a sentence on stderr; of `why`, 3 when work waits that no waiting will help.
"""

from __future__ import annotations

import asyncio
import sys
import time
from typing import Annotated, TypeVar

import msgspec
import typer
from rich.box import SIMPLE_HEAD
from rich.table import Table

from ray_cluster.orders import Drain, Draining, Order, Pause, Reasons, Resume, Scale, Seats, SeatStatus, WaitsFor, Why
from ray_cluster.pools import PoolStatus
from services import pool_call, settings, terminal
from services.local.running import running, settings_file
from services.span import span

app = typer.Typer(no_args_is_help=True, help="Engine pools: how they are scaled, why, and by hand where you must.")

T = TypeVar("T")

AsJson = Annotated[bool, typer.Option("--json", help="For programs")]
Name = Annotated[str, typer.Argument(metavar="POOL", help="Its name, as `mayfly pool ls` shows it")]
AnyPool = Annotated[str, typer.Argument(metavar="[POOL]", help="One pool; without it, all")]

HELD_EXIT = 3
ENGINE_PREFIX = "engine-"
MEBIBYTE = 1 << 20

WORDS: dict[WaitsFor, str] = {
    "resume": "the pool is paused: mayfly pool resume POOL",
    "worker": "its worker must answer: mayfly status shows whether one is down",
    "start": "an actor is starting",
    "retry": "the last start failed, the next is tried soon: look at the error",
    "machine": "no machine has room for an actor: wait for one, or let another pool go",
    "limit": "all actors that are allowed in total are in use: max_actors",
    "ceiling": "the cost ceiling allows no more actors: cost_ceiling_per_hour",
    "maximum": "the pool's maximum is 0: mayfly pool scale POOL --max N",
    "alone": "an actor of its own: it has lost one already, and may be why",
    "turn": "its turn",
}


@app.command()
def ls(pool: AnyPool = "", as_json: AsJson = False) -> None:  # noqa: FBT002
    """All pools; or the actors of one."""
    if pool:
        seats = _ask(Seats(pool), list[SeatStatus])
        if as_json:
            _print_json(seats)
        else:
            terminal.console().print(_actors(seats))
        return
    found = [reasons.status for reasons in _ask(Why(jobs=0), list[Reasons])]
    if as_json:
        _print_json(found)
    else:
        terminal.console().print(_pools(found))


@app.command()
def why(
    pool: AnyPool = "",
    jobs: Annotated[int, typer.Option(min=0, max=10_000, help="Show at most so many waiting jobs of each")] = 20,
    as_json: AsJson = False,  # noqa: FBT002
) -> None:
    """Say what was decided last and why, and what each waiting job waits for. Exit 3: somebody must act."""
    found = _ask(Why(pool, jobs), list[Reasons])
    if as_json:
        _print_json(found)
    else:
        console = terminal.console()
        for reasons in found:
            console.print(*_sentences(reasons), sep="\n", highlight=False, soft_wrap=True)
            if reasons.waiting:
                console.print(_waiting(reasons))
    if any(reasons.held for reasons in found):
        raise typer.Exit(HELD_EXIT)


@app.command()
def scale(
    pool: Name,
    min_actors: Annotated[int | None, typer.Option("--min", min=0, help="Keep so many, whatever comes")] = None,
    max_actors: Annotated[int | None, typer.Option("--max", min=0, help="Never more than so many")] = None,
    reset: Annotated[bool, typer.Option("--reset", help="Both as the settings say")] = False,  # noqa: FBT002
    as_json: AsJson = False,  # noqa: FBT002
) -> None:
    """Set a pool's floor and maximum by hand; what is not given goes by the settings. No lease is cut.

    Holds until it is set again or Ray's head restarts; a restart of the scheduler keeps it.
    """
    if reset == (min_actors is not None or max_actors is not None):
        raise typer.BadParameter("expected --min or --max, or else --reset")
    _told(_ask(Scale(pool, min_actors, max_actors), PoolStatus), as_json=as_json)


@app.command()
def pause(pool: Name, as_json: AsJson = False) -> None:  # noqa: FBT002
    """Lease nothing more of a pool. What runs, ends; what waits, waits."""
    _told(_ask(Pause(pool), PoolStatus), as_json=as_json)


@app.command()
def resume(pool: Name, as_json: AsJson = False) -> None:  # noqa: FBT002
    """Lease again."""
    _told(_ask(Resume(pool), PoolStatus), as_json=as_json)


@app.command()
def drain(
    name: Annotated[str, typer.Argument(metavar="POOL|ACTOR", help="A pool, or one actor: engine-POOL-N")],
    as_json: AsJson = False,  # noqa: FBT002
) -> None:
    """Let actors end their leases and go. Others take their place while there is work: pause first to empty a pool."""
    order = Drain(actor=name) if name.startswith(ENGINE_PREFIX) else Drain(name)
    told = _ask(order, Draining)
    if as_json:
        _print_json(told)
    elif told.actors:
        leases = f"{told.leases} leases end first" if told.leases else "nothing runs on them"
        terminal.console().print(f"{', '.join(told.actors)} will go: {leases}", highlight=False, soft_wrap=True)
    else:
        terminal.console().print(f"{name} has no actor")


def _ask(order: Order, reply: type[T]) -> T:
    return asyncio.run(pool_call.ask(settings.load(settings_file()), list(running().workers.values()), order, reply))


def _told(status: PoolStatus, *, as_json: bool) -> None:
    if as_json:
        _print_json(status)
    else:
        terminal.console().print(_line(status), highlight=False, soft_wrap=True)


def _line(status: PoolStatus) -> str:
    paused = "paused, " if status.paused else ""
    by_hand = " (set by hand)" if status.by_hand else ""
    return (
        f"{status.pool}: {paused}{status.min_actors} to {status.max_actors} actors{by_hand}; "
        f"{status.actors} now, {status.leased} at work, {status.queued} jobs wait"
    )


def _pools(found: list[PoolStatus]) -> Table:
    table = _table("pool", "waiting", "actors", "at work", "wanted", "range", "why")
    for pool in found:
        notes = [f"{pool.starting - pool.unplaced} starting"] if pool.starting > pool.unplaced else []
        notes += [f"{pool.unplaced} without a machine"] if pool.unplaced else []
        notes += [f"{pool.draining} leaving"] if pool.draining else []
        notes += [f"{pool.spares} spare"] if pool.spares else []
        actors = f"{pool.actors} ({', '.join(notes)})" if notes else str(pool.actors)
        limits = f"{pool.min_actors} to {pool.max_actors}{', by hand' if pool.by_hand else ''}"
        why = f"[red]{pool.error}[/]: {pool.reason}" if pool.error else pool.reason
        table.add_row(pool.pool, str(pool.queued), actors, str(pool.leased), str(pool.desired), limits, why)
    return table


def _actors(found: list[SeatStatus]) -> Table:
    table = _table("actor", "state", "leases", "jobs so far", "grown by", "free in")
    for seat in found:
        free = span(seat.free_in_s) if seat.leases else ""
        grown = f"{seat.grown_bytes / MEBIBYTE:.0f} MiB"
        table.add_row(seat.actor, seat.state, str(seat.leases), str(seat.jobs), grown, free)
    return table


def _sentences(reasons: Reasons) -> list[str]:
    status = reasons.status
    lines = [f"[bold]{status.pool}[/]: wants {status.desired} actors, {status.reason}"]
    if reasons.decided_at:
        lines.append(f"  last changed {time.strftime('%d %b %H:%M:%S UTC', time.gmtime(reasons.decided_at))}")
    if status.error:
        retry = f", tried again in {span(status.retry_in_s)}" if status.retry_in_s else ""
        lines.append(f"  [red]the last start failed with {status.error}[/]{retry}")
    lines.append(f"  {_line(status).partition(': ')[2]}")
    return lines


def _waiting(reasons: Reasons) -> Table:
    table = _table("job", "lane", "position", "starts in", "waits for")
    for one in reasons.waiting:
        position = "" if one.position is None else str(one.position)
        starts = "" if one.eta_s is None or one.waits_for != "turn" else span(one.eta_s)
        table.add_row(one.job, one.lane, position, starts, WORDS[one.waits_for].replace("POOL", reasons.status.pool))
    if reasons.more:
        table.add_row(f"and {reasons.more} more")
    return table


def _table(*columns: str) -> Table:
    return Table(*columns, box=SIMPLE_HEAD, pad_edge=False)


def _print_json(value: object) -> None:
    sys.stdout.write(msgspec.json.format(msgspec.json.encode(value), indent=2).decode() + "\n")
