"""The whole system on a booted stack: topics, settings, a gateway and workers, each restarted when it dies."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import secrets
import shutil
import ssl
import sys
import time
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any, ClassVar, Final, Self

import aiohttp

from services import label_key
from services import tls as certificates
from services.clock_topic import advance
from services.gateway import tenant_topic
from services.local.children import ChildFailed
from services.local.home import weights_dir
from services.local.ports import free_ports
from services.local.processes import Child
from services.local.stack import LocalStack
from services.settings import RamOnlyApps, RootStoreName, Settings, save
from services.topic_plan import topics_of
from stream import topics
from stream.errors import StoreUnavailable
from stream.vault import hygiene

log = logging.getLogger(__name__)

SETTINGS_FILE: Final = "settings.json"
SYSTEM_FILE: Final = "system.json"
SERVING_S: Final = 60.0
ASK_S: Final = 10.0  # of one worker, for what it has at hand
POLL_S: Final = 0.1
RESTART_POLL_S: Final = 0.2


class NotServing(StoreUnavailable):
    """The gateway or the workers did not get ready in time."""

    kind: ClassVar[str] = "not-serving"


class System:
    """Use as `async with System(stack, …)`, inside the stack's own."""

    def __init__(
        self,
        stack: LocalStack,
        *,
        workers: int = 1,
        port: int = 0,
        demo_clock: bool = False,
        serving_s: float = SERVING_S,
        **overrides: Any,
    ) -> None:
        """`port`: of the API, 0 for a free one. `serving_s`: how long the boot may take. `overrides`: of Settings."""
        self.stack, self.workers, self.port = stack, workers, port
        self.restarts = 0
        self._serving_s = serving_s
        self._demo_clock, self._overrides = demo_clock, overrides
        self._ports: dict[str, int] = {}
        self._keeping: dict[str, asyncio.Task[None]] = {}

    async def __aenter__(self) -> Self:
        """Raises ChildFailed or NotServing."""
        endpoints = await self.stack.ray()
        self.folder = self.stack.run_dir / "system"
        shutil.rmtree(self.folder, ignore_errors=True)  # its keys belong to data that an earlier boot had
        self.folder.mkdir()
        tls = self.folder / "tls"
        certificates.create(tls, datetime.now(UTC))
        label_key.create(self.folder / "labels", datetime.now(UTC))
        values: dict[str, Any] = {
            "kafka": endpoints.kafka,
            "s3_url": endpoints.s3_url,
            "s3_access_key": endpoints.s3_access_key,
            "s3_secret_key": endpoints.s3_secret_key,
            "bucket": endpoints.bucket,
            "ray_address": endpoints.ray_address,
            "ray_token_path": endpoints.ray_token_path,
            "secret": secrets.token_hex(32),
            "internal_token": secrets.token_hex(32),
            "tls_dir": str(tls),
            "state_dir": str(self.folder / "state"),
            "weights_dir": str(weights_dir()),
            "labels_dir": str(self.folder / "labels"),
            "demo_clock": self._demo_clock,
            "ram_only_apps": RamOnlyApps.IF_SAFE,  # a developer's machine may swap
        } | self._overrides
        if values.get("root_store") is RootStoreName.OPENBAO and not values.get("openbao_url"):
            cluster = await (await self.stack.openbao()).cluster()
            values |= {
                "openbao_url": cluster.url,
                "openbao_mount": cluster.mount,
                "openbao_token_path": cluster.token_path,
            }
        self.settings = Settings(**values)
        self._env = {**hygiene.ENVIRONMENT, "MAYFLY_SETTINGS": str(self.folder / SETTINGS_FILE)}
        save(self.settings, self.folder / SETTINGS_FILE)
        plan = topics_of(self.settings)
        await topics.create(self.settings.kafka, plan, partitions=self.settings.partitions)
        free, *internal = free_ports(self.workers + 1)
        public = self.port or free
        self.url = f"http://127.0.0.1:{public}"
        names = [f"worker-{n + 1}" for n in range(self.workers)]
        self._ports = dict(zip(names, internal, strict=True))
        self._keeping["gateway"] = self._kept("gateway", "services.gateway", public)
        self._keep_all()
        try:
            await self._until_ready()
        except BaseException:
            await self._stop()
            raise
        self._tell()
        return self

    async def __aexit__(self, *_exc: object) -> None:
        await self._stop()

    async def tenant(self, *apps: str) -> tuple[str, str]:
        """(tenant id, API key) of a fresh tenant that the gateway knows of when this returns."""
        tenant, key = await tenant_topic.add(self.settings.kafka, apps)
        async with aiohttp.ClientSession(headers={"Authorization": f"Bearer {key}"}) as http:
            while True:  # the gateway follows the topic
                async with http.get(f"{self.url}/v1/{apps[0]}/jobs/none") as answer:
                    if answer.status != HTTPStatus.UNAUTHORIZED:
                        return tenant.id, key
                await asyncio.sleep(POLL_S)

    async def estates(self) -> list[dict[str, Any]]:
        """What every partition's owner says of it."""
        return await estates(self.settings, list(self._ports.values()))

    async def advance_to(self, moment: float) -> None:
        """The demo clock of every process shows at least `moment` (epoch seconds) when this returns."""
        await advance(self.settings.kafka, moment - time.time())
        while True:
            found = await self.estates()
            if len(found) == self.settings.partitions and all(estate["now"] >= moment for estate in found):
                return
            await asyncio.sleep(POLL_S)

    async def stop_workers(self) -> None:
        """End every worker, so that nobody owns a partition; the gateway and the stores go on."""
        await self._unkeep(list(self._ports))
        await self.stack.children.stop([name for name in self._ports if self.child(name) is not None])

    async def start_workers(self) -> None:
        """Start them again; every partition is served when this returns. Raises NotServing."""
        self._keep_all()
        await self._until_ready()

    def child(self, name: str) -> Child | None:
        """A running process of the system, for whoever wants to kill it."""
        return next((child for child in self.stack.children.running() if child.name == name), None)

    def _start(self, name: str, module: list[str]) -> Child:
        return self.stack.children.start(name, [sys.executable, "-m", *module], env=self._env)

    async def join(self, name: str) -> None:
        """One more worker, which takes its share of the partitions as soon as the group notices it."""
        (self._ports[name],) = free_ports(1)
        self._keeping[name] = self._kept(name, "services.worker", self._ports[name])
        self._tell()

    async def leave(self, name: str) -> None:
        """That worker ends for good, as at a scale-down: by SIGTERM."""
        await self._unkeep([name])
        if self.child(name) is not None:
            await self.stack.children.stop([name])
        del self._ports[name]
        self._tell()

    def _keep_all(self) -> None:
        for name, port in self._ports.items():
            self._keeping[name] = self._kept(name, "services.worker", port)

    def _kept(self, name: str, module: str, port: int) -> asyncio.Task[None]:
        return asyncio.create_task(self._keep(name, [module, "--port", str(port)]), name=f"keep {name}")

    async def _unkeep(self, names: list[str]) -> None:
        keeping = [self._keeping.pop(name) for name in names if name in self._keeping]
        for task in keeping:
            task.cancel()
        await asyncio.gather(*keeping, return_exceptions=True)

    async def _keep(self, name: str, module: list[str]) -> None:
        """A supervisor's whole job: what ends is started again."""
        child = self._start(name, module)
        while True:
            await asyncio.sleep(RESTART_POLL_S)
            try:
                self.stack.children.expect(child)
            except ChildFailed as error:
                log.warning("%s", error)
                self.restarts += 1
                child = await self.stack.children.restart(name)

    def _tell(self) -> None:
        """Where everybody is, for commands that ask."""
        (self.folder / SYSTEM_FILE).write_text(json.dumps({"url": self.url, "workers": self._ports}))

    async def _until_ready(self) -> None:
        end = time.monotonic() + self._serving_s
        async with aiohttp.ClientSession() as http:
            while time.monotonic() < end:
                for task in self._keeping.values():
                    if task.done():
                        task.result()
                with contextlib.suppress(aiohttp.ClientError, TimeoutError):
                    async with http.get(f"{self.url}/readyz") as answer:
                        if answer.status == HTTPStatus.OK and await self._shared_out():
                            return
                if self.restarts > self.workers:
                    break
                await asyncio.sleep(POLL_S)
        words = "; ".join(str(e) for e in self._failures()) or f"logs are in {self.stack.run_dir}"
        raise NotServing(
            f"expected the gateway and {self.workers} worker(s) to serve within {self._serving_s:g} s: {words}"
        )

    async def _shared_out(self) -> bool:
        """Whether each partition is served, and each worker serves some.

        One that joins later takes partitions over; whoever uploads meanwhile has a grant of the former owner: 503.
        """
        shares = [len(await estates(self.settings, [port])) for port in self._ports.values()]
        return sum(shares) == self.settings.partitions and shares.count(0) <= max(0, len(shares) - sum(shares))

    def _failures(self) -> list[ChildFailed]:
        found = []
        for child in self.stack.children.running():
            try:
                self.stack.children.expect(child)
            except ChildFailed as error:
                found.append(error)
        return found

    async def _stop(self) -> None:
        await self._unkeep(list(self._keeping))
        ours = {"gateway", *self._ports}
        await self.stack.children.stop([child.name for child in self.stack.children.running() if child.name in ours])
        (self.folder / SYSTEM_FILE).unlink(missing_ok=True)


async def estates(settings: Settings, ports: list[int]) -> list[dict[str, Any]]:
    """`GET /estates` of every worker that answers."""
    return [estate for port in ports for estate in await ask_worker(settings, port, "estates")]


async def ask_worker(settings: Settings, port: int, what: str) -> list[dict[str, Any]]:
    """`GET /estates` or `/pools` of one worker; nothing if it does not answer."""
    context = certificates.client_context(settings.tls_dir)
    headers = {"Authorization": f"Bearer {settings.internal_token}"}
    connector = aiohttp.TCPConnector(ssl=context if isinstance(context, ssl.SSLContext) else True)
    scheme = "https" if settings.tls_dir else "http"
    found: list[dict[str, Any]] = []
    timeout = aiohttp.ClientTimeout(total=ASK_S)
    async with aiohttp.ClientSession(connector=connector, headers=headers, timeout=timeout) as http:
        with contextlib.suppress(aiohttp.ClientError, TimeoutError):
            async with http.get(f"{scheme}://127.0.0.1:{port}/{what}") as answer:
                found = await answer.json()
    return found
