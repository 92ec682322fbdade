"""The whole embedded stack behind one `async with`."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
import time
from collections.abc import Awaitable
from pathlib import Path
from types import TracebackType
from typing import ClassVar, Final, Self, TypeVar

import msgspec

from services.local.children import Children
from services.local.endpoints import FILE_NAME, Endpoints
from services.local.kafka import start_kafka
from services.local.openbao import OpenBao, start_openbao
from services.local.ray_head import Ray, start_ray
from services.local.s3 import S3, start_s3
from stream.errors import MayflyError, StoreUnavailable

RAM: Final = Path("/dev/shm")  # noqa: S108 - a tmpfs is the point: nothing below it reaches a disk
RAM_PREFIX: Final = "mayfly-"
RAM_LINK: Final = "ram"
DATA: Final = ("kafka", "s3")
OURS: Final = ("kafka", "s3", "ray", "openbao")

DISK_BYTES: Final = 512 << 20
RAM_BYTES: Final = 512 << 20
"""Of the tmpfs: with less, Ray would move its object store to a disk."""

T = TypeVar("T")
E = TypeVar("E", bound=BaseException)


class NoRoom(StoreUnavailable):
    """The disk or the tmpfs is full, absent or not ours to write."""

    kind: ClassVar[str] = "no-room"


class LocalStack:
    """Kafka, S3 and, if asked for, a Ray head and an OpenBao. Ready means served; leaving ends every process.

    `children` is open for more: what a caller starts there ends before the stores do.
    """

    def __init__(
        self, run_dir: Path, *, bucket: str = "mayfly", ray_cpus: float | None = None, keep: bool = False
    ) -> None:
        """run_dir: logs, pids, endpoints, data. keep: go on with the data of the boot before, else start empty.

        ray_cpus: logical CPUs of a Ray head booted along with the rest; None leaves Ray to `ray()`.
        """
        self.run_dir = run_dir.resolve()
        self.seconds: dict[str, float] = {}
        """Name → boot time, for whoever wants to print it."""
        self._bucket = bucket
        self._ray_cpus = ray_cpus
        self._keep = keep
        self._openbao: OpenBao | None = None

    async def __aenter__(self) -> Self:
        """Boot all at once. Raises StackBusy, NoRoom, ChildFailed or MissingPart, and leaves nothing running."""
        began = time.monotonic()
        try:
            self.children = Children(self.run_dir)
            try:
                self._clear()
                self._check_room()
                await self._boot()
            except BaseException:
                await self._close()
                raise
        except* OSError as group:
            raise NoRoom(f"expected to write below {self.run_dir} and {RAM}, got: {_first(group)}") from None
        except* MayflyError as group:
            raise _first(group) from None  # one sentence: the first cause says it
        self.seconds["all"] = time.monotonic() - began
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._close()

    async def ray(self, *, cpus: float = 4) -> Endpoints:
        """Boot the Ray head unless it runs already."""
        if not self.endpoints.ray_address:
            self._publish(await self._timed("ray", start_ray(self.children, temp_dir=self.ram / "ray", cpus=cpus)))
        return self.endpoints

    async def openbao(self) -> OpenBao:
        """Boot the root store unless it runs already. It starts empty, and keeps nothing: its raft lies in memory."""
        if self._openbao is None:
            self._openbao = await self._timed("openbao", start_openbao(self.children, data=self.ram / "openbao"))
        return self._openbao

    def _check_room(self) -> None:
        for path, wanted in ((self.run_dir, DISK_BYTES), (RAM, RAM_BYTES)):
            free = shutil.disk_usage(path).free
            if free < wanted:
                raise NoRoom(f"expected {wanted >> 20} MiB free at {path}, got {free >> 20} MiB: make room there")

    async def _boot(self) -> None:
        self.ram = make_ram(self.run_dir)
        async with asyncio.TaskGroup() as group:
            kafka = group.create_task(self._timed("kafka", start_kafka(self.children)))
            s3 = group.create_task(self._timed("s3", start_s3(self.children, bucket=self._bucket, sockets=self.ram)))
            ray = None
            if self._ray_cpus is not None:
                head = start_ray(self.children, temp_dir=self.ram / "ray", cpus=self._ray_cpus)
                ray = group.create_task(self._timed("ray", head))
        served: S3 = s3.result()
        self.endpoints = Endpoints(
            kafka=kafka.result(),
            s3_url=served.url,
            s3_access_key=served.access_key,
            s3_secret_key=served.secret_key,
            bucket=self._bucket,
        )
        self._publish(ray.result() if ray else None)

    def _publish(self, ray: Ray | None) -> None:
        if ray is not None:
            self.endpoints = msgspec.structs.replace(
                self.endpoints, ray_address=ray.address, ray_token_path=ray.token_path
            )
        self.endpoints.save(self.run_dir)

    async def _timed(self, name: str, start: Awaitable[T]) -> T:
        began = time.monotonic()
        served = await start
        self.seconds[name] = time.monotonic() - began
        return served

    async def _close(self) -> None:
        """Callers' processes first, then what they talk to."""
        try:
            await self.children.stop([child.name for child in self.children.running() if child.name not in OURS])
        finally:
            await self.children.stop()
            clear_ram(self.run_dir)
            (self.run_dir / FILE_NAME).unlink(missing_ok=True)
            self.children.release()

    def _clear(self) -> None:
        """What a killed run left in memory goes; its data too, unless they are wanted."""
        clear_ram(self.run_dir)
        (self.run_dir / FILE_NAME).unlink(missing_ok=True)
        if not self._keep:
            for name in DATA:
                shutil.rmtree(self.run_dir / name, ignore_errors=True)


def sweep(run_dir: Path) -> list[str]:
    """End what a killed parent left running and in memory; the names of the children. Raises StackBusy."""
    children = Children(run_dir)
    clear_ram(run_dir)
    children.release()
    return children.swept


def make_ram(run_dir: Path) -> Path:
    """A folder of the run in memory, which `clear_ram` finds again."""
    ram = Path(tempfile.mkdtemp(prefix=RAM_PREFIX, dir=RAM))
    (run_dir / RAM_LINK).symlink_to(ram)
    return ram


def clear_ram(run_dir: Path) -> None:
    """Remove it, if there is one."""
    link = run_dir / RAM_LINK
    if link.is_symlink():
        target = link.readlink()
        if target.parent == RAM and target.name.startswith(RAM_PREFIX):
            shutil.rmtree(target, ignore_errors=True)
        link.unlink()


def _first(group: BaseExceptionGroup[E]) -> E:
    error = group.exceptions[0]
    return _first(error) if isinstance(error, BaseExceptionGroup) else error
