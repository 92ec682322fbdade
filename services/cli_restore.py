"""`mayfly backup` and `mayfly restore`: the ledger and its objects, never the keys."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Annotated

import msgspec
import typer
from rich.console import Console

from services import backup as backups
from services import restoring, settings
from services.local.running import settings_file

_out = Console()


def backup(
    folder: Annotated[Path, typer.Argument(help="Where to; must be empty or not exist")],
    objects: Annotated[bool, typer.Option(help="Copy the objects too, not only rows")] = True,  # noqa: FBT002
) -> None:
    """Copy the ledger's rows, then the ciphertext they name. Keys are never copied: what is erased stays erased."""
    made = asyncio.run(backups.take(settings.load(settings_file()), folder, objects=objects))
    _out.print(f"{sum(part.rows for part in made.parts)} rows, {made.objects} objects in {folder}", highlight=False)


def restore(
    folder: Annotated[Path, typer.Argument(help="What `mayfly backup` wrote")],
    report: Annotated[Path, typer.Option(help="Write what was dropped, as JSON, to this file")],
    replace: Annotated[bool, typer.Option("--replace", help="Put it in the place of a ledger with rows")] = False,  # noqa: FBT002
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be dropped")] = False,  # noqa: FBT002
) -> None:
    """Bring a backup back, with all workers stopped. What has no key in the present tree is dropped."""
    found = asyncio.run(restoring.run(settings.load(settings_file()), folder, replace=replace, dry_run=dry_run))
    report.write_bytes(msgspec.json.format(msgspec.json.encode(found)) + b"\n")
    kept, dropped = sum(one.count for one in found.kept), sum(one.count for one in found.dropped)
    taken = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(found.backup_taken_at))
    _out.print(
        f"{'Would bring' if dry_run else 'Brought'} back {kept} rows of {taken}; {dropped} dropped, "
        f"{found.keys_without_row} keys without a row erased, {found.consents_withdrawn} consents to be given again. "
        f"The report is in {report}.",
        soft_wrap=True,
        highlight=False,
    )
