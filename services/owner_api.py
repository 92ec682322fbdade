"""The owner API over HTTP: mTLS, a bearer token, msgpack. Its clients are gateways, and one worker, for counts."""

from __future__ import annotations

import contextlib
import hmac
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from http import HTTPStatus

import aiohttp
import msgspec
from aiohttp import web
from prometheus_client import generate_latest

from ray_cluster.pools import PoolStatus
from services import pool_api, scraping
from services.counts import PATH as COUNTS
from services.gateway.owner_client import REPLAYED
from services.tls import client_context, server_context
from stream.agents import parked, retention
from stream.agents.api import VERBS, JobView, Problem
from stream.agents.api_render import PATH as RENDER
from stream.agents.estates import Estates
from stream.agents.owner import VERBS as ANSWERS
from stream.agents.owner import RefusedByVerdict, admit
from stream.errors import MayflyError
from stream.ledger import LedgerLost
from stream.metrics import worker as metrics
from stream.metrics.tally import Ask, Share

log = logging.getLogger(__name__)

MSGPACK = "application/msgpack"
MAX_BODY_BYTES = 1 << 20
REVOKE_S = 5.0
STOP_S = 1.0

_encoder = msgspec.msgpack.Encoder()
_decoders = {verb: msgspec.msgpack.Decoder(request) for verb, (request, _) in VERBS.items()}


class OwnerServer:
    """Serves `POST /v1/{partition}/{verb}`, and `GET /metrics`, `/estates` and `/pools` for people with the token.

    And `POST /counts`, for the worker that publishes; `POST /pools`, for operators; `GET /render`, for gateways.
    """

    def __init__(
        self,
        estates: Estates,
        pools: Callable[[], Awaitable[list[PoolStatus]]],
        *,
        port: int,
        tls_dir: str,
        token: str,
        counts: Callable[[Ask], list[Share]],
        operate: Callable[[bytes], Awaitable[bytes]],
        render: Callable[[web.Request], Awaitable[web.WebSocketResponse]],
    ) -> None:
        self._estates, self._pools, self._port, self._counts, self._render = estates, pools, port, counts, render
        self._ssl = server_context(tls_dir)
        self._expected = f"Bearer {token}".encode()
        app = web.Application(client_max_size=MAX_BODY_BYTES, middlewares=[scraping.counted])
        app.router.add_post("/v1/{partition}/{verb}", self._answer)
        app.router.add_post(COUNTS, self._share)
        app.router.add_get(RENDER, self._rendering)
        app.router.add_get("/metrics", self._metrics)
        app.router.add_get("/estates", self._state)
        app.router.add_get("/pools", self._pool_states)
        pool_api.add_routes(app, self._known, operate)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=STOP_S)

    async def start(self) -> None:
        """Listen on loopback."""
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self._port, ssl_context=self._ssl).start()

    async def stop(self) -> None:
        """Close the port."""
        await self._runner.cleanup()

    async def _answer(self, request: web.Request) -> web.Response:  # noqa: PLR0911 - one return per kind of answer
        if not self._known(request):
            return _problem(Problem("unauthenticated", HTTPStatus.UNAUTHORIZED, "expected the internal token"))
        verb = request.match_info["verb"]
        try:
            partition = int(request.match_info["partition"])
            asked = _decoders[verb].decode(await request.read())
        except (KeyError, ValueError, msgspec.MsgspecError):
            return _problem(Problem("bad-request", HTTPStatus.BAD_REQUEST, "expected a verb of the owner API"))
        estate = self._estates.of(partition)
        if estate is None:
            return _problem(Problem("not-owner", HTTPStatus.MISDIRECTED_REQUEST, "not the owner of this partition"))
        try:
            admit(estate, verb, asked)
            with metrics.ANSWER_S.labels(verb).time():
                reply = await ANSWERS[verb](estate, asked)
        except RefusedByVerdict as refused:
            return _problem(refused.problem)
        except LedgerLost:
            return _problem(Problem(LedgerLost.kind, HTTPStatus.SERVICE_UNAVAILABLE, "this partition changes hands"))
        except MayflyError as error:
            return _problem(Problem(error.kind, error.status, str(error), getattr(error, "retry_after_s", 0.0)))
        except Exception as error:
            log.exception("verb %s failed with %s", verb, type(error).__name__)
            return _problem(Problem("internal", HTTPStatus.INTERNAL_SERVER_ERROR, "the owner failed: it is logged"))
        finally:
            estate.book.discard()  # of a decision that failed half-way; any other is applied by now
        headers = {REPLAYED: "true"} if isinstance(reply, JobView) and reply.replayed else None
        return web.Response(body=_encoder.encode(reply), content_type=MSGPACK, headers=headers)

    async def _share(self, request: web.Request) -> web.Response:
        """What this worker has counted: exact, from its memory, for the publisher's memory alone."""
        if not self._known(request):
            raise web.HTTPUnauthorized
        try:
            asked = msgspec.msgpack.decode(await request.read(), type=Ask)
        except msgspec.MsgspecError:
            raise web.HTTPBadRequest from None
        return web.Response(body=_encoder.encode(self._counts(asked)), content_type=MSGPACK)

    async def _rendering(self, request: web.Request) -> web.WebSocketResponse:
        """Pictures of a RAM-only app: the connection is the lease of their work."""
        if not self._known(request):
            raise web.HTTPUnauthorized
        return await self._render(request)

    async def _metrics(self, request: web.Request) -> web.Response:
        if not self._known(request):
            raise web.HTTPUnauthorized
        await scraping.refresh(self._estates, self._pools)
        return web.Response(body=generate_latest(), content_type="text/plain")

    async def _state(self, request: web.Request) -> web.Response:
        """What this worker owns and when its rows come due: for `mayfly status` and a demo's clock."""
        if not self._known(request):
            raise web.HTTPUnauthorized
        return web.json_response(
            [
                {
                    "partition": estate.partition,
                    "rows": len(estate.ledger),
                    "keys": estate.pages.count(),
                    "changes": estate.ledger.changes,
                    "commits": estate.ledger.groups,
                    "active_jobs": len(estate.book.active),
                    "erasures_waiting": len(estate.ledger.erasures),
                    "oldest_erasure_s": round(estate.ledger.erasures.age_s, 3),
                    "root_store_silent_s": round(estate.pages.silent_s, 3),
                    "awaiting_sweep": len(estate.book.dead),
                    "to_tell": estate.book.aside,
                    "next_due": retention.next_due(estate),
                    "now": estate.now(),
                    "signed_by": estate.audit.settled_key_id,
                    "parked": sum(parked.waiting(estate).values()),
                }
                for estate in self._estates
            ]
        )

    async def _pool_states(self, request: web.Request) -> web.Response:
        """How engines are scaled, and why."""
        if not self._known(request):
            raise web.HTTPUnauthorized
        try:
            return web.json_response(msgspec.to_builtins(await self._pools()))
        except MayflyError as error:
            raise web.HTTPServiceUnavailable(text=str(error)) from None

    def _known(self, request: web.Request) -> bool:
        return hmac.compare_digest(request.headers.get("Authorization", "").encode(), self._expected)


@contextlib.asynccontextmanager
async def revoke_at(tls_dir: str, token: str) -> AsyncIterator[Callable[[str, str], Awaitable[bool]]]:
    """A function (url, grant) → whether the gateway acknowledged that it wiped the grant's key."""
    context = client_context(tls_dir)
    connector = aiohttp.TCPConnector(ssl=context if context is not None else True)
    timeout = aiohttp.ClientTimeout(total=REVOKE_S)
    headers = {"Authorization": f"Bearer {token}", "Content-Type": MSGPACK}
    async with aiohttp.ClientSession(connector=connector, timeout=timeout, headers=headers) as http:

        async def call(url: str, grant: str) -> bool:
            try:
                async with http.post(url, data=_encoder.encode({"grant": grant})) as answer:
                    return answer.status == HTTPStatus.OK
            except (aiohttp.ClientError, TimeoutError):
                return False

        yield call


def _problem(problem: Problem) -> web.Response:
    return web.Response(status=problem.status, body=_encoder.encode(problem), content_type=MSGPACK)
