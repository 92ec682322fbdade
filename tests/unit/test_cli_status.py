"""`mayfly status` without a system: which partitions nobody serves."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from services import cli_status, unanswered
from services.local.running import Running
from services.settings import Settings
from tests.unit.settled import settled


@pytest.fixture
def serving(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> set[int]:
    """The partitions that the one worker which answers serves, of three."""
    settled(tmp_path, monkeypatch, partitions=3)
    monkeypatch.setenv("MAYFLY_HOME", str(tmp_path))
    monkeypatch.setattr(cli_status, "running", lambda: Running(url="http://here", workers={"gone": 1, "worker-2": 2}))
    owned: set[int] = set()

    async def ask_worker(_known: Settings, port: int, what: str) -> list[dict[str, Any]]:
        if port == 1 or what == "pools":
            return []
        numbers = dict.fromkeys(("rows", "keys", "active_jobs", "awaiting_sweep", "parked"), 0)
        return [{"partition": number, "next_due": None, "now": 0.0, **numbers} for number in owned]

    monkeypatch.setattr(cli_status, "ask_worker", ask_worker)
    return owned


def run(*words: str, exit_code: int = 0) -> tuple[str, str]:
    app = typer.Typer()
    app.command()(cli_status.status)
    result = CliRunner().invoke(app, words, catch_exceptions=False)
    assert result.exit_code == exit_code, result.output
    return result.stdout, result.stderr


def test_partitions_without_an_owner_are_named(serving: set[int]) -> None:
    serving.update({0, 2})
    shown, told = run(exit_code=unanswered.EXIT)
    assert "worker-2" in shown
    assert "partition 1 (owner-away)" in told
    found = json.loads(run("--json", exit_code=unanswered.EXIT)[0])
    assert [one["partition"] for one in found["partitions"]] == [0, 2]
    assert found["unanswered"] == [{"partition": 1, "reason": "owner-away"}]


def test_all_are_served(serving: set[int]) -> None:
    serving.update({0, 1, 2})
    assert run()[1] == ""
    assert json.loads(run("--json")[0])["unanswered"] == []
