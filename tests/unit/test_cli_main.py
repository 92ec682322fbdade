"""The command line without a system: every refusal is one sentence and exit status 1."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from services import cli
from services.local.running import NotRunning, Running, running, settings_file


def _mayfly(monkeypatch: pytest.MonkeyPatch, *words: str) -> int:
    monkeypatch.setattr(sys, "argv", ["mayfly", *words])
    try:
        return cli.main()
    except SystemExit as end:
        return int(end.code or 0)


@pytest.fixture
def home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setenv("MAYFLY_HOME", str(tmp_path))
    monkeypatch.setenv("MAYFLY_SETTINGS", "")
    return tmp_path


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("status",), "expected a system that runs in {home}/run, found none: start one with `mayfly up`"),
        (("tenant", "ls"), "expected a system that runs in {home}/run, found none: start one with `mayfly up`"),
        (("backup", "{home}/b"), "expected a system that runs in {home}/run, found none: start one with `mayfly up`"),
        (("restore", "{home}/b", "--report", "r"), "expected a system that runs in {home}/run, found none: start one"),
        (("demo", "--photo", "{home}/none.jpg"), "expected --photo to be a readable picture, got: No such file or"),
        (("demo", "--out", "{home}/file/out"), "expected --out to be a folder that can be written to, got: Not a dir"),
    ],
)
def test_refusals(
    home: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    words: tuple[str, ...],
    sentence: str,
) -> None:
    (home / "file").touch()
    assert _mayfly(monkeypatch, *(word.format(home=home) for word in words)) == 1
    told = capsys.readouterr().err
    assert told.startswith(sentence.format(home=home))
    assert told.count("\n") == 1


@pytest.mark.parametrize(
    "command", ["demo", "up", "status", "tenant", "receipt", "audit", "backup", "restore", "hold", "metrics"]
)
def test_help_of_every_command(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    assert _mayfly(monkeypatch, command, "--help") == 0
    assert "Usage: mayfly" in capsys.readouterr().out


def test_help_needs_no_system(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert _mayfly(monkeypatch, "tenant", "add", "--help") == 0


def test_a_running_system_is_found_below_its_home(home: Path) -> None:
    with pytest.raises(NotRunning):
        running()
    folder = home / "run" / "system"
    folder.mkdir(parents=True)
    (folder / "system.json").write_text('{"url": "http://127.0.0.1:1", "workers": {"worker-1": 2}}')
    assert running() == Running("http://127.0.0.1:1", {"worker-1": 2})
    assert settings_file() == folder / "settings.json"


def test_settings_that_are_named_win(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAYFLY_SETTINGS", "/elsewhere/settings.json")
    assert settings_file() == Path("/elsewhere/settings.json")
