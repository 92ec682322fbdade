"""The tamper-evident logs, for auditors: C2SP tlog-tiles below /v1/log/{partition}. They identify nobody."""

from __future__ import annotations

from typing import Final

import msgspec
from litestar import Response, get
from litestar.di import NamedDependency
from litestar.params import FromPath

from services.gateway.core import Core
from stream.agents.api import GetCheckpoint, GetTile, LogFile
from stream.ids import UnknownId

_NO_STORE: Final = {"Cache-Control": "no-store"}
_FOR_GOOD: Final = {"Cache-Control": "private, max-age=31536000, immutable"}  # private: a key is needed to ask


class LogsView(msgspec.Struct, frozen=True):
    """How many logs there are: their numbers begin with 0."""

    partitions: int


@get("/log", name="log", summary="Which logs there are")
async def get_log(core: NamedDependency[Core]) -> LogsView:
    """One for each partition, named `mayfly/{partition}`."""
    return LogsView(core.mint.partitions)


@get("/log/{partition:int}/checkpoint", name="get_checkpoint", media_type="text/plain", summary="The head of a log")
async def get_checkpoint(core: NamedDependency[Core], partition: FromPath[int]) -> Response[bytes]:
    """A signed note (C2SP tlog-checkpoint)."""
    reply = await core.client.ask(_log(core, partition), GetCheckpoint(), LogFile)
    return Response(reply.file, media_type="text/plain", headers=_NO_STORE)


@get(
    "/log/{partition:int}/tile/{rest:path}",
    name="get_tile",
    media_type="application/octet-stream",
    summary="A file of a log",
)
async def get_tile(core: NamedDependency[Core], partition: FromPath[int], rest: FromPath[str]) -> Response[bytes]:
    """As in C2SP tlog-tiles: `{level}/{number}`, `entries/{number}`; our `signatures/{number}`. None ever changes."""
    reply = await core.client.ask(_log(core, partition), GetTile(f"tile/{rest.removeprefix('/')}"), LogFile)
    return Response(reply.file, media_type="application/octet-stream", headers=_FOR_GOOD)


ROUTES: Final = [get_log, get_checkpoint, get_tile]


def _log(core: Core, partition: int) -> int:
    if not 0 <= partition < core.mint.partitions:
        raise UnknownId(f"expected a partition below {core.mint.partitions}")
    return partition
