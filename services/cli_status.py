"""`mayfly status`: processes, partitions and pools of the system that runs here.

Exit status 4 while some partition has no owner that answers.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from typing import Annotated, Any

import msgspec
import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from services import settings, unanswered
from services.gateway.errors import OwnerAway
from services.local.children import read_records
from services.local.home import run_dir
from services.local.processes import look_up
from services.local.running import Running, running, settings_file
from services.local.system import ask_worker
from services.span import span
from services.unanswered import Unanswered


def status(
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object, for programs")] = False,  # noqa: FBT002
) -> None:
    """Show what runs: processes, partitions with their owners, engine pools. Exit 4: a partition has no owner."""
    found = asyncio.run(_look(running()))
    silent = [Unanswered(**one) for one in found["unanswered"]]
    if as_json:
        json.dump(found, sys.stdout, indent=2)
        sys.stdout.write("\n")
        unanswered.tell(silent)
        return
    console = Console()
    console.print(f"API {found['url']}   docs {found['url']}/docs", highlight=False)
    for table in (_processes(found["processes"]), _partitions(found["partitions"]), _pools(found["pools"])):
        console.print(table)
    unanswered.tell(silent)


async def _look(system: Running) -> dict[str, Any]:
    known = settings.load(settings_file())
    partitions: list[dict[str, Any]] = []
    pools: list[dict[str, Any]] = []
    for name, port in system.workers.items():
        partitions += [{"owner": name, **estate} for estate in await ask_worker(known, port, "estates")]
        pools = pools or await ask_worker(known, port, "pools")
    served = {partition["partition"] for partition in partitions}
    silent = [Unanswered(number, OwnerAway.kind) for number in range(known.partitions) if number not in served]
    return {
        "url": system.url,
        "processes": [
            {"name": child.name, "pid": child.pid, "running": _alive(child.pid, child.started_ticks), "log": child.log}
            for child in read_records(run_dir())
        ],
        "partitions": sorted(partitions, key=lambda partition: int(partition["partition"])),
        "pools": pools,
        "unanswered": msgspec.to_builtins(silent),
    }


def _alive(pid: int, started_ticks: int) -> bool:
    process = look_up(pid)
    return process is not None and process.started_ticks == started_ticks


def _processes(found: list[dict[str, Any]]) -> Table:
    table = _table("Processes", "process", "pid", "state", "log")
    for process in found:
        state = "running" if process["running"] else "[red]ended[/]"
        table.add_row(process["name"], str(process["pid"]), state, process["log"])
    return table


def _partitions(found: list[dict[str, Any]]) -> Table:
    table = _table("Partitions", "partition", "owner", "rows", "keys", "jobs", "to sweep", "parked", "next due")
    for one in found:
        numbers = [str(one[name]) for name in ("rows", "keys", "active_jobs", "awaiting_sweep", "parked")]
        table.add_row(str(one["partition"]), one["owner"], *numbers, _due(one["next_due"], one["now"]))
    return table


def _pools(found: list[dict[str, Any]]) -> Table:
    table = _table("Engine pools", "pool", "queued", "actors", "leased", "wanted", "why")
    for pool in found:
        starting = f" ({pool['starting']} starting)" if pool["starting"] else ""
        why = f"[red]{pool['error']}[/]: {pool['reason']}" if pool["error"] else pool["reason"]
        counts = (str(pool["queued"]), f"{pool['actors']}{starting}", str(pool["leased"]), str(pool["desired"]))
        table.add_row(pool["pool"], *counts, why)
    return table


def _table(title: str, *columns: str) -> Table:
    return Table(*columns, title=f"\n[bold]{title}[/]", title_justify="left", box=SIMPLE_HEAD, pad_edge=False)


def _due(due: float | None, now: float) -> str:
    if due is None:
        return "nothing"
    return f"{time.strftime('%d %b %H:%M:%S UTC', time.gmtime(due))}, in {span(max(0.0, due - now))}"
