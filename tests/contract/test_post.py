"""Whatever carries codes: one suite for mail and for the webhook, each against a real server on loopback."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from aiohttp import web

from services.post import SIGNATURE, mail, post, signature
from services.settings import Settings
from stream.agents.accounts import NoPost
from tests.mailbox import Mailbox

BASE = dict.fromkeys(("kafka", "s3_url", "s3_access_key", "s3_secret_key", "bucket", "secret", "internal_token"), "")


class Sms:
    """An operator's webhook."""

    def __init__(self) -> None:
        self.posts: list[tuple[dict[str, str], bytes]] = []
        self.refusing = False
        app = web.Application()
        app.router.add_post("/sms", self._take)
        self.runner = web.AppRunner(app)

    async def _take(self, request: web.Request) -> web.Response:
        if self.refusing:
            return web.Response(status=503)
        self.posts.append((dict(request.headers), await request.read()))
        return web.Response(status=202)


class Mail:
    channel, address = "email", "ann@example.org"

    def __init__(self) -> None:
        self.box = Mailbox()

    async def start(self) -> dict[str, Any]:
        await self.box.__aenter__()
        return {"smtp_host": "127.0.0.1", "smtp_port": self.box.port, "smtp_tls": False}

    async def stop(self) -> None:
        await self.box.__aexit__()

    def refuse(self) -> None:
        self.box.refusing = True

    def texts(self) -> list[tuple[str, str]]:
        return [(message["To"], str(message.get_payload())) for message in self.box.messages]


class Message:
    channel, address = "sms", "+8613800138000"

    def __init__(self) -> None:
        self.sms = Sms()

    async def start(self) -> dict[str, Any]:
        await self.sms.runner.setup()
        site = web.TCPSite(self.sms.runner, "127.0.0.1", 0)
        await site.start()
        port = site._server.sockets[0].getsockname()[1]  # type: ignore[union-attr]
        return {"sms_webhook_url": f"http://127.0.0.1:{port}/sms", "sms_webhook_secret": "shared"}

    async def stop(self) -> None:
        await self.sms.runner.cleanup()

    def refuse(self) -> None:
        self.sms.refusing = True

    def texts(self) -> list[tuple[str, str]]:
        return [(json.loads(body)["to"], json.loads(body)["text"]) for _, body in self.sms.posts]


Adapter = Mail | Message


@pytest_asyncio.fixture(params=[Mail, Message])
async def adapter(request: pytest.FixtureRequest) -> AsyncIterator[tuple[Adapter, Settings]]:
    made: Adapter = request.param()
    settings = Settings(**BASE, state_dir="", **await made.start())
    yield made, settings
    await made.stop()


async def test_a_code_arrives_and_nothing_else_personal(adapter: tuple[Adapter, Settings]) -> None:
    made, settings = adapter
    async with post(settings) as send:
        await send(made.channel, made.address, "Genzo", "123456")
    ((to, text),) = made.texts()
    assert to == made.address
    assert "123456" in text
    assert "Genzo" in text
    assert made.address not in text


async def test_what_is_not_taken_is_said(adapter: tuple[Adapter, Settings]) -> None:
    made, settings = adapter
    made.refuse()
    async with post(settings) as send:
        with pytest.raises(NoPost) as said:
            await send(made.channel, made.address, "Genzo", "123456")
    assert made.address not in str(said.value)
    assert not made.texts()


async def test_nobody_is_there(adapter: tuple[Adapter, Settings]) -> None:
    made, settings = adapter
    await made.stop()
    async with post(settings) as send:
        with pytest.raises(NoPost):
            await send(made.channel, made.address, "Genzo", "123456")
    await made.start()


@pytest.mark.parametrize("channel", ["email", "sms", "push"])
async def test_a_channel_that_is_not_set_up(channel: str) -> None:
    async with post(Settings(**BASE, state_dir="")) as send:
        with pytest.raises(NoPost, match=r"expected .* to be set up here"):
            await send(channel, "ann@example.org", "Genzo", "123456")


async def test_a_webhook_can_tell_who_posts() -> None:
    made = Message()
    settings = Settings(**BASE, state_dir="", **await made.start())
    async with post(settings) as send:
        await send("sms", made.address, "Genzo", "123456")
    ((headers, body),) = made.sms.posts
    at = int(headers[SIGNATURE].split(",")[0].removeprefix("t="))
    assert headers[SIGNATURE] == signature("shared", body, at)
    assert headers[SIGNATURE] != signature("another", body, at)
    await made.stop()


def test_a_mail_is_a_mail() -> None:
    message = mail("no-reply@localhost", "ann@example.org", "Genzo", "123456")
    assert message["Auto-Submitted"] == "auto-generated"
    assert message["Subject"] == "Genzo: your code"
