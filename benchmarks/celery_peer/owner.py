"""Answers our gateway's four verbs of a job, with its rows in Redis and its work in Celery. Owns all partitions.

BROKER=redis://… python -m benchmarks.celery_peer.owner --port N      (settings from MAYFLY_SETTINGS)
"""

from __future__ import annotations

import argparse
import asyncio
import os
import time
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import msgspec
import redis.asyncio
import uvloop
from aiohttp import web

from benchmarks.celery_peer.tasks import BROKER, DONE, noop
from services.settings import Settings, load
from services.tls import server_context
from stream.agents import api
from stream.ids import Kind, Mint
from stream.vault.envelope import seal_key
from stream.vault.presign import Signer
from stream.vault.purposes import write_info
from stream.vault.secret import KEY_BYTES, Key

URL_S = 900
MAX_BYTES, MAX_PIXELS, MAX_DURATION_S = 20 << 20, 50_000_000, 60.0
ACCEPT = ("image/jpeg",)


class Row(msgspec.Struct):
    """A job, as Redis keeps it."""

    view: api.JobView
    source: dict[str, str]
    result: dict[str, str]


class Peer:
    """See the module."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._mint = Mint(bytes.fromhex(settings.secret), settings.partitions)
        self._signer = Signer(settings.s3_url, settings.s3_access_key, settings.s3_secret_key)
        self._redis = redis.asyncio.Redis.from_url(BROKER)
        self._rings: defaultdict[str, asyncio.Event] = defaultdict(asyncio.Event)
        self._sending = ThreadPoolExecutor(4)  # Celery's client is synchronous

    async def submit(self, ask: api.Submit) -> api.JobView:
        """A job and its input, pending."""
        partition = self._mint.place(ask.tenant, ask.subject)
        now = time.time()
        job = self._mint.mint(Kind.JOB, ask.tenant, partition)
        pieces = [self._piece(self._mint.mint(Kind.ASSET, ask.tenant, partition), how) for how in ("GET", "PUT")]
        asset = api.AssetView(
            id=pieces[0]["asset"], role="input", n=0, state="pending", data_class="upload_image", clause="",
            promised="", ceiling=now + 3600, due=now + 3600, leaf="", salt="",
        )  # fmt: skip
        view = api.JobView(job, "awaiting", "generate", 0, now, assets=(asset,), now=now)
        await self._keep(Row(view, pieces[0], pieces[1]))
        return view

    async def grant_write(self, ask: api.GrantWrite) -> api.WriteTicket:
        """Where and under which key."""
        row = await self._row(ask.job)
        asset = row.source["asset"]
        put = self._url("PUT", asset)
        sealed = seal_key(Key(bytearray.fromhex(row.source["key"])), ask.public, write_info(asset, ask.app))
        return api.WriteTicket("grant", asset, put, sealed, MAX_BYTES, MAX_PIXELS, MAX_DURATION_S, ACCEPT)

    async def end_write(self, ask: api.EndWrite) -> api.JobView:
        """The input is there: its work is queued."""
        row = await self._row(ask.job)
        if not ask.reason:
            row.view = msgspec.structs.replace(row.view, state="queued", seq=row.view.seq + 1)
            await self._keep(row)
            loop = asyncio.get_running_loop()
            await loop.run_in_executor(self._sending, lambda: noop.delay(ask.job, row.source, row.result))
        return row.view

    async def get_job(self, ask: api.GetJob) -> api.JobView:
        """How it stands; a long poll waits for its end."""
        row = await self._row(ask.job)
        if ask.wait_s and row.view.seq <= ask.after and row.view.state != "succeeded":
            ring = self._rings[ask.job]
            try:
                async with asyncio.timeout(ask.wait_s):
                    await ring.wait()
            except TimeoutError:
                return row.view
            row = await self._row(ask.job)
        return row.view

    async def follow(self) -> None:
        """Jobs that Celery has done."""
        async with self._redis.pubsub() as told:
            await told.subscribe(DONE)
            async for message in told.listen():
                if message["type"] == "message":
                    await self._done(message["data"].decode())

    async def serve(self, request: web.Request) -> web.Response:
        """One verb."""
        verb = request.match_info["verb"]
        ask = msgspec.msgpack.decode(await request.read(), type=api.VERBS[verb][0])
        reply = await getattr(self, verb)(ask)
        return web.Response(body=msgspec.msgpack.encode(reply))

    async def _done(self, job: str) -> None:
        row = await self._row(job)
        row.view = msgspec.structs.replace(row.view, state="succeeded", seq=row.view.seq + 1, ended_at=time.time())
        await self._keep(row)
        self._rings.pop(job, asyncio.Event()).set()

    async def _keep(self, row: Row) -> None:
        await self._redis.set(f"job:{row.view.id}", msgspec.msgpack.encode(row))

    async def _row(self, job: str) -> Row:
        kept = await self._redis.get(f"job:{job}")
        assert isinstance(kept, bytes)
        return msgspec.msgpack.decode(kept, type=Row)

    def _piece(self, asset: str, method: str) -> dict[str, str]:
        return {"asset": asset, "url": self._url(method, asset), "key": os.urandom(KEY_BYTES).hex()}

    def _url(self, method: str, name: str) -> str:
        return self._signer.url(method, f"/{self._settings.bucket}/{name}", expires_s=URL_S, now=time.time())


async def main(port: int) -> None:
    """Until killed."""
    settings = load()
    peer = Peer(settings)
    app = web.Application(client_max_size=1 << 20)
    app.router.add_post("/v1/{partition}/{verb}", peer.serve)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    following: asyncio.Task[Any] = asyncio.create_task(peer.follow())
    await web.TCPSite(runner, "127.0.0.1", port, ssl_context=server_context(settings.tls_dir)).start()
    await following


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    uvloop.run(main(parser.parse_args().port))
