"""A service's end: once its day has come and all were told, nothing of the app is taken in, and all of it is erased.

Subject by subject, as when each of them leaves: floors and holds are kept, every batch has its receipts. What is about
nobody, such as a disclosure's record, keeps its own promise.
"""

from __future__ import annotations

import asyncio
import logging
from itertools import islice
from typing import ClassVar

from stream.agents import leaving
from stream.agents.estate import Estate, Tools
from stream.audit.receipts import Cause
from stream.errors import BadRequest
from stream.ledger import Change
from stream.policies import announcements
from stream.vault import purposes

log = logging.getLogger(__name__)

ROUND_S = 5.0
BATCH = 100  # subjects whose end is one commit


class ServiceEnded(BadRequest):
    """The app's service has ended: nothing is taken in any more."""

    kind: ClassVar[str] = "service-ended"
    status: ClassVar[int] = 410


def ended(tools: Tools) -> set[str]:
    """The apps whose service has ended."""
    policies, calendar, now = tools.policies, tools.calendar, tools.clock.now()
    return {
        made.app
        for made in tools.announced()
        if made.app in policies and announcements.ended(policies[made.app], made, calendar, now)
    }


def check(tools: Tools, app: str) -> None:
    """Raises ServiceEnded."""
    if app in ended(tools):
        raise ServiceEnded(f"expected an app that is served: {app} has ended; what it stored is erased")


async def run(estate: Estate) -> None:
    """Until cancelled: the subjects of apps that ended leave, batch by batch."""
    await estate.book.complete()
    while True:
        while change := erase(estate):
            await estate.commit(change)
        await asyncio.sleep(ROUND_S)


def erase(estate: Estate) -> Change | None:
    """The end of the next subjects of an app that ended; None where none is left."""
    gone = ended(estate.tools)
    if not gone or estate.pages.away:
        return None
    found = list(islice((row for (_, app, _), row in estate.book.subjects.items() if app in gone), BATCH))
    if not found:
        return None
    change = Change()
    for row in found:
        subject = estate.book.subject(row)
        leaving.erase_all(estate, change, row, cause=Cause.TERMINATION)
        if subject is not None:
            change.erase.append((subject.head.page, purposes.stream_name(row)))
        estate.book.bury(change, row)
    log.warning("a service has ended: %d of its subjects leave", len(found))
    return change
