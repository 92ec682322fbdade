"""How codes reach people: mail by SMTP, messages by a webhook of the operator's. Both say a code, nothing personal.

Without either, no account can be registered, which is said as `no-post`.
"""

from __future__ import annotations

import asyncio
import hmac
import smtplib
import ssl
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import formatdate
from http import HTTPStatus
from typing import Final

import aiohttp
import msgspec

from services.settings import Settings
from stream.agents.accounts import NoPost, Post
from stream.metrics import worker as metrics
from stream.policies.obligations import Channel

TIMEOUT_S: Final = 10.0
SIGNATURE: Final = "Mayfly-Signature"
"""`t=SECONDS,v1=HEX`: HMAC-SHA256 of `SECONDS.BODY` under the shared secret."""


@asynccontextmanager
async def post(settings: Settings) -> AsyncIterator[Post]:
    """A function that sends a code over a channel; it raises NoPost where that is not set up, or does not take it."""
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=TIMEOUT_S)) as http:

        async def send(channel: str, address: str, title: str, code: str) -> None:
            try:
                if channel == Channel.EMAIL and settings.smtp_host:
                    await asyncio.to_thread(_mail, settings, address, title, code)
                elif channel == Channel.SMS and settings.sms_webhook_url:
                    await _message(http, settings, address, title, code)
                else:
                    raise NoPost(f"expected {channel} to be set up here: no code can be sent by it")
            except (OSError, smtplib.SMTPException, aiohttp.ClientError, TimeoutError) as error:
                metrics.POST_FAILURES.labels(channel).inc()
                raise NoPost(f"expected {channel} to take a message, got {type(error).__name__}: ask again") from None

        yield send


def mail(sender: str, address: str, title: str, code: str) -> EmailMessage:
    """The mail that carries a code. G9: nothing personal in it beyond the address."""
    message = EmailMessage(policy=SMTP)
    message["From"], message["To"], message["Subject"] = sender, address, f"{title}: your code"
    message["Date"] = formatdate()
    message["Auto-Submitted"] = "auto-generated"  # RFC 3834
    message.set_content(
        f"Your code for {title} is {code}. It is good for a few minutes.\n\n"
        "If you did not ask for it, nothing needs to be done: nobody was registered, and nothing was kept.\n"
    )
    return message


def signature(secret: str, body: bytes, at: int) -> str:
    """What a webhook checks, so that it sends for nobody else."""
    digest = hmac.digest(secret.encode(), f"{at}.".encode() + body, "sha256").hex()
    return f"t={at},v1={digest}"


def _mail(settings: Settings, address: str, title: str, code: str) -> None:
    with smtplib.SMTP(settings.smtp_host, settings.smtp_port, timeout=TIMEOUT_S) as server:
        if settings.smtp_tls:
            server.starttls(context=ssl.create_default_context())
        if settings.smtp_user:
            server.login(settings.smtp_user, settings.smtp_password)
        server.send_message(mail(settings.smtp_from, address, title, code))


async def _message(http: aiohttp.ClientSession, settings: Settings, address: str, title: str, code: str) -> None:
    body = msgspec.json.encode({"to": address, "text": f"{title}: your code is {code}"})
    headers = {
        "Content-Type": "application/json",
        SIGNATURE: signature(settings.sms_webhook_secret, body, int(time.time())),
    }
    async with http.post(settings.sms_webhook_url, data=body, headers=headers) as answer:
        if answer.status >= HTTPStatus.BAD_REQUEST:
            raise aiohttp.ClientError
