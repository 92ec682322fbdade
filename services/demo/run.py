"""Boot the whole system, live the story, tell what happened, leave nothing running."""

from __future__ import annotations

import mimetypes
import time
from contextlib import AsyncExitStack, ExitStack
from pathlib import Path
from typing import ClassVar, Final

from rich.console import Console

from services.demo import sheet
from services.demo.client import Client
from services.demo.media import EXTENSIONS
from services.demo.report import Report
from services.demo.story import Story
from services.demo.table import CAPTION, table
from services.demo.witness import Witness
from services.local.home import run_dir
from services.local.stack import LocalStack
from services.local.system import System
from services.local.up import RAY_CPUS
from services.roots import claim_of
from services.settings import RootStoreName
from stream.errors import BadRequest
from stream.policies import compiler

APP: Final = "genzo"


class BadPath(BadRequest):
    """A file or folder named on the command line cannot be used."""

    kind: ClassVar[str] = "bad-path"


async def run(
    *, photo: Path, out: Path, report: Path | None, workers: int, root_store: RootStoreName, console: Console
) -> Report:
    """The whole demo. Raises a MayflyError where it cannot go on; broken promises are in the report."""
    began = time.monotonic()
    data, out = _prepare(photo, out)
    console.print("[bold]Mayfly[/]: a photo becomes a styled picture and a dancing video, and vanishes on time")
    with ExitStack() as ending:
        async with AsyncExitStack() as closing:
            with console.status("Booting Kafka, S3, Ray, a gateway and workers …"):
                stack = await closing.enter_async_context(LocalStack(run_dir(), ray_cpus=RAY_CPUS))
                system = await closing.enter_async_context(
                    System(stack, workers=workers, demo_clock=True, root_store=root_store)
                )
            boot_s = time.monotonic() - began
            parts = ", ".join(f"{name} {seconds:.1f} s" for name, seconds in stack.seconds.items() if name != "all")
            console.print(f"  up in {boot_s:.1f} s ({parts}) at {system.url}", highlight=False)
            console.print(f"  root store {claim_of(system.settings)}", style="dim", highlight=False)
            _, key = await system.tenant(APP)
            client = await closing.enter_async_context(Client(system.url, key, APP))
            witness = await closing.enter_async_context(Witness(system.settings))
            policy = compiler.find(compiler.load_all(system.settings.policies_extra), APP)
            story = Story(system, client, witness, policy, photo=data, out=out, console=console)
            await story.live()
            console.print()
            console.print(table(story.erasures, width=console.width))
            console.print(CAPTION, style="dim")
            ending.enter_context(console.status("Ending what was started …"))
    found = Report(
        boot_s=boot_s,
        took_s=time.monotonic() - began,
        results=story.results,
        erasures=story.erasures,
        receipts=[each.receipt for each in story.erasures if each.receipt],
        broken=story.broken,
    )
    index = out / "index.html"
    _write(index, _sheet(photo, data, found).encode())
    if report is not None:
        _write(report, found.encode())
    _tell(found, index, console)
    return found


def _prepare(photo: Path, out: Path) -> tuple[bytes, Path]:
    """The photo's bytes, and an absolute folder without the receipts of an earlier run. Raises BadPath."""
    try:
        data = photo.read_bytes()
    except OSError as error:
        raise BadPath(f"expected --photo to be a readable picture, got: {error.strerror}") from None
    try:
        (out / "receipts").mkdir(parents=True, exist_ok=True)
        for left in (out / "receipts").glob("ast_*.json"):
            left.unlink()
    except OSError as error:
        raise BadPath(f"expected --out to be a folder that can be written to, got: {error.strerror}") from None
    return data, out.resolve()


def _write(file: Path, data: bytes) -> None:
    try:
        file.write_bytes(data)
    except OSError as error:
        raise BadPath(f"expected to write {file.name}, got: {error.strerror}") from None


def _sheet(photo: Path, data: bytes, report: Report) -> str:
    media_types = {extension: name for name, extension in EXTENSIONS.items()}
    pictures = [sheet.Picture("the photo", mimetypes.guess_type(photo.name)[0] or "image/jpeg", data)]
    for result in report.results:
        file = Path(result.file)
        caption = f"{result.operation} ({result.choice}), after {result.took_s:.1f} s"
        pictures.append(sheet.Picture(caption, media_types.get(file.suffix[1:], ""), file.read_bytes()))
    return sheet.page(pictures, report.erasures, report.broken)


def _tell(report: Report, index: Path, console: Console) -> None:
    for sentence in report.broken:
        console.print(f"Broken: {sentence}", style="bold red", soft_wrap=True, highlight=False)
    if not report.broken:
        console.print(f"[bold green]Every promise was kept[/], {len(report.erasures)} of {len(report.erasures)}.")
    example = report.erasures[0] if report.erasures else None
    console.print(f"  look:   {index}", highlight=False, soft_wrap=True)
    if example is not None and example.receipt:
        command = f"mayfly receipt verify {example.receipt} --id {example.asset} --salt {example.salt}"
        console.print(f"  verify: {command}", highlight=False, soft_wrap=True)
    console.print(f"  {report.took_s:.0f} s in all; nothing that was started still runs.", highlight=False)
