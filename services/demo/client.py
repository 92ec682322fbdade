"""The gateway as any client sees it: HTTP, JSON, server-sent events, and nothing from inside."""

from __future__ import annotations

from collections.abc import AsyncIterator
from http import HTTPStatus
from types import TracebackType
from typing import ClassVar, Final, NamedTuple, Self, TypeVar

import httpx
import msgspec

from stream.agents.api import JobView
from stream.errors import BadRequest, StoreUnavailable
from stream.events.rows import JobState

TIMEOUT_S: Final = 30.0  # three keep-alives of an event stream
RECONNECTS: Final = 5
OWNER_AWAY: Final = "urn:mayfly:problem:owner-away"

T = TypeVar("T")


class GatewayAway(StoreUnavailable):
    """The gateway did not answer."""

    kind: ClassVar[str] = "gateway-away"


class Refused(BadRequest):
    """The gateway said no, with the problem document's words."""

    kind: ClassVar[str] = "refused"


class Media(NamedTuple):
    """An answer to GET of an asset."""

    status: int
    body: bytes
    media_type: str


class Event(NamedTuple):
    """One server-sent event."""

    name: str
    id: str
    data: str


class Client:
    """Use as `async with`. Every method may raise Refused or GatewayAway."""

    def __init__(self, url: str, key: str, app: str) -> None:
        headers = {"Authorization": f"Bearer {key}"}
        self._http = httpx.AsyncClient(base_url=url, headers=headers, timeout=TIMEOUT_S)
        self._app = f"/v1/{app}"

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._http.aclose()

    async def consent(self, subject: str, purpose: str, version: str) -> None:
        """Record that the subject agreed to this version of the text."""
        path = f"{self._app}/subjects/{subject}/consents/{purpose}"
        _ok(await self._send("PUT", path, content=msgspec.json.encode({"granted": True, "version": version})))

    async def submit(self, subject: str, operation: str, choice: str, *, asset: str = "") -> JobView:
        """Ask for a job of one input: `asset`, a saved one, or one to be uploaded."""
        wanted = {
            "subject": subject,
            "operation": operation,
            "choice": choice,
            "inputs": [{"asset": asset} if asset else {}],
        }
        return _job(_ok(await self._send("POST", f"{self._app}/jobs", content=msgspec.json.encode(wanted))))

    async def upload(self, job: str, data: bytes) -> JobView:
        """The job's only input; sent again where its partition changed hands meanwhile, as the answer asks for."""
        for _ in range(RECONNECTS):
            answer = await self._send("PUT", f"{self._app}/jobs/{job}/inputs/0", content=data)
            if answer.status_code != HTTPStatus.SERVICE_UNAVAILABLE or OWNER_AWAY not in answer.text:
                break
        return _job(_ok(answer))

    async def follow(self, job: str) -> AsyncIterator[JobView]:
        """The job's status whenever it changes, until it has ended; a cut stream is resumed where it was."""
        seen = ""
        for _ in range(RECONNECTS):
            try:
                headers = {"Last-Event-ID": seen} if seen else {}
                async with self._http.stream("GET", f"{self._app}/jobs/{job}/events", headers=headers) as answer:
                    if answer.is_error:
                        await answer.aread()
                    _ok(answer)
                    async for event in _events(answer):
                        if event.name == "problem":
                            raise Refused(_detail(event.data.encode()))
                        seen, view = event.id, msgspec.json.decode(event.data, type=JobView)
                        yield view
                        if JobState(view.state).ended:
                            return
            except httpx.TransportError:
                continue
        raise GatewayAway(f"expected the events of a job until its end, but the stream was cut {RECONNECTS} times")

    async def job_status(self, job: str) -> int:
        """HTTP status of the job's own page: 410 once its record is gone."""
        return (await self._send("GET", f"{self._app}/jobs/{job}")).status_code

    async def head(self, asset: str) -> int:
        """HTTP status: 200 while it is readable, 410 once it is gone."""
        return (await self._send("HEAD", f"{self._app}/assets/{asset}")).status_code

    async def get(self, asset: str) -> Media:
        """The bytes, if they may be had."""
        answer = await self._send("GET", f"{self._app}/assets/{asset}")
        return Media(answer.status_code, answer.content, answer.headers.get("content-type", ""))

    async def receipt(self, path: str) -> bytes | None:
        """The file behind the link that an asset's status lists; None as long as it is not erased."""
        answer = await self._send("GET", path)
        return None if answer.status_code == HTTPStatus.NOT_FOUND else _ok(answer).content

    async def erase_subject(self, subject: str) -> None:
        """Erase all that there is of the subject."""
        _ok(await self._send("DELETE", f"{self._app}/subjects/{subject}"))

    async def _send(self, method: str, path: str, *, content: bytes | None = None) -> httpx.Response:
        try:
            return await self._http.request(method, path, content=content)
        except httpx.TransportError as error:
            raise GatewayAway(f"expected the gateway to answer, got {type(error).__name__}: see gateway.log") from None


async def _events(answer: httpx.Response) -> AsyncIterator[Event]:
    """A text/event-stream as the WHATWG's HTML 9.2.6 reads it, where each event has one line of data."""
    fields: dict[str, str] = {}
    async for line in answer.aiter_lines():
        if line:
            name, _, value = line.partition(":")
            fields[name] = value.removeprefix(" ")
        else:
            if "data" in fields:
                yield Event(fields.get("event", "message"), fields.get("id", ""), fields["data"])
            fields = {}


def _ok(answer: httpx.Response) -> httpx.Response:
    if answer.is_error:
        raise Refused(_detail(answer.content))
    return answer


def _job(answer: httpx.Response) -> JobView:
    return msgspec.json.decode(answer.content, type=JobView)


def _detail(body: bytes) -> str:
    """What a problem document (RFC 9457) says."""
    try:
        found = msgspec.json.decode(body, type=dict[str, object])
    except msgspec.MsgspecError:
        return f"expected a problem document, got {len(body)} bytes of something else"
    return f"the gateway refused: {found.get('detail') or found.get('title') or 'no reason given'}"
