"""`mayfly`: the demo, the system in the foreground, and what one asks a running one."""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from typing import Annotated

import typer
from aiokafka.errors import KafkaError

from ray_cluster.engines import samples_path
from services import (
    cli_audit,
    cli_disclose,
    cli_export,
    cli_hold,
    cli_incident,
    cli_jobs,
    cli_label,
    cli_local,
    cli_metrics,
    cli_notices,
    cli_parked,
    cli_policy,
    cli_pool,
    cli_receipt,
    cli_restore,
    cli_sharing,
    cli_simulate,
    cli_status,
    cli_tenant,
    terminal,
)
from services.demo import run as running_demo
from services.local import interrupts
from services.local import up as running_up
from services.settings import RootStoreName
from stream.errors import MayflyError

app = typer.Typer(
    name="mayfly",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="The backend of five media-generation apps, in which every byte lives no longer than its app promised.",
)
RootStoreOption = Annotated[
    RootStoreName, typer.Option(help="Where keys of roots are wrapped: files, or an OpenBao booted for it")
]
Workers = Annotated[int, typer.Option(min=1, max=16, help="How many worker processes")]


@app.command()
def demo(
    photo: Annotated[Path | None, typer.Option(help="A picture of a person; without it, a bundled one")] = None,
    out: Annotated[Path, typer.Option(help="Folder for the results")] = Path("out"),
    report: Annotated[Path | None, typer.Option(help="Write what happened as JSON to this file, too")] = None,
    workers: Workers = 1,
    root_store: RootStoreOption = RootStoreName.FILE,
) -> None:
    """A photo becomes a styled picture and a dancing video, and vanishes on time. Exit 1 if a promise was broken."""
    photo = photo or samples_path("portrait.jpg")
    found = interrupts.run(
        running_demo.run(
            photo=photo, out=out, report=report, workers=workers, root_store=root_store, console=terminal.console()
        )
    )
    raise typer.Exit(1 if found.broken else 0)


@app.command()
def up(
    workers: Workers = 1,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Of the API; 0: a free one")] = 0,
    root_store: RootStoreOption = RootStoreName.FILE,
    region: Annotated[str, typer.Option(help="Where this is, for apps whose data must stay somewhere: CN")] = "",
) -> None:
    """Run the system in the foreground until Ctrl-C. It starts empty, and keeps nothing."""
    interrupts.run(
        running_up.run(workers=workers, port=port, root_store=root_store, region=region, console=terminal.console())
    )


app.command()(cli_local.local)
app.command()(cli_restore.backup)
app.command()(cli_restore.restore)
app.command()(cli_simulate.simulate)
app.command()(cli_status.status)
app.add_typer(cli_audit.app, name="audit")
app.add_typer(cli_disclose.app, name="disclose")
app.add_typer(cli_export.app, name="export")
app.add_typer(cli_hold.app, name="hold")
app.add_typer(cli_incident.app, name="incident")
app.add_typer(cli_jobs.app, name="jobs")
app.add_typer(cli_label.app, name="label")
app.add_typer(cli_metrics.app, name="metrics")
app.add_typer(cli_notices.app, name="notices")
app.add_typer(cli_parked.app, name="parked")
app.add_typer(cli_policy.app, name="policy")
app.add_typer(cli_pool.app, name="pool")
app.add_typer(cli_receipt.app, name="receipt")
app.add_typer(cli_sharing.app, name="sharing")
app.add_typer(cli_tenant.app, name="tenant")


def main() -> int:
    """Run one command. What we refuse, and what does not answer, is one sentence and exit status 1."""
    logging.getLogger("aiokafka").addHandler(logging.NullHandler())  # it would say first what we say better
    try:
        app(prog_name="mayfly")
    except MayflyError as error:
        sentence = str(error)
    except KafkaError as error:
        sentence = f"expected Kafka to answer, got {type(error).__name__}: does the system still run?"
    print(sentence, file=sys.stderr)  # noqa: T201
    return 1
