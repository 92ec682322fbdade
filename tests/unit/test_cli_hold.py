"""`mayfly hold` without an owner: cases are written down, signed, and shown to nobody who does not sign."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import msgspec
import pytest
from typer.testing import CliRunner

from services import approvers, cli_hold, owner_call
from services.approvers import BadApprovers
from services.hold_files import HoldFiles, NoSuchCase, Opened
from services.local.running import Running
from services.settings import Settings
from stream.agents import api, cases
from stream.agents.cases import BadCase
from stream.ids import Mint
from tests.unit.settled import SECRET, settled

CASE = "4 O 17/26"


@pytest.fixture
def known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    known = settled(tmp_path, monkeypatch, state_dir=str(tmp_path / "state"))
    monkeypatch.setattr(cli_hold, "running", lambda: Running(url="", workers={"worker-1": 1}))
    return known


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, Any]]:
    """What owners were asked: (partition, request)."""
    seen: list[tuple[int, Any]] = []

    async def ask(_known: Settings, _ports: list[int], partition: int, request: Any, _reply: Any, **_: Any) -> Any:
        seen.append((partition, request))
        if isinstance(request, api.ListHolds):
            return api.HoldsView(())
        case = cases.commitment(request.case).hex() if isinstance(request, api.OpenHold) else request.case.hex()
        return api.HoldView(case=case, app="testapp", until=2e9, held=3)

    monkeypatch.setattr(owner_call, "ask", ask)
    return seen


def run(*words: str) -> str:
    result = CliRunner().invoke(cli_hold.app, words, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def keys(folder: Path) -> tuple[dict[str, str], dict[str, bytes]]:
    """(name → file of the private key, name → public key), made by the command."""
    files = {name: str(folder / f"{name}.key") for name in ("alice", "bob")}
    return files, {name: bytes.fromhex(run("key", "--out", file).strip()) for name, file in files.items()}


def propose(file: str, **changes: str) -> str:
    options = {
        "case": CASE,
        "basis": "court_order",
        "app": "testapp",
        "tenant": "t",
        "subject": "someone",
        "until": _in_days(10),
        "by": "alice",
        "key": file,
    } | changes
    return run("propose", *(word for name, value in options.items() for word in (f"--{name}", value)))


def _in_days(days: int) -> str:
    return time.strftime("%Y-%m-%d", time.gmtime(time.time() + days * 86_400))


def test_two_sign_and_the_owner_of_the_scope_is_asked(
    known: Settings, asked: list[tuple[int, Any]], tmp_path: Path
) -> None:
    files, public = keys(tmp_path)
    propose(files["alice"])
    assert asked == []
    shown = run("approve", CASE, "--by", "bob", "--key", files["bob"], "--yes")
    assert "someone" in shown  # an approver sees what they sign
    ((partition, request),) = asked
    assert partition == Mint(bytes.fromhex(SECRET), known.partitions).place("t", "someone")
    assert len(cases.approved(request.case, request.signatures, public)) == 2
    left = b"".join(path.read_bytes() for path in (tmp_path / "state").rglob("*") if path.is_file())
    assert b"someone" not in left  # once open, its file names nobody
    assert CASE.encode() not in left
    state = HoldFiles(tmp_path / "state" / "holds").read(CASE)
    assert state == Opened(cases.commitment(request.case).hex(), partition)

    with pytest.raises(NoSuchCase):
        run("approve", CASE, "--by", "bob", "--key", files["bob"], "--yes")
    run("release", CASE, "--by", "bob", "--key", files["bob"])
    release = asked[-1][1]
    assert cases.approvers(cases.release_part(release.case), release.signatures, public)
    with pytest.raises(NoSuchCase):
        run("release", CASE, "--by", "bob", "--key", files["bob"])


def test_the_proposer_alone_opens_nothing(known: Settings, asked: list[tuple[int, Any]], tmp_path: Path) -> None:
    files, _ = keys(tmp_path)
    propose(files["alice"])
    assert "1 of 2" in run("approve", CASE, "--by", "alice", "--key", files["alice"], "--yes")
    assert asked == []
    run("release", CASE, "--by", "alice", "--key", files["alice"])  # withdrawn
    assert asked == []
    propose(files["alice"])  # so the id is free again


def test_an_id_in_use_an_end_in_the_past_and_what_is_no_day(
    known: Settings, asked: list[tuple[int, Any]], tmp_path: Path
) -> None:
    files, _ = keys(tmp_path)
    propose(files["alice"])
    with pytest.raises(NoSuchCase):
        propose(files["alice"])
    for until in (_in_days(-1), _in_days(400), "soon"):
        with pytest.raises(BadCase):
            propose(files["alice"], case="another", until=until)
    assert json.loads(run("ls", "--json")) == {"holds": [], "unanswered": []}


def test_approvers_are_read_each_time_and_errors_name_no_key(tmp_path: Path) -> None:
    assert approvers.registered("") == {}
    path, file = tmp_path / "approvers.json", tmp_path / "a.key"
    public = approvers.make_key(file)
    assert file.stat().st_mode & 0o777 == 0o600
    path.write_bytes(msgspec.json.encode({"alice": public.hex()}))
    assert approvers.registered(str(path)) == {"alice": public}
    with pytest.raises(BadApprovers):
        approvers.make_key(file)  # never over another
    path.write_text("[]")
    for broken in (str(path), str(tmp_path / "none")):
        with pytest.raises(BadApprovers):
            approvers.registered(broken)
    file.write_bytes(b"short")
    with pytest.raises(BadApprovers):
        approvers.sign(file, b"x")
