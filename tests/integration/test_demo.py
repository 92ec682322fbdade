"""`mayfly` as a stranger runs it: the demo from start to end, its proofs, and that nothing is left behind."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from services import cli
from services.local.children import read_records
from services.local.home import home

pytestmark = pytest.mark.stack

MAYFLY = str(Path(sys.executable).with_name("mayfly"))
DEMO_S = 300  # far above the minute that it takes
STILL_S = 60


@pytest.fixture(scope="module")
def own_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder of its own, beside the fetched parts that all share."""
    folder = tmp_path_factory.mktemp("home")
    for part in ("jars", "weights"):
        (folder / part).symlink_to(home() / part)
    return folder


def _env(own_home: Path) -> dict[str, str]:
    return os.environ | {"MAYFLY_HOME": str(own_home), "MAYFLY_SETTINGS": ""}


def _left(own_home: Path) -> list[int]:
    """Processes that inherited this folder's name, or were told it."""
    mark = str(own_home).encode()

    def names(entry: Path) -> bool:
        try:
            return mark in (entry / "environ").read_bytes() + (entry / "cmdline").read_bytes()
        except OSError:
            return False

    mine = os.getpid()
    return [int(each.name) for each in Path("/proc").glob("[0-9]*") if names(each) and int(each.name) != mine]


@pytest.fixture(scope="module")
def demo(own_home: Path) -> dict[str, Any]:
    """The report of one run."""
    report, out = own_home / "report.json", own_home / "out"
    ran = subprocess.run(
        [MAYFLY, "demo", "--out", str(out), "--report", str(report), "--workers", "2"],
        env=_env(own_home),
        capture_output=True,
        text=True,
        timeout=DEMO_S,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "Every promise was kept" in ran.stdout
    assert _left(own_home) == []
    assert read_records(own_home / "run") == []
    return json.loads(report.read_text())


def test_results(demo: dict[str, Any], own_home: Path) -> None:
    assert [each["operation"] for each in demo["results"]] == ["stylization", "ai_dance", "stylization"]
    for result in demo["results"]:
        file = Path(result["file"])
        assert file.is_relative_to(own_home / "out")
        assert hashlib.sha256(file.read_bytes()).hexdigest() == result["sha256"]
    dance = demo["results"][1]
    assert dance["seconds"] >= 4
    assert dance["frames"] / dance["seconds"] == 24
    assert 0 < demo["boot_s"] < demo["took_s"]
    assert (own_home / "out" / "index.html").read_text().count(";base64,") == 4


def test_every_promise_came_due_and_was_kept(demo: dict[str, Any]) -> None:
    assert demo["broken"] == []
    classes = sorted(each["data_class"] for each in demo["erasures"])
    kinds = ["face_feature"] * 2 + ["face_image"] * 2 + ["result_image"] * 2 + ["result_video"]
    assert classes == kinds
    for each in demo["erasures"]:
        assert each["due"] <= each["hidden_at"] <= each["unreadable_at"] <= each["ceiling"]
        assert each["unreadable_at"] <= each["gone_at"]
        assert each["clause"].startswith("000 §4.1")
    assert {each["ends"] for each in demo["erasures"]} == {"deadline", "job", "return"}


def test_receipts_convince_whoever_has_id_and_salt(demo: dict[str, Any], own_home: Path) -> None:
    assert demo["receipts"] == [each["receipt"] for each in demo["erasures"]]

    def words(each: dict[str, Any], salt: str) -> list[str]:
        return ["receipt", "verify", each["receipt"], "--id", each["asset"], "--salt", salt]

    for each in demo["erasures"]:
        ran = CliRunner().invoke(cli.app, words(each, each["salt"]))
        assert ran.exit_code == 0, ran.output
    first, second, *_ = demo["erasures"]
    assert _ask(own_home, *words(first, first["salt"])).returncode == 0
    wrong = _ask(own_home, *words(first, second["salt"]))
    assert wrong.returncode == 1
    assert wrong.stderr.startswith("Not proven: expected the id and salt of the asset this file is about")


def test_up_serves_until_it_is_interrupted(own_home: Path) -> None:
    with subprocess.Popen([MAYFLY, "up"], env=_env(own_home), stdout=subprocess.PIPE, text=True) as up:
        try:
            told = {}
            assert up.stdout is not None
            for line in up.stdout:
                name, _, value = line.strip().partition(" ")
                told[name] = value.strip()
                if line.startswith("  In another terminal"):
                    break
            assert told["docs"] == f"{told['API']}/docs"
            shown = _ask(own_home, "status", "--json")
            found = json.loads(shown.stdout)
            assert found["url"] == told["API"]
            assert {"kafka", "s3", "ray", "gateway", "worker-1"} == {each["name"] for each in found["processes"]}
            assert all(each["running"] for each in found["processes"])
            assert [(each["partition"], each["owner"]) for each in found["partitions"]] == [
                (n, "worker-1") for n in range(4)
            ]
            assert {each["reason"] for each in found["pools"]} == {"nothing to do"}
            assert "worker-1" in _ask(own_home, "status").stdout
            assert "key    mf_" in _ask(own_home, "tenant", "add", "genzo").stdout
            busy = _ask(own_home, "demo", "--out", str(own_home / "other"))
            assert (busy.returncode, busy.stderr.count("\n")) == (1, 1)
        finally:
            up.send_signal(signal.SIGINT)
        assert up.wait(STILL_S) == 128 + signal.SIGINT
    assert _left(own_home) == []
    assert _ask(own_home, "status").returncode == 1


def test_a_demo_that_is_ended_while_it_boots_leaves_nothing(own_home: Path) -> None:
    with subprocess.Popen([MAYFLY, "demo"], env=_env(own_home), cwd=own_home, stdout=subprocess.DEVNULL) as demo:
        end = time.monotonic() + STILL_S
        while not {"kafka", "s3", "ray"} <= {child.name for child in read_records(own_home / "run")}:
            assert time.monotonic() < end
            time.sleep(0.05)
        demo.terminate()
        assert demo.wait(STILL_S) == 128 + signal.SIGTERM
    assert _left(own_home) == []


def _ask(own_home: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [MAYFLY, *words], env=_env(own_home), capture_output=True, text=True, timeout=STILL_S, check=False
    )
