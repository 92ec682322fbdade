"""Jobs, asked for and followed to their end by clients that ask again when nobody answers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import httpx

from tests.integration.client import APP, ENDED, Client, a_picture

IN_FLIGHT = 40
PATIENCE_S = 60.0
ASK_AGAIN_S = 0.05
AWAY = frozenset({500, 502, 503})
SUBJECTS = 37

Params = Callable[[int], dict[str, Any]]


class Load:
    """`jobs` of them, or as many as there is time for; `ended`: how each was seen to end, by its id."""

    def __init__(
        self,
        client: Client,
        jobs: int | None,
        *,
        app: str = APP,
        in_flight: int = IN_FLIGHT,
        params: Params | None = None,
        away: frozenset[int] = AWAY,
    ) -> None:
        self.client, self.jobs, self.app = client, jobs, app
        self.accepted: set[str] = set()
        self.ended: dict[str, dict[str, Any]] = {}
        self.without: list[str] = []
        """Jobs that were told as succeeded, with no result to be had."""
        self.returned = 0
        self.allowed = jobs
        self.stopped = False
        self.failed: BaseException | None = None
        self._begun, self._in_flight, self._away = 0, in_flight, away
        self._params: Params = params or (lambda n: {"steps": n % 3})
        self._picture = a_picture(16)

    async def run(self) -> None:
        """Until all have ended, or all that were begun when `stopped` was set."""
        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(self._in_flight):
                    group.create_task(self._client())
        except BaseException as error:
            self.failed = error
            raise

    async def until(self, ended: int) -> None:
        """Until so many have ended."""
        async with asyncio.timeout(PATIENCE_S):
            while len(self.ended) < ended:
                if self.failed is not None:
                    raise self.failed
                await asyncio.sleep(0.01)

    async def ask(self, method: str, path: str, good: set[int], **options: Any) -> httpx.Response:
        """The first of these answers, however often nobody is there meanwhile."""
        async with asyncio.timeout(PATIENCE_S):
            while True:
                try:
                    answer = await self.client.request(method, f"/v1/{self.app}/{path}", **options)
                except httpx.TransportError:
                    await asyncio.sleep(ASK_AGAIN_S)
                    continue
                if answer.status_code in good:
                    return answer
                assert answer.status_code in self._away, (path, answer.text)
                await asyncio.sleep(2 * ASK_AGAIN_S)

    async def _client(self) -> None:
        while not self.stopped and (self.jobs is None or self._begun < self.jobs):
            if self.allowed is not None and self._begun >= self.allowed:
                await asyncio.sleep(0.01)
                continue
            self._begun += 1
            await self._job(self._begun)

    async def _job(self, n: int) -> None:
        subject = f"subject {n % SUBJECTS}"
        choice = "discard" if n % 2 else "save"
        body = {"subject": subject, "operation": "noop", "choice": choice, "inputs": [{}], "params": self._params(n)}
        key = {"Idempotency-Key": f"{self.client.tenant} {n}"}
        job = (await self.ask("POST", "jobs", {201, 200}, json=body, headers=key)).json()
        self.accepted.add(job["id"])
        path = f"jobs/{job['id']}"
        # 409: an upload whose answer was lost is there already: the status tells.
        while (await self.ask("PUT", f"{path}/inputs/0", {200, 409}, content=self._picture)).status_code == 409:
            if (await self.ask("GET", path, {200})).json()["state"] != "awaiting":
                break
        view = job
        while view["state"] not in ENDED:
            view = (await self.ask("GET", path, {200})).json()
            await asyncio.sleep(ASK_AGAIN_S)
        self.ended[job["id"]] = view
        results = [asset["id"] for asset in view.get("assets", ()) if asset["role"] == "result"]
        if view["state"] == "succeeded" and not results:
            self.without.append(job["id"])
        if choice == "discard" and results:
            self.returned += (await self.ask("GET", f"assets/{results[0]}", {200, 410})).status_code == 200
