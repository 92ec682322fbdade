"""What may happen to the system: each fault has a name, takes its time, and leaves everything running again."""

from __future__ import annotations

import asyncio
import io
import os
import signal
import socket
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, NamedTuple

from minio.error import MinioException
from urllib3.exceptions import HTTPError

from services.local.ports import LOOPBACK
from services.local.processes import PROC, members
from services.local.s3 import S3, client

if TYPE_CHECKING:
    from services.local.system import System

PAUSE_S = (3.0, 5.0)
ZOMBIE_S = (7.0, 10.0)  # longer than the group's session: a successor has taken over when it wakes
DOWN_S = (0.2, 2.0)
SERVING_S = 60.0
POLL_S = 0.1
THIRD = "worker-3"


class Fault(NamedTuple):
    """`strike(system, chance)` returns when the fault is over and its victim was started again."""

    name: str
    strike: Callable[[System, Random], Awaitable[None]]


def killed(name: str) -> Fault:
    """A supervised process dies, with all that it started."""

    async def strike(system: System, _chance: Random) -> None:
        before = system.restarts
        _signal(system, name, signal.SIGKILL)
        while system.restarts == before:
            await asyncio.sleep(POLL_S)

    return Fault(f"{name} killed", strike)


def paused(name: str, for_s: tuple[float, float] = PAUSE_S) -> Fault:
    """A process stands still, and goes on as if no time had passed."""

    async def strike(system: System, chance: Random) -> None:
        await _stand_still(partial(_signal, system, name), chance.uniform(*for_s))

    return Fault(f"{name} paused", strike)


def crashed(name: str, serve: Callable[[System], Awaitable[None]]) -> Fault:
    """A store dies, is away for a moment, and comes back with what it had written."""

    async def strike(system: System, chance: Random) -> None:
        _signal(system, name, signal.SIGKILL)
        await asyncio.sleep(chance.uniform(*DOWN_S))
        await system.stack.children.restart(name)
        await serve(system)

    return Fault(f"{name} crashed", strike)


def actor_killed(title: str) -> Fault:
    """A process of Ray's dies: the scheduler, or one of the engine actors."""

    async def strike(system: System, chance: Random) -> None:
        if pids := _actors(system, title):
            _send(chance.choice(pids), signal.SIGKILL)

    return Fault(f"{title.removeprefix('ray::')} killed", strike)


def actor_paused(title: str) -> Fault:
    """An engine actor stands still with a lease in its hands."""

    async def strike(system: System, chance: Random) -> None:
        if pids := _actors(system, title):
            await _stand_still(partial(_send, chance.choice(pids)), chance.uniform(*PAUSE_S))

    return Fault(f"{title.removeprefix('ray::')} paused", strike)


async def _third(system: System, _chance: Random) -> None:
    if system.child(THIRD) is None:
        await system.join(THIRD)
    else:
        await system.leave(THIRD)


async def _kafka(system: System) -> None:
    await _listening(system.settings.kafka.rpartition(":")[2])


async def _s3(system: System) -> None:
    """Until it stores: it answers half a minute before that, while its parts look for each other."""
    settings = system.settings
    store = client(S3(settings.s3_url, settings.s3_access_key, settings.s3_secret_key))
    async with asyncio.timeout(SERVING_S):
        while True:
            with suppress(MinioException, HTTPError):
                await asyncio.to_thread(store.put_object, settings.bucket, "storm", io.BytesIO(b"calm"), 4)
                await asyncio.to_thread(store.remove_object, settings.bucket, "storm")
                return
            await asyncio.sleep(POLL_S)


async def _ray(system: System) -> None:
    """Its control process listens; workers join it by themselves, and every actor that was is gone."""
    host, _, port = system.settings.ray_address.rpartition(":")
    await _listening(port, host)


async def _openbao(system: System) -> None:
    served = await system.stack.openbao()
    child = system.child("openbao")
    assert child is not None
    await system.stack.children.until(child, served.listening, timeout_s=SERVING_S)
    await served.unseal()
    await system.stack.children.until(child, served.active, timeout_s=SERVING_S)


ALL: tuple[Fault, ...] = (
    killed("worker-1"),
    killed("worker-2"),
    paused("worker-1", ZOMBIE_S),
    paused("worker-2"),
    Fault("a third worker joins, or leaves", _third),
    killed("gateway"),
    paused("gateway"),
    crashed("kafka", _kafka),
    paused("kafka"),
    crashed("s3", _s3),
    paused("s3"),
    crashed("openbao", _openbao),
    crashed("ray", _ray),
    paused("openbao"),
    actor_killed("ray::Scheduler"),
    actor_killed("ray::EngineActor"),
    actor_paused("ray::EngineActor"),
)


async def _stand_still(send: Callable[[int], None], for_s: float) -> None:
    """Whoever hears these signals stands still, and goes on as if no time had passed."""
    send(signal.SIGSTOP)
    try:
        await asyncio.sleep(for_s)
    finally:
        send(signal.SIGCONT)


def _signal(system: System, name: str, number: int) -> None:
    if (child := system.child(name)) is not None:
        for process in members(child):
            _send(process.pid, number)


def _send(pid: int, number: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, number)


def _actors(system: System, title: str) -> list[int]:
    child = system.child("ray")
    return [p.pid for p in members(child) if _title(p.pid).startswith(title)] if child is not None else []


def _title(pid: int) -> str:
    try:
        return Path(PROC / str(pid) / "cmdline").read_bytes().split(b"\0")[0].decode(errors="replace")
    except OSError:
        return ""


async def _listening(port: str, host: str = LOOPBACK) -> None:
    async with asyncio.timeout(SERVING_S):
        while True:
            with suppress(OSError):
                await asyncio.to_thread(lambda: socket.create_connection((host, int(port)), 1).close())
                return
            await asyncio.sleep(POLL_S)
