"""An owner in memory: every verb of stream/agents/api.py by its structs, custody on the real store.

It stands in for a worker in the gateway's own tests; `GatewayApi` in test_gateway_api.py says what both must do.
What only a double can do (give a partition away, revoke on command) are its plain methods.
"""

from __future__ import annotations

import asyncio
import hashlib
import io
import os
import time
from collections.abc import Callable
from typing import Any

import msgspec
from aiohttp import ClientSession, web
from aiokafka import AIOKafkaProducer
from yarl import URL

from services.gateway.owner_client import REPLAYED
from services.settings import Settings
from services.tls import client_context, server_context
from stream import topics
from stream.agents import api
from stream.audit.log import Log
from stream.audit.signer import Signer as LogSigner
from stream.audit.tiles import UnknownTile, parse_path
from stream.events.rows import Owner, rows
from stream.ids import Kind, Mint
from stream.vault.envelope import seal_key
from stream.vault.presign import Signer
from stream.vault.purposes import read_info, stream_name, write_info
from stream.vault.secret import Key
from stream.vault.stream_seal import seal

OPERATIONS = {"stylization": 1, "face_swap": 2}
PURPOSE = "face_processing"
VERSION = "2025-1"
MAX_BYTES = 300_000
MAX_PIXELS = 4_000_000
LARGE_BYTES = 24 << 20
ACCEPT = ("image/jpeg", "image/png", "video/mp4")
URL_S = 60


class Refused(Exception):  # noqa: N818
    def __init__(self, kind: str, status: int) -> None:
        self.problem = api.Problem(kind, status, f"the double refuses: {kind}")


class Asset:
    def __init__(self, tenant: str, app: str, view: api.AssetView) -> None:
        self.tenant, self.app, self.view = tenant, app, view
        self.object = os.urandom(16).hex()
        self.key = Key.new()
        self.grants: dict[str, api.GrantRead] = {}


class Job:
    def __init__(self, ask: api.Submit, view: api.JobView) -> None:
        self.ask, self.view = ask, view


class OwnerDouble:
    """Owns all partitions unless told otherwise."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.mint = Mint(bytes.fromhex(settings.secret), settings.partitions)
        self.signer = Signer(settings.s3_url, settings.s3_access_key, settings.s3_secret_key)
        self.consents: dict[tuple[str, ...], api.ConsentView] = {}
        self.history: dict[tuple[str, ...], list[api.ConsentView]] = {}
        self.jobs: dict[str, Job] = {}
        self.assets: dict[str, Asset] = {}
        self.idempotent: dict[tuple[str, ...], tuple[bytes, str]] = {}
        self.write_grants: dict[str, str] = {}
        self.ended: list[api.EndWrite] = []
        self.reads_ended: list[api.EndRead] = []
        self.renewals = 0
        self.disowned: set[int] = set()  # 421
        self.dumb: set[int] = set()  # 503
        self.rootless: set[int] = set()  # 503, which no other owner could better
        self.calls: list[str] = []
        self.changed = asyncio.Condition()
        self.epoch = 0
        self.grant_ttl_s = settings.grant_ttl_s
        self.log = Log(0, LogSigner(bytes(32)))
        self.log.name_key()
        self.log.settle(1)

    async def start(self) -> None:
        app = web.Application(client_max_size=1 << 20)
        app.router.add_post("/v1/{partition}/{verb}", self._serve)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0, ssl_context=server_context(self.settings.tls_dir)).start()
        self.address = f"127.0.0.1:{self._runner.addresses[0][1]}"

    async def stop(self) -> None:
        await self._runner.cleanup()

    async def announce(self, address: str | None, *partitions: int) -> None:
        """Write the owners topic as a ledger does: inside a transaction. None: a tombstone."""
        self.epoch += 1
        value = rows.encode(Owner(address, self.epoch)) if address is not None else None
        async with (
            AIOKafkaProducer(bootstrap_servers=self.settings.kafka, transactional_id="owner-double") as producer,
            producer.transaction(),
        ):
            for partition in partitions or range(self.settings.partitions):
                await producer.send_and_wait(topics.OWNERS, value, b"%d" % partition, partition=0)

    async def bump(self, job: str, **changes: Any) -> None:
        """A job's status changes."""
        async with self.changed:
            held = self.jobs[job]
            held.view = msgspec.structs.replace(held.view, seq=held.view.seq + 1, **changes)
            self.changed.notify_all()

    async def until(self, true: Callable[[], object]) -> None:
        async with self.changed:
            await asyncio.wait_for(self.changed.wait_for(true), 10)

    async def revoke(self, asset: str) -> tuple[list[int], float]:
        """Take back every read grant of an asset, as an erase does: the answers, and the seconds until the last."""
        began, answers = time.monotonic(), []
        async with ClientSession() as http:
            for grant, ask in list(self.assets[asset].grants.items()):
                async with http.post(
                    ask.revoke_url,
                    data=msgspec.msgpack.encode({"grant": grant}),
                    headers={"Authorization": f"Bearer {self.settings.internal_token}"},
                    ssl=client_context(self.settings.tls_dir) or True,
                ) as answer:
                    answers.append(answer.status)
        return answers, time.monotonic() - began

    async def make_large(self, tenant: str, app: str) -> str:
        """A stored asset larger than every buffer between gateway and client."""
        asset = self.mint.mint(Kind.ASSET, tenant, 0)
        view = api.AssetView(
            id=asset,
            role="result",
            n=0,
            state="stored",
            data_class="face_media",
            clause="test",
            promised="as long as the test",
            ceiling=time.time() + 120,
            due=time.time() + 60,
            leaf=os.urandom(32).hex(),
            salt=os.urandom(16).hex(),
            media_type="video/mp4",
            size_bytes=LARGE_BYTES,
        )
        held = self.assets[asset] = Asset(tenant, app, view)
        sealed = seal(held.key, stream_name(asset), app, bytes(LARGE_BYTES))
        async with ClientSession() as http:
            url = URL(self._url("PUT", held.object), encoded=True)
            async with http.put(url, data=io.BytesIO(sealed)) as answer:
                assert answer.status == 200
        return asset

    def _url(self, method: str, name: str) -> str:
        return self.signer.url(method, f"/{self.settings.bucket}/{name}", expires_s=URL_S, now=time.time())

    async def _serve(self, request: web.Request) -> web.Response:
        assert request.headers["Authorization"] == f"Bearer {self.settings.internal_token}"
        partition, verb = int(request.match_info["partition"]), request.match_info["verb"]
        self.calls.append(verb)
        async with self.changed:
            self.changed.notify_all()
        headers = {}
        try:
            asked, replies = api.VERBS[verb]
            ask = msgspec.msgpack.decode(await request.read(), type=asked)
            self._check(partition, ask)
            reply = await getattr(self, f"_{verb}")(ask)
            if isinstance(reply, tuple):
                reply, headers = reply[0], {REPLAYED: "true"}
            assert isinstance(reply, replies)
        except Refused as refused:
            return web.Response(status=refused.problem.status, body=msgspec.msgpack.encode(refused.problem))
        finally:
            async with self.changed:
                self.changed.notify_all()
        return web.Response(body=msgspec.msgpack.encode(reply), headers=headers)

    def _check(self, partition: int, ask: Any) -> None:
        if partition in self.disowned:
            raise Refused("not-owner", 421)
        if partition in self.rootless:
            raise Refused("root-store-unavailable", 503)
        if partition in self.dumb:
            raise Refused("owner-opening", 503)
        if hasattr(ask, "subject"):
            assert partition == self.mint.place(ask.tenant, ask.subject)
        if hasattr(ask, "job"):
            assert partition == self.mint.check(Kind.JOB, ask.tenant, ask.job)
        if hasattr(ask, "asset"):
            assert partition == self.mint.check(Kind.ASSET, ask.tenant, ask.asset)

    async def _put_consent(self, ask: api.PutConsent) -> api.ConsentView:
        if ask.purpose != PURPOSE:
            raise Refused("unknown-purpose", 404)
        if ask.guardian and ask.granted:
            raise Refused("guardian-not-asked", 422)
        known = self.consents.get((ask.tenant, ask.app, ask.subject, ask.purpose))
        if known is not None and known.granted == ask.granted:
            return known
        view = api.ConsentView(ask.purpose, ask.version, ask.granted, time.time(), ask.how.value, ask.proof)
        self.consents[ask.tenant, ask.app, ask.subject, ask.purpose] = view
        self.history.setdefault((ask.tenant, ask.app, ask.subject), []).append(view)
        return view

    async def _get_consents(self, ask: api.GetConsents) -> api.ConsentsView:
        history = tuple(self.history.get((ask.tenant, ask.app, ask.subject), ()))
        if history and history[-1].granted:
            return api.ConsentsView(standing=history[-1:], ask=(), history=history)
        why = "withdrawn" if history else "new"
        return api.ConsentsView(standing=(), ask=(api.AskView(PURPOSE, VERSION, why),), history=history)

    async def _put_age(self, _ask: api.PutAge) -> api.AgeView:
        raise Refused("age-not-asked", 422)

    async def _get_texts(self, ask: api.GetTexts) -> api.TextsView:
        digest = hashlib.sha256(b"I agree.").hexdigest()
        text = api.TextView(PURPOSE, VERSION, "I agree.", digest, "000 test", tuple(OPERATIONS))
        return api.TextsView(ask.app, "", (text,))

    async def _submit(self, ask: api.Submit) -> Any:
        partition = self.mint.place(ask.tenant, ask.subject)
        scope = (ask.tenant, ask.subject, ask.idempotency_key)
        if scope in self.idempotent:
            fingerprint, job = self.idempotent[scope]
            if fingerprint != ask.fingerprint:
                raise Refused("idempotency-conflict", 409)
            return (self.jobs[job].view, "replayed")
        if ask.operation not in OPERATIONS:
            raise Refused("operation-not-offered", 403)
        consent = self.consents.get((ask.tenant, ask.app, ask.subject, PURPOSE))
        if consent is None or not consent.granted:
            raise Refused("consent-missing", 403)
        if len(ask.inputs) != OPERATIONS[ask.operation]:
            raise Refused("wrong-inputs", 422)
        now = time.time()
        assets = []
        for n, _ in enumerate(ask.inputs):
            asset = self.mint.mint(Kind.ASSET, ask.tenant, partition)
            view = api.AssetView(
                id=asset,
                role="input",
                n=n,
                state="pending",
                data_class="face_media",
                clause="test",
                promised="as long as the test",
                ceiling=now + 120,
                due=now + 60,
                leaf=os.urandom(32).hex(),
                salt=os.urandom(16).hex(),
            )
            self.assets[asset] = Asset(ask.tenant, ask.app, view)
            assets.append(view)
        job = self.mint.mint(Kind.JOB, ask.tenant, partition)
        view = api.JobView(job, "awaiting", "detect", 0, now, assets=tuple(assets), now=now)
        self.jobs[job] = Job(ask, view)
        self.idempotent[scope] = (ask.fingerprint, job)
        return view

    def _job(self, ask: Any) -> Job:
        held = self.jobs.get(ask.job)
        if held is None or held.ask.app != ask.app:
            raise Refused("gone", 410)
        return held

    def _asset(self, ask: Any) -> Asset:
        held = self.assets.get(ask.asset)
        if held is None or held.app != ask.app or held.view.state != "stored":
            raise Refused("gone", 410)
        return held

    def _keep(self, asset: str, **changes: Any) -> None:
        held = self.assets[asset]
        held.view = msgspec.structs.replace(held.view, **changes)
        for job in self.jobs.values():
            views = tuple(held.view if view.id == asset else view for view in job.view.assets)
            job.view = msgspec.structs.replace(job.view, assets=views)

    async def _get_job(self, ask: api.GetJob) -> api.JobView:
        held = self._job(ask)
        if ask.wait_s:
            try:
                async with self.changed:
                    await asyncio.wait_for(self.changed.wait_for(lambda: held.view.seq > ask.after), ask.wait_s)
            except TimeoutError:
                pass
        return self._job(ask).view

    async def _grant_write(self, ask: api.GrantWrite) -> api.WriteTicket:
        held = self._job(ask)
        inputs = [view for view in held.view.assets if view.role == "input"]
        if ask.n >= len(inputs):
            raise Refused("no-such-input", 404)
        if inputs[ask.n].state != "pending":
            raise Refused("already-uploaded", 409)
        asset = self.assets[inputs[ask.n].id]
        grant = os.urandom(8).hex()
        self.write_grants[grant] = asset.view.id
        url = self._url("PUT", asset.object)
        sealed = seal_key(asset.key, ask.public, write_info(asset.view.id, ask.app))
        return api.WriteTicket(grant, asset.view.id, url, sealed, MAX_BYTES, MAX_PIXELS, 10.0, ACCEPT)

    async def _end_write(self, ask: api.EndWrite) -> api.JobView:
        self.ended.append(ask)
        asset = self.write_grants[ask.grant]
        if not ask.reason:
            self._keep(asset, state="stored", media_type=ask.media_type, size_bytes=ask.size_bytes)
            if all(view.state == "stored" for view in self.jobs[ask.job].view.assets):
                await self.bump(ask.job, state="queued", queue_position=0)
        return self._job(ask).view

    async def _get_asset(self, ask: api.GetAsset) -> api.AssetView:
        return self._asset(ask).view

    async def _grant_read(self, ask: api.GrantRead) -> api.ReadTicket:
        asset = self._asset(ask)
        grant = os.urandom(8).hex()
        asset.grants[grant] = ask
        url = self._url("GET", asset.object)
        sealed = seal_key(asset.key, ask.public, read_info(ask.asset, ask.app))
        until = time.time() + self.grant_ttl_s
        return api.ReadTicket(grant, url, sealed, asset.view.media_type, asset.view.size_bytes, until)

    async def _renew_read(self, ask: api.RenewRead) -> api.Renewed:
        if not any(ask.grant in asset.grants for asset in self.assets.values()):
            raise Refused("gone", 410)
        self.renewals += 1
        return api.Renewed(time.time() + self.grant_ttl_s)

    async def _end_read(self, ask: api.EndRead) -> api.Done:
        self.reads_ended.append(ask)
        for asset in self.assets.values():
            if asset.grants.pop(ask.grant, None) and ask.complete and asset.view.on_return:
                self._keep(asset.view.id, state="hidden")
        return api.Done(time.time())

    async def _delete_asset(self, ask: api.DeleteAsset) -> api.Done:
        self._asset(ask)
        self._keep(ask.asset, state="hidden")
        return api.Done(time.time())

    async def _delete_job(self, ask: api.DeleteJob) -> api.Done:
        held = self._job(ask)
        for view in held.view.assets:
            self._keep(view.id, state="hidden")
        await self.bump(ask.job, state="cancelled")
        return api.Done(time.time())

    async def _delete_subject(self, ask: api.DeleteSubject) -> api.Done:
        for job, held in list(self.jobs.items()):
            if (held.ask.tenant, held.ask.app, held.ask.subject) == (ask.tenant, ask.app, ask.subject):
                for view in held.view.assets:
                    self._keep(view.id, state="hidden")
                del self.jobs[job]
        return api.Done(time.time())

    async def _get_receipt(self, ask: api.GetReceipt) -> api.ReceiptReply:
        if not any(asset.view.leaf == ask.leaf for asset in self.assets.values()):
            raise Refused("unknown-id", 404)
        return api.ReceiptReply(msgspec.json.encode({"commitment": ask.leaf}))

    async def _get_checkpoint(self, _ask: api.GetCheckpoint) -> api.LogFile:
        return api.LogFile(self.log.checkpoint().encode())

    async def _get_tile(self, ask: api.GetTile) -> api.LogFile:
        try:
            return api.LogFile(self.log.tile(parse_path(ask.path)))
        except UnknownTile as error:
            raise Refused(error.kind, error.status) from None
