"""A real SMTP server that keeps what it is sent, so that a test can read a code as its user would."""

from __future__ import annotations

import asyncio
import email
import re
from email.message import Message
from typing import Self

from aiosmtpd.smtp import SMTP

CODE = re.compile(r"\b(\d{6})\b")


class Mailbox:
    """Listens on loopback while it is open."""

    def __init__(self) -> None:
        self.messages: list[Message] = []
        self.refusing = False
        self.port = 0
        self._server: asyncio.Server | None = None

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()
        made = await loop.create_server(lambda: SMTP(self, hostname="localhost", loop=loop), "127.0.0.1", self.port)
        self.port = made.sockets[0].getsockname()[1]
        self._server = made
        return self

    async def __aexit__(self, *_exc: object) -> None:
        assert self._server is not None
        self._server.close()
        await self._server.wait_closed()

    async def handle_DATA(self, _server: object, _session: object, envelope: object) -> str:  # noqa: N802
        """aiosmtpd's hook."""
        if self.refusing:
            return "451 4.3.0 try again later"
        self.messages.append(email.message_from_bytes(envelope.content))  # type: ignore[attr-defined]
        return "250 OK"

    async def code_for(self, address: str) -> str:
        """The code in the latest mail to this address."""
        async with asyncio.timeout(10):
            while True:
                for message in reversed(self.messages):
                    if message["To"] == address and (found := CODE.search(str(message.get_payload()))):
                        return found[1]
                await asyncio.sleep(0.02)
