"""Which root store the settings name."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

from services.settings import BadSettings, RootStoreName, Settings
from stream.vault.openbao import Transit
from stream.vault.rootstore import RootStore
from stream.vault.rootstore_file import FileRootStore
from stream.vault.rootstore_openbao import OpenBaoRootStore


def claim_of(settings: Settings) -> str:
    """What destroying a root promises with this store, in a sentence."""
    return (OpenBaoRootStore if settings.root_store is RootStoreName.OPENBAO else FileRootStore).claim


@contextlib.contextmanager
def root_stores(settings: Settings) -> Iterator[Callable[[int], RootStore]]:
    """Partition → its root store. Raises BadSettings."""
    if settings.root_store is RootStoreName.FILE:
        folder = Path(settings.state_dir) / "roots"
        yield lambda partition: FileRootStore(folder / str(partition))
        return
    for name in ("openbao_url", "openbao_mount", "openbao_token_path"):
        if not getattr(settings, name):
            raise BadSettings(f"expected `{name}`, since `root_store` is openbao")
    transit = Transit(
        settings.openbao_url,
        mount=settings.openbao_mount,
        token_path=Path(settings.openbao_token_path),
        ca_path=settings.openbao_ca_path,
    )
    with contextlib.closing(transit):
        yield lambda partition: OpenBaoRootStore(transit, partition)
