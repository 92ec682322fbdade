"""`POST /pools` of a worker: what an operator orders, handed to the scheduler. msgpack both ways, token needed."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from http import HTTPStatus

import msgspec
from aiohttp import web

from ray_cluster.orders import Order
from stream.agents.api import Problem
from stream.errors import BadRequest, MayflyError

PATH = "/pools"
MSGPACK = "application/msgpack"

_orders: msgspec.msgpack.Decoder[Order] = msgspec.msgpack.Decoder(Order)


def add_routes(
    app: web.Application, known: Callable[[web.Request], bool], operate: Callable[[bytes], Awaitable[bytes]]
) -> None:
    """`known`: whether the caller has the token. `operate`: `Cluster.operate`."""

    async def order(request: web.Request) -> web.Response:
        if not known(request):
            return _problem(Problem("unauthenticated", HTTPStatus.UNAUTHORIZED, "expected the internal token"))
        raw = await request.read()
        try:
            _orders.decode(raw)
            return web.Response(body=await operate(raw), content_type=MSGPACK)
        except msgspec.MsgspecError:
            return _problem(Problem(BadRequest.kind, HTTPStatus.BAD_REQUEST, "expected an order to the scheduler"))
        except MayflyError as error:
            return _problem(Problem(error.kind, error.status, str(error)))

    app.router.add_post(PATH, order)


def _problem(problem: Problem) -> web.Response:
    return web.Response(status=problem.status, body=msgspec.msgpack.encode(problem), content_type=MSGPACK)
