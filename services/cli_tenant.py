"""`mayfly tenant`: who may call the API. A key is shown once, when it is made."""

from __future__ import annotations

import asyncio
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from services import settings
from services.gateway import tenant_topic
from services.gateway.tenants import GRACE_S, Limits, Tenant
from services.local.running import settings_file
from stream.errors import MayflyError

app = typer.Typer(no_args_is_help=True, help="Who may call the API.")
_out = Console()

_HOUR_S = 3600.0


@app.command()
def add(
    apps: Annotated[list[str], typer.Argument(help="Apps that the tenant may use, e.g. genzo")],
    transfers: Annotated[int, typer.Option(min=1, help="Uploads and downloads at a time")] = Limits().transfers,
    submits: Annotated[int, typer.Option(min=1, help="Requests for a job at a time")] = Limits().submits,
    jobs: Annotated[int, typer.Option(min=0, help="Unfinished jobs; 0: no limit")] = Limits().jobs,
    work_s: Annotated[float, typer.Option(min=0, help="Predicted seconds of engines that these take; 0: no limit")] = (
        Limits().work_s
    ),
) -> None:
    """Make a tenant and its API key."""
    _show(*asyncio.run(tenant_topic.add(_kafka(), tuple(apps), Limits(transfers, submits, jobs, work_s))))


@app.command()
def rotate(
    tenant: Annotated[str, typer.Argument(help="Its id")],
    grace_hours: Annotated[float, typer.Option(min=0, help="How long the old keys stay valid")] = GRACE_S / _HOUR_S,
) -> None:
    """Make a new API key for a tenant."""
    try:
        _show(*asyncio.run(tenant_topic.rotate(_kafka(), tenant, grace_hours * _HOUR_S)))
    except MayflyError as error:
        raise _refused(error) from None


@app.command()
def limit(
    tenant: Annotated[str, typer.Argument(help="Its id")],
    transfers: Annotated[int | None, typer.Option(min=1, help="Uploads and downloads at a time")] = None,
    submits: Annotated[int | None, typer.Option(min=1, help="Requests for a job at a time")] = None,
    jobs: Annotated[int | None, typer.Option(min=0, help="Unfinished jobs; 0: no limit")] = None,
    work_s: Annotated[float | None, typer.Option(min=0, help="Predicted seconds of engines; 0: no limit")] = None,
) -> None:
    """Change what a tenant may do. What it has begun goes on."""
    changes = {"transfers": transfers, "submits": submits, "jobs": jobs, "work_s": work_s}
    try:
        found = asyncio.run(tenant_topic.limit(_kafka(), tenant, **changes)).limits
    except MayflyError as error:
        raise _refused(error) from None
    _out.print(
        f"{found.transfers} transfers, {found.submits} submits, {found.jobs} jobs, {found.work_s:.0f} s of work",
        highlight=False,
    )


@app.command()
def revoke(tenant: Annotated[str, typer.Argument(help="Its id")]) -> None:
    """Close the API to a tenant. What it stored goes as promised."""
    try:
        asyncio.run(tenant_topic.revoke(_kafka(), tenant))
    except MayflyError as error:
        raise _refused(error) from None
    _out.print(f"revoked {tenant}")


@app.command()
def ls() -> None:
    """List tenants. Keys are not shown: only their digests are kept."""
    table = Table("tenant", "apps", "keys", "transfers", "submits", "jobs", "work s", box=None)
    for tenant in asyncio.run(tenant_topic.load(_kafka())):
        limits = tenant.limits
        table.add_row(
            tenant.id,
            " ".join(tenant.apps),
            str(len(tenant.keys)),
            str(limits.transfers),
            str(limits.submits),
            str(limits.jobs),
            f"{limits.work_s:.0f}",
        )
    _out.print(table)


def _kafka() -> str:
    try:
        return settings.load(settings_file()).kafka
    except MayflyError as error:
        raise _refused(error) from None


def _show(tenant: Tenant, key: str) -> None:
    _out.print(
        f"tenant {tenant.id}\nkey    {key}\nKeep the key: it is shown only now.", soft_wrap=True, highlight=False
    )


def _refused(error: MayflyError) -> typer.Exit:
    Console(stderr=True).print(str(error), soft_wrap=True, highlight=False)
    return typer.Exit(1)
