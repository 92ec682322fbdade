"""`python -m services.gateway --host 127.0.0.1 --port 8080`: one process, its settings in MAYFLY_SETTINGS."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import logging
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Final

import structlog
import uvloop
from granian.constants import HTTPModes, Interfaces
from granian.server.embed import Server

from services import memory, tls
from services import settings as settings_of
from services.gateway import revocation
from services.gateway.app import make_app
from services.gateway.core import Core
from services.gateway.flights import Flights
from services.gateway.grants import Grants
from services.gateway.owner_client import OwnerClient, session
from services.gateway.owners import OwnerTable
from services.gateway.render import desk as render
from services.gateway.revocation import RevocationServer
from services.gateway.tenants import TenantTable
from services.settings import BadSettings, Settings
from services.topic_follow import Apply, follow
from stream import topics
from stream.ids import Mint
from stream.vault.courier import Courier
from stream.vault.resident import MemoryUnsafe

LANDING_S: Final = 1.0  # for running transfers, then as long again for their ends to be told
CLOSING_S: Final = 0.5

log = structlog.get_logger()


class Options(argparse.Namespace):
    """The command line."""

    host: str
    port: int
    internal_host: str
    internal_port: int


@asynccontextmanager
async def opened(settings: Settings, internal_host: str, internal_port: int) -> AsyncIterator[Core]:
    """Everything but the public port. Raises MemoryUnsafe."""
    unsafe = memory.checked(settings)
    async with AsyncExitStack() as stack:
        tenants, owners, grants, caught_up = TenantTable(), OwnerTable(settings.partitions), Grants(), asyncio.Event()
        server = RevocationServer(grants, settings.internal_token)
        stack.push_async_callback(server.stop)
        port = await server.start(internal_host, internal_port, tls.server_context(settings.tls_dir))
        scheme = "https" if settings.tls_dir else "http"
        http = await stack.enter_async_context(session(ssl=tls.client_context(settings.tls_dir) or True))
        courier = await stack.enter_async_context(Courier())
        for topic, apply, event in (
            (topics.TENANTS, tenants.apply, caught_up),
            (topics.OWNERS, owners.apply, asyncio.Event()),
        ):
            await stack.enter_async_context(_following(settings.kafka, topic, apply, event))
        desk = await stack.enter_async_context(
            render.opened(settings, owners=owners, http=http, host=internal_host, scheme=scheme, unsafe=unsafe)
        )
        yield Core(
            mint=Mint(bytes.fromhex(settings.secret), settings.partitions),
            tenants=tenants,
            owners=owners,
            client=OwnerClient(http, owners, settings.internal_token, scheme=scheme),
            courier=courier,
            grants=grants,
            flights=Flights(),
            caught_up=caught_up,
            revoke_url=f"{scheme}://{internal_host}:{port}{revocation.PATH}",
            grant_ttl_s=settings.grant_ttl_s,
            desk=desk,
        )


async def serve(settings: Settings, options: Options) -> None:
    """Until SIGTERM or SIGINT; then transfers get a second to end, and the process is gone within three."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with opened(settings, options.internal_host or options.host, options.internal_port) as core:
        server = Server(
            make_app(core),
            options.host,
            options.port,
            interface=Interfaces.ASGI,
            http=HTTPModes.http1,
            websockets=False,
            log_enabled=False,
        )
        serving = asyncio.ensure_future(server.serve())
        stopping = asyncio.ensure_future(stop.wait())
        log.info("gateway.started", host=options.host, port=options.port)
        await asyncio.wait({serving, stopping}, return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        await core.flights.land(LANDING_S)
        server.stop()  # type: ignore[no-untyped-call]
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(serving, CLOSING_S)
        log.info("gateway.stopped")


@asynccontextmanager
async def _following(bootstrap: str, topic: str, apply: Apply, caught_up: asyncio.Event) -> AsyncIterator[None]:
    task = asyncio.create_task(follow(bootstrap, topic, apply, caught_up), name=f"follow {topic}")
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def configure_logs(level: str) -> None:
    """JSON lines on stderr. Libraries may warn; they are never asked to tell of single requests."""
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING, format='{"event": "%(name)s: %(levelname)s"}')
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso"),
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )


def main() -> int:
    """Run; the exit status."""
    parser = argparse.ArgumentParser(prog="python -m services.gateway", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1", help="public address")
    parser.add_argument("--port", type=int, default=8080, help="public port")
    parser.add_argument("--internal-host", default="", help="where owners reach this process (default: --host)")
    parser.add_argument("--internal-port", type=int, default=0, help="default: any free one")
    options = parser.parse_args(namespace=Options())
    try:
        settings = settings_of.load()
    except BadSettings as error:
        sys.stderr.write(f"{error}\n")
        return 2
    configure_logs(settings.log_level)
    try:
        uvloop.run(serve(settings, options))
    except MemoryUnsafe as error:
        sys.stderr.write(f"{error}\n")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
