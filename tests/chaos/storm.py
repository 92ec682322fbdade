"""A storm: faults in a seeded order, one after another, while a load runs; then calm, and a verdict."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from random import Random

import aiohttp

from services.local.stack import LocalStack
from services.local.system import System
from services.settings import RootStoreName
from tests.chaos.faults import ALL, SERVING_S, Fault
from tests.chaos.load import AWAY, Load
from tests.chaos.outside import Outside
from tests.chaos.probes import Probes
from tests.chaos.verdict import Verdict, judge
from tests.integration.client import Client

APP = "stormapp"
POLICIES = Path(__file__).with_name("policies")
PARTITIONS = 64
CALM_S = (12.0, 22.0)
END_S = 120.0
POLL_S = 0.2

Say = Callable[[str], None]


def forecast(chance: Random) -> Sequence[Fault]:
    """Every fault once, in a random order."""
    return chance.sample(ALL, len(ALL))


def params(n: int) -> dict[str, float]:
    """Mostly short jobs; one of eight lasts for a second, so that leases are in the way of what dies."""
    return {"steps": 10, "step_s": 0.1} if n % 8 == 0 else {"steps": n % 3}


async def storm(
    run_dir: Path,
    *,
    seed: int,
    seconds: float,
    clients: int,
    say: Say,
    partitions: int = PARTITIONS,
    calm_s: tuple[float, float] = CALM_S,
    most: int | None = None,
) -> tuple[Verdict, int, float]:
    """(verdict, faults, seconds that the storm lasted). It lasts for `seconds`, or for `most` faults."""
    chance = Random(seed)
    async with (
        LocalStack(run_dir, ray_cpus=4) as stack,
        System(
            stack,
            workers=2,
            partitions=partitions,
            serving_s=2 * SERVING_S,
            root_store=RootStoreName.OPENBAO,
            policies_extra=str(POLICIES),
            retry_after_s=(0.5, 1.0, 2.0, 5.0, 10.0),
        ) as system,
        Outside(system.settings.kafka, partitions) as outside,
        Client(system, *await system.tenant(APP), app=APP) as client,
    ):
        load = Load(client, None, app=APP, in_flight=clients, params=params, away=AWAY | {429})
        async with Probes(load, outside) as probes:
            running = asyncio.create_task(load.run())
            began, struck, left = time.monotonic(), 0, []
            while time.monotonic() < began + seconds and (most is None or struck < most):
                await asyncio.sleep(chance.uniform(*calm_s))
                if running.done():
                    running.result()
                left = left or list(forecast(chance))
                fault = left.pop()
                struck += 1
                since = time.monotonic()
                await fault.strike(system, chance)
                await whole(system)
                at = since - began
                say(
                    f"{at:6.1f} s  {fault.name}; all served again after {time.monotonic() - since:.1f} s; "
                    f"{len(load.ended)} jobs ended"
                )
            lasted = time.monotonic() - began
            load.stopped = True
            await asyncio.wait_for(running, END_S)
            until = time.time()
            await asyncio.wait_for(outside.caught_up(), END_S)
            return judge(outside, load, probes, until=until), struck, lasted


async def whole(system: System) -> None:
    """Until the gateway answers and every partition is served."""
    async with asyncio.timeout(2 * SERVING_S), aiohttp.ClientSession() as http:
        while True:
            with suppress(aiohttp.ClientError, TimeoutError):
                async with http.get(f"{system.url}/readyz", timeout=aiohttp.ClientTimeout(2.0)) as answer:
                    if answer.status == 200 and len(await system.estates()) == system.settings.partitions:
                        return
            await asyncio.sleep(POLL_S)
