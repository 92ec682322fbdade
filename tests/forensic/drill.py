"""The system with canaries in it: sent by a tenant, taken out again by every path by which data end."""

from __future__ import annotations

import asyncio
import sys
import time
from pathlib import Path
from typing import Any

import msgspec

from ray_cluster.engines import registry, samples_path
from services.local.processes import Child
from services.local.system import System
from tests.forensic.canaries import Flock, a_noise, a_portrait, a_text
from tests.forensic.tap import PATH_VARIABLE
from tests.forensic.tenant import Plan, Step, Told
from tests.integration.client import Client, eventually

APPS = ("testapp", "genzo")
SETTLED_S = 120.0
AFTER_S = 90_000.0  # of the promise clock: a record without content lives a day


class TappedSystem(System):
    """Its workers tell their keys."""

    def _start(self, name: str, module: list[str]) -> Child:
        if module[0] == "services.worker":
            module = ["tests.forensic.worker", *module[1:]]
            self._env[PATH_VARIABLE] = str(tap_path(self.stack.run_dir))
        return super()._start(name, module)


def tap_path(run_dir: Path) -> Path:
    """Where workers tell their keys."""
    return run_dir / "tap"


def plan_of(flock: Flock, *, photos: int, face: bool) -> list[Step]:
    """Jobs of testapp, one after the other by each path that ends data, and if `face`, jobs of genzo."""
    steps = []
    for end, choice, prompt in [
        ("deadline", "save", False),
        ("asset", "save", False),
        ("job", "save", True),
        ("job", "save", False),
        ("subject", "save", False),
        ("return", "discard", False),
        ("return", "discard", True),
    ] * photos:
        media = a_noise()
        flock.add_media("photo, and result", media)
        steps.append(
            Step(
                app="testapp",
                operation="noop",
                choice=choice,
                media=media,
                end=end,
                take=True,
                subject=_text(flock, "subject name"),
                key=_text(flock, "idempotency key"),
                params={"steps": _text(flock, "prompt text")} if prompt else {},
                consents=((_text(flock, "consent version"), True),),
            )
        )
    portrait = samples_path("portrait.jpg").read_bytes()
    for end, choice in [("deadline", "save"), ("withdraw", "save"), ("return", "discard")] if face else ():
        media = a_portrait(portrait)
        flock.add_media("portrait", media)
        steps.append(
            Step(
                app="genzo",
                operation="stylization",
                choice=choice,
                media=media,
                end=end,
                take=True,
                subject=_text(flock, "subject name"),
                key=_text(flock, "idempotency key"),
                consents=((_text(flock, "consent version"), True), ("2025-1", True)),
            )
        )
    return steps


def _text(flock: Flock, kind: str) -> str:
    text = a_text()
    flock.add(kind, text.encode())
    return text


async def tenant(plan: Plan) -> Told:
    """A process that has ended when this returns. Raises AssertionError with its last words."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.forensic.tenant", stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    out, _ = await process.communicate(msgspec.json.encode(plan))
    assert process.returncode == 0, "the tenant failed"
    return msgspec.json.decode(out, type=Told)


async def drill(system: System, flock: Flock, steps: list[Step]) -> tuple[list[str], list[dict[str, Any]]]:
    """Send, let everything end, wait until all of it is proven absent; how jobs ended, and the assets."""
    name, key = await system.tenant(*APPS)
    told = await tenant(Plan(url=system.url, key=key, steps=tuple(steps)))
    for media in told.results:
        flock.add_media("result", media)
    assets = [asset for found in told.assets for asset in found]
    ends = {asset["id"]: step.end for step, found in zip(steps, told.assets, strict=True) for asset in found}
    async with Client(system, name, key) as client:
        early = [asset for asset in assets if ends[asset["id"]] not in {"deadline", "return"}]
        await asyncio.gather(*(_absent(client, asset, ends[asset["id"]]) for asset in early))
        await system.advance_to(max(asset["due"] for asset in assets) + 1)
        await asyncio.gather(*(_absent(client, asset, ends[asset["id"]]) for asset in assets))
    await tenant(Plan(url=system.url, key=key, forget=tuple((app, step.subject) for step in steps for app in APPS)))
    now = max(estate["now"] for estate in await system.estates())
    await system.advance_to(now + AFTER_S)

    async def empty() -> bool:
        estates = await system.estates()
        return len(estates) == system.settings.partitions and not any(
            estate["keys"] or estate["awaiting_sweep"] or estate["active_jobs"] for estate in estates
        )

    try:
        await eventually(empty, within_s=SETTLED_S)
    except TimeoutError:
        raise AssertionError(f"expected no key and nothing to sweep, got {await system.estates()}") from None
    return told.states, assets


async def _absent(client: Client, asset: dict[str, Any], end: str) -> None:
    try:
        await client.receipt(asset)
    except TimeoutError:
        words = f"{asset['data_class']} to end by {end}, due {asset['due'] - time.time():.0f} s from now"
        raise AssertionError(f"expected a receipt that tells it absent, got none in time: {words}") from None


def add_features(flock: Flock, steps: list[Step], weights: str) -> None:
    """What detection finds in the portraits: made here once more, since no tenant may have it."""
    engine = registry.build("detect", Path(weights))
    engine.load()
    for step in steps:
        if step.app == "genzo":
            made = engine.run([memoryview(step.media)], {}, seed=0, report=lambda *_: None, cancelled=lambda: False)
            flock.add_strides("face features", bytes(made.media), "raw")
