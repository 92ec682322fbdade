"""May this process serve RAM-only apps? Asked once, when it starts."""

from __future__ import annotations

import logging

from services.settings import RamOnlyApps, Settings
from stream.vault import resident
from stream.vault.resident import MemoryUnsafe

log = logging.getLogger(__name__)


def checked(settings: Settings) -> str:
    """Forbid core dumps; why RAM-only apps are refused here, '' if they are served.

    Raises MemoryUnsafe where memory could reach a disk, unless the settings would rather refuse those apps.
    """
    try:
        resident.check()
    except MemoryUnsafe as error:
        if settings.ram_only_apps is RamOnlyApps.REQUIRED:
            raise
        log.warning("RAM-only apps are refused by this process. %s", error)
        return str(error)
    return ""
