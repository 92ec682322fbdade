"""Which root store the settings name."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from services.roots import claim_of, root_stores
from services.settings import BadSettings, RootStoreName, Settings
from stream.vault.rootstore_file import FileRootStore
from stream.vault.rootstore_openbao import OpenBaoRootStore


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(
        kafka="",
        s3_url="",
        s3_access_key="",
        s3_secret_key="",
        bucket="",
        secret="00" * 32,
        internal_token="",
        state_dir=str(tmp_path),
    )


def openbao(settings: Settings, **changes: str) -> Settings:
    named = {"openbao_url": "http://127.0.0.1:1", "openbao_token_path": "/none"} | changes
    return msgspec.structs.replace(settings, root_store=RootStoreName.OPENBAO, **named)


def test_files_unless_told_otherwise(settings: Settings, tmp_path: Path) -> None:
    with root_stores(settings) as stores:
        assert repr(stores(3)) == repr(FileRootStore(tmp_path / "roots" / "3"))
    assert claim_of(settings) == FileRootStore.claim


def test_openbao_by_partition(settings: Settings) -> None:
    named = openbao(settings)
    with root_stores(named) as stores:
        assert "root-3." in repr(stores(3))
        assert "mayfly" in repr(stores(3))
    assert claim_of(named) == OpenBaoRootStore.claim
    decoded = msgspec.json.decode(msgspec.json.encode(named), type=Settings)
    assert decoded.root_store is RootStoreName.OPENBAO


@pytest.mark.parametrize("missing", ["openbao_url", "openbao_mount", "openbao_token_path"])
def test_what_it_needs_is_named(settings: Settings, missing: str) -> None:
    with pytest.raises(BadSettings, match=missing), root_stores(openbao(settings, **{missing: ""})):
        pass
