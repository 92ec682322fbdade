"""Which policies are in force is looked at again and again: a worker goes by those that it began with, or ends."""

from __future__ import annotations

import asyncio
import logging
from typing import Final

from stream.agents.estate import Tools
from stream.metrics import worker as metrics
from stream.policies import compiler
from stream.policies.compiler import BadPolicy

log = logging.getLogger(__name__)

LOOK_S: Final = 60.0


async def follow(extra: str, tools: Tools, *, every_s: float = LOOK_S) -> None:
    """Until another policy is in force than this worker began with: it ends, and its successor goes by that one."""
    hashes = {app: policy.hash for app, policy in tools.policies.items()}
    while True:
        await asyncio.sleep(every_s)
        try:
            found = await asyncio.to_thread(compiler.load_all, extra, now=tools.clock.now())
        except BadPolicy as error:
            metrics.POLICIES_UNREAD.inc()
            log.error("a policy does not compile, and the ones before go on: %s", error)  # noqa: TRY400
            continue
        if {app: policy.hash for app, policy in found.items()} != hashes:
            log.warning("another policy is in force: this worker ends, a supervisor restarts it")
            tools.end()
            return
