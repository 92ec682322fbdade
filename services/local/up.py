"""`mayfly up`: the system in the foreground, for people to try."""

from __future__ import annotations

import asyncio
from typing import Final

from rich.console import Console

from services.local.home import run_dir
from services.local.stack import LocalStack
from services.local.system import System
from services.roots import claim_of
from services.settings import RootStoreName
from stream.policies import compiler

RAY_CPUS: Final = 4.0  # logical: two pools of engines, whatever the machine has
WATCH_S: Final = 0.5


async def run(*, workers: int, port: int, root_store: RootStoreName, region: str, console: Console) -> None:
    """Until cancelled. Raises ChildFailed when a part of the stack dies; workers are started again."""
    stack = LocalStack(run_dir(), ray_cpus=RAY_CPUS)
    system = System(stack, workers=workers, port=port, root_store=root_store, region=region)
    with console.status("Booting Kafka, S3, Ray, a gateway and workers …") as booting:
        async with stack, system:
            apps = sorted(compiler.load_all(system.settings.policies_extra))
            tenant, key = await system.tenant(*apps)
            booting.stop()
            console.print(_told(system, tenant, key, apps), highlight=False, soft_wrap=True)
            while True:
                for child in stack.children.running():
                    if not child.name.startswith("worker-"):
                        stack.children.expect(child)
                await asyncio.sleep(WATCH_S)


def _told(system: System, tenant: str, key: str, apps: list[str]) -> str:
    return f"""[bold]Mayfly is up[/]. Ctrl-C ends it, and what it stored with it.

  API      {system.url}
  docs     {system.url}/docs
  key      {key}
  tenant   {tenant}, apps: {", ".join(apps)}

  [dim]Erasure here is weaker than in production. Root store {claim_of(system.settings)}.[/]

  curl -X PUT {system.url}/v1/genzo/subjects/me/consents/face_processing \\
    -H 'Authorization: Bearer {key}' -d '{{"granted": true, "version": "2025-1"}}'

  In another terminal: mayfly status, mayfly tenant add genzo"""
