"""A tenant of a RAM-only app, as a process of its own that has ended before any memory is looked into.

python -m tests.forensic.render_tenant     a `Plan` on stdin, the statuses that it met on stdout, both JSON
"""

from __future__ import annotations

import asyncio
import email
import email.policy
import json
import sys
from collections import Counter
from typing import Any

import httpx
import msgspec

WAIT_S = 120.0
AT_ONCE = 4


class Ask(msgspec.Struct, frozen=True, kw_only=True):
    """One request. `names`: of the files. `leave_s`: go before the answer."""

    pictures: tuple[bytes, ...]
    names: tuple[str, ...]
    params: dict[str, Any] = {}
    leave_s: float = 0.0


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What to do, as whom."""

    url: str
    key: str
    app: str
    asks: tuple[Ask, ...]


async def run(plan: Plan) -> Counter[str]:
    """How often each status came, of pictures; `left` where nobody waited."""
    met: Counter[str] = Counter()
    gate = asyncio.Semaphore(AT_ONCE)
    headers = {"Authorization": f"Bearer {plan.key}", "Accept": "multipart/mixed"}
    async with httpx.AsyncClient(base_url=plan.url, headers=headers, timeout=WAIT_S) as http:

        async def one(ask: Ask) -> None:
            async with gate:
                try:
                    async with asyncio.timeout(ask.leave_s or WAIT_S):
                        met.update(await _render(http, plan.app, ask))
                except TimeoutError:
                    met["left"] += 1

        await asyncio.gather(*map(one, plan.asks))
    return met


async def _render(http: httpx.AsyncClient, app: str, ask: Ask) -> list[str]:
    files = [("image", (name, picture)) for name, picture in zip(ask.names, ask.pictures, strict=True)]
    data = {"operation": "noop", "params": json.dumps(ask.params)}
    answer = await http.post(f"/v1/{app}/render", data=data, files=files)
    if answer.status_code != httpx.codes.OK:
        raise AssertionError(f"{answer.status_code} {answer.text}")
    head = f"Content-Type: {answer.headers['content-type']}\r\n\r\n".encode()
    whole = email.message_from_bytes(head + answer.content, policy=email.policy.HTTP)
    statuses = []
    for part in whole.iter_parts():  # type: ignore[union-attr]
        statuses.append(part["Mayfly-Status"])
        if part["Mayfly-Status"] == "200" and part.get_payload(decode=True) != ask.pictures[int(part["Mayfly-Item"])]:
            raise AssertionError("expected each picture to come back as it was sent")
    return statuses


if __name__ == "__main__":
    wanted = msgspec.json.decode(sys.stdin.buffer.read(), type=Plan)
    sys.stdout.buffer.write(msgspec.json.encode(asyncio.run(run(wanted))))
