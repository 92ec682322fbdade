"""Rotate the key that signs the logs, while owners run: a fresh key, a leaf in each log, the former one forgotten."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import ClassVar, Final

from services.local.system import estates
from services.settings import Settings
from stream.audit import signer
from stream.audit.signer import Signer, forget_former, former_of, open_signer
from stream.errors import StoreUnavailable

PATIENCE_S: Final = 60.0
POLL_S: Final = 0.2


class NotTakenUp(StoreUnavailable):
    """Some log is still signed by the former key: it is kept until a later call."""

    kind: ClassVar[str] = "rotation-not-taken-up"


async def rotate(known: Settings, ports: list[int], *, patience_s: float = PATIENCE_S) -> Signer:
    """Begin a rotation, or finish the one that is under way. Raises NotTakenUp: call again, nothing is lost."""
    folder = Path(known.state_dir) / "signing"
    present = open_signer(folder) if former_of(folder) else signer.rotate(folder)
    end = time.monotonic() + patience_s
    while True:
        signed_by = {each["partition"]: each["signed_by"] for each in await estates(known, ports)}
        late = [n for n in range(known.partitions) if signed_by.get(n) != present.key_id]
        if not late:
            forget_former(folder)
            return present
        if time.monotonic() >= end:
            raise NotTakenUp(
                f"expected all {known.partitions} logs to be signed by {present.key_id} within {patience_s:g} s, "
                f"{len(late)} are not: the former key is kept; run this again when every partition has an owner"
            )
        await asyncio.sleep(POLL_S)
