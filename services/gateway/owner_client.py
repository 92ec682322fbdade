"""Ask the owner of a partition, and stay patient while it changes hands.

Every verb may arrive twice: reads and deletions by nature, `submit` by its idempotency key (the gateway makes one where
the client sent none), grants by the public key of the request. So whatever was lost on the way is simply asked again.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from http import HTTPStatus
from typing import Any, Final, Generic, TypeVar

import aiohttp
import msgspec

from services.gateway.errors import OwnerAway, OwnerRefused
from services.gateway.owners import OwnerTable
from stream.agents.api import VERBS, Problem
from stream.vault.rootstore import RootStoreUnavailable

PATIENCE_S: Final = 10.0
TRY_S: Final = 8.0  # one attempt; a mass erasure in progress may hold a commit back for seconds
FIRST_PAUSE_S: Final = 0.05
LONGEST_PAUSE_S: Final = 1.0
KEEP_ALIVE_S: Final = 5.0
"""An idle connection's buffers, at both ends, hold what it carried last: a name, parameters. They go with it."""

REPLAYED: Final = "Idempotent-Replayed"

T = TypeVar("T", bound=msgspec.Struct)

_ELSEWHERE: Final = frozenset({HTTPStatus.MISDIRECTED_REQUEST, HTTPStatus.SERVICE_UNAVAILABLE})
_VERB_OF: Final = {request: verb for verb, (request, _) in VERBS.items()}
_DECODERS: Final = {request: msgspec.msgpack.Decoder(reply) for request, reply in VERBS.values()}
_PROBLEM: Final = msgspec.msgpack.Decoder(Problem)
_ENCODER: Final = msgspec.msgpack.Encoder()
_KIND: Final = re.compile(r"[a-z][a-z0-9-]{0,63}")


class Reply(msgspec.Struct, Generic[T], frozen=True):
    """What the owner answered; `replayed` where an idempotency key had been used for the same before."""

    value: T
    replayed: bool = False


class OwnerClient:
    """The owners of all partitions, behind one keep-alive pool."""

    def __init__(
        self,
        http: aiohttp.ClientSession,
        owners: OwnerTable,
        token: str,
        *,
        scheme: str,
        patience_s: float = PATIENCE_S,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._http = http
        self._owners = owners
        self._headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/msgpack"}
        self._scheme = scheme
        self._patience_s = patience_s
        self._monotonic = monotonic

    async def ask(self, partition: int, request: msgspec.Struct, reply: type[T], *, wait_s: float = 0.0) -> T:
        """The owner's reply. `wait_s`: how long the owner may hold a long poll.

        Raises OwnerRefused with the owner's problem, OwnerAway where nobody served for `patience_s` seconds.
        """
        return (await self.ask_fully(partition, request, reply, wait_s=wait_s)).value

    async def ask_fully(
        self, partition: int, request: msgspec.Struct, reply: type[T], *, wait_s: float = 0.0
    ) -> Reply[T]:
        """As `ask`, and whether the reply repeats an earlier one."""
        path = f"/v1/{partition}/{_VERB_OF[type(request)]}"
        body = _ENCODER.encode(request)
        timeout = aiohttp.ClientTimeout(total=TRY_S + wait_s)
        end = self._monotonic() + self._patience_s
        pause_s = FIRST_PAUSE_S
        while True:
            owner = self._owners.get(partition)
            if owner is not None:
                try:
                    url = f"{self._scheme}://{owner.address}{path}"
                    async with self._http.post(url, data=body, headers=self._headers, timeout=timeout) as answer:
                        raw = await answer.read()
                        if answer.status < HTTPStatus.MULTIPLE_CHOICES:
                            value = _DECODERS[type(request)].decode(raw)
                            assert isinstance(value, reply)
                            return Reply(value, replayed=REPLAYED in answer.headers)
                        refusal = _refusal(answer.status, raw)
                        if answer.status not in _ELSEWHERE or refusal.kind == RootStoreUnavailable.kind:
                            raise OwnerRefused(refusal)  # another owner would meet the same root store
                except (aiohttp.ClientError, TimeoutError):
                    pass  # a dead owner looks like any of these: its successor's row will wake us
            left_s = end - self._monotonic()
            if left_s <= 0:
                raise OwnerAway(f"expected an owner to answer within {self._patience_s:g} s, none did: try again soon")
            await self._owners.wait(min(pause_s, left_s))
            pause_s = min(2 * pause_s, LONGEST_PAUSE_S)


def _refusal(status: int, raw: bytes) -> Problem:
    try:
        problem = _PROBLEM.decode(raw)
    except msgspec.MsgspecError:
        problem = None
    if problem is None or not _KIND.fullmatch(problem.kind) or problem.status != status:
        return Problem("internal", HTTPStatus.BAD_GATEWAY, "the owner answered what no owner answers: tell us")
    return problem


def session(**options: Any) -> aiohttp.ClientSession:
    """A keep-alive session without the limits and cookies that a browser would want."""
    connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=KEEP_ALIVE_S, **options)
    return aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar(), auto_decompress=False)
