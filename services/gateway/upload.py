"""One upload: looked at and sealed as it comes. No byte is stored in clear, and none that was not looked at.

The sealed stream's last chunk leaves only after `Intake.finish()` has found the media whole: whatever is refused
before that cuts the PUT off, and an object store keeps nothing of a PUT cut off.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Final

import structlog
from litestar.types import Receive

from services.gateway.core import Core
from services.gateway.errors import (
    BodyTooLarge,
    GatewayStopping,
    OwnerAway,
    OwnerRefused,
    UploadCutOff,
    UploadStalled,
)
from services.gateway.intake import Intake, Limits, MediaFacts, Strip
from services.gateway.tenants import Tenant
from stream.agents.api import EndWrite, GrantWrite, JobView, WriteTicket
from stream.agents.grants import NoGrant
from stream.errors import MayflyError
from stream.ids import Kind
from stream.metrics import requests as metrics
from stream.vault.envelope import Recipient
from stream.vault.purposes import stream_name, write_info
from stream.vault.stream_seal import Sealer, sealed_size

STALL_S: Final = 30.0
END_S: Final = 2.0  # telling the owner of a failure; if that fails too, the row's own deadline sees to it

log = structlog.get_logger()


async def upload(
    core: Core, receive: Receive, tenant: Tenant, *, app: str, job: str, n: int, size_bytes: int
) -> JobView:
    """Take input `n` of `job`, whose body `receive` will give. Raises what is wrong with it; nothing is stored then."""
    partition = core.mint.check(Kind.JOB, tenant.id, job)
    with core.flights.transfer(tenant):
        recipient = Recipient.new()
        asked = GrantWrite(tenant=tenant.id, app=app, job=job, n=n, size_bytes=size_bytes, public=recipient.public)
        ticket = await core.client.ask(partition, asked, WriteTicket)
        end = EndWrite(tenant=tenant.id, app=app, job=job, grant=ticket.grant)
        try:
            facts = await _store(core, receive, recipient, ticket, app=app, size_bytes=size_bytes)
        except BaseException as error:
            await _give_up(core, partition, end, error)
            if isinstance(error, asyncio.CancelledError) and core.flights.stopping.is_set():
                raise GatewayStopping("expected a gateway that stays, this one is stopping: upload again") from None
            raise
        metrics.media("in", size_bytes)
        done = EndWrite(
            tenant=tenant.id,
            app=app,
            job=job,
            grant=ticket.grant,
            media_type=facts.media_type,
            width=facts.width,
            height=facts.height,
            size_bytes=size_bytes,
        )
        try:
            return await core.client.ask(partition, done, JobView)
        except OwnerRefused as refused:
            if refused.problem.kind != NoGrant.kind:
                raise
            # Not a conflict: a caller who takes 409 for "it is there" would wait for ever.
            raise OwnerAway(
                "expected one owner to the end, the partition changed hands meanwhile: upload again"
            ) from None


async def _store(
    core: Core, receive: Receive, recipient: Recipient, ticket: WriteTicket, *, app: str, size_bytes: int
) -> MediaFacts:
    if size_bytes > ticket.max_bytes:
        raise BodyTooLarge(f"expected at most {ticket.max_bytes} bytes, got {size_bytes} declared: send a smaller file")
    limits = Limits(max_bytes=ticket.max_bytes, max_pixels=ticket.max_pixels, max_duration_s=ticket.max_duration_s)
    intake = Intake(limits, frozenset(ticket.accept))
    key = recipient.open_key(ticket.sealed_key, write_info(ticket.asset, app))
    try:
        sealer = Sealer(key, stream_name(ticket.asset), app)
        found: list[MediaFacts] = []
        try:
            chunks = _sealed(receive, intake, sealer, found)
            await core.courier.put_stream(ticket.put_url, sealed_size(size_bytes), chunks)
        finally:
            sealer.wipe()
        return found[0]
    finally:
        key.wipe()


async def _sealed(receive: Receive, intake: Intake, sealer: Sealer, found: list[MediaFacts]) -> AsyncIterator[bytes]:
    """Header, chunks as they fill, and the last one only when the media is whole."""
    head, strip = sealer.header(), Strip()
    async for chunk in body(receive):
        intake.feed(chunk)
        if sealed := sealer.update(strip.feed(chunk, intake.media_type)):
            yield head + sealed
            head = b""
    found.append(intake.finish())
    yield head + sealer.final()


async def body(receive: Receive) -> AsyncIterator[bytes]:
    """The request's body as it comes. Raises UploadCutOff, UploadStalled."""
    while True:
        try:
            message = await asyncio.wait_for(receive(), STALL_S)
        except TimeoutError:
            raise UploadStalled(f"expected a byte at least every {STALL_S:g} s, none came: upload again") from None
        if message["type"] != "http.request":
            raise UploadCutOff("expected the whole body, the connection ended before: upload again")
        if message["body"]:
            yield message["body"]
        if not message["more_body"]:
            return


async def _give_up(core: Core, partition: int, end: EndWrite, error: BaseException) -> None:
    """Tell the owner why nothing is stored. A second failure changes nothing: the row's deadline is set already."""
    kind = error.kind if isinstance(error, MayflyError) else "internal"
    reason = "gateway-stopping" if isinstance(error, asyncio.CancelledError) else kind
    told = EndWrite(tenant=end.tenant, app=end.app, job=end.job, grant=end.grant, reason=reason)
    with contextlib.suppress(MayflyError, OwnerRefused, TimeoutError):
        await asyncio.wait_for(core.client.ask(partition, told, JobView), END_S)
