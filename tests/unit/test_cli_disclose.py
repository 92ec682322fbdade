"""`mayfly disclose` without an owner: cases are written down, signed by two, executed once, and name nobody after."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from services import cli_disclose, cli_export, cli_hold, disclosed, owner_call
from services.case_files import NoSuchCase
from services.disclosed import BadExtract
from services.local.running import Running
from services.settings import Settings
from stream.agents import api_cases as api
from stream.agents import orders
from stream.agents.cases import BadCase
from stream.ids import Mint
from stream.policies.disclosures import NoDisclosure, NotDisclosable, WrongDocument
from stream.vault.envelope import seal_bytes
from stream.vault.purposes import disclosure_info
from stream.vault.secret import Tampered
from tests.unit.settled import SECRET, settled

CASE = "Az. 17/26"


@pytest.fixture
def known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    known = settled(tmp_path, monkeypatch, state_dir=str(tmp_path / "state"))
    monkeypatch.setattr(cli_disclose, "running", lambda: Running(url="", workers={"worker-1": 1}))
    return known


def a_view(order: orders.Order, **more: Any) -> api.DisclosureView:
    return api.DisclosureView(
        case=orders.commitment(order).hex(),
        app=order.app,
        authority=order.authority,
        document=order.document,
        items={"account_profile": 1},
        at=1.8e9,
        kept_until=1.9e9,
        tell=True,
        **more,
    )


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, Any]]:
    """What owners were asked: (partition, request)."""
    seen: list[tuple[int, Any]] = []

    async def ask(_known: Settings, _ports: list[int], partition: int, request: Any, _reply: Any, **_: Any) -> Any:
        seen.append((partition, request))
        done = [one.order for _, one in seen if isinstance(one, api.Disclose)]
        if isinstance(request, api.ListDisclosures):
            return api.DisclosuresView(tuple(a_view(order) for order in done) if partition == seen[0][0] else ())
        if isinstance(request, api.TellDisclosed):
            return a_view(done[0], told_at=1.8e9)
        info = disclosure_info(orders.commitment(request.order), request.order.app)
        sealed = seal_bytes(b'{"records": ["someone"]}', bytes.fromhex(request.order.recipient), info)
        return api.Extract(a_view(request.order), sealed, (), passed_over=2)

    monkeypatch.setattr(owner_call, "ask", ask)
    return seen


def run(*words: str, app: Any = cli_disclose.app) -> str:
    result = CliRunner(env={"COLUMNS": "200"}).invoke(app, words, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


@pytest.fixture
def files(tmp_path: Path) -> dict[str, str]:
    """Approvers' keys, the authority's key pair, and the paper."""
    made = {name: str(tmp_path / f"{name}.key") for name in ("alice", "bob", "authority")}
    for name in ("alice", "bob"):
        run("key", "--out", made[name], app=cli_hold.app)
    public = run("key", made["authority"], app=cli_export.app)
    made |= {"public": str(tmp_path / "public"), "paper": str(tmp_path / "paper.pdf")}
    Path(made["public"]).write_text(public)
    Path(made["paper"]).write_text("we demand")
    return made


def propose(files: dict[str, str], **changes: str) -> str:
    options = {
        "case": CASE,
        "app": "talentedi",
        "tenant": "t",
        "authority": "public prosecutor of X",
        "document": "subpoena",
        "file": files["paper"],
        "class": "account_profile",
        "to": files["public"],
        "subject": "someone",
        "until": time.strftime("%Y-%m-%d", time.gmtime(time.time() + 10 * 86_400)),
        "by": "alice",
        "key": files["alice"],
    } | changes
    return run("propose", *(word for name, value in options.items() for word in (f"--{name}", value)))


def test_from_the_paper_to_the_extract(
    known: Settings, asked: list[tuple[int, Any]], files: dict[str, str], tmp_path: Path
) -> None:
    propose(files)
    shown = run("approve", CASE, "--by", "bob", "--key", files["bob"], "--yes")
    assert "someone" in shown  # an approver sees what they sign
    assert asked == []
    out = tmp_path / "extract"
    told = run("export", CASE, "--out", str(out))
    assert "1 account_profile; 2 passed over" in told
    assert "mayfly disclose told" in told
    ((partition, request),) = asked
    assert partition == Mint(bytes.fromhex(SECRET), known.partitions).place("t", "someone")
    assert set(request.signatures) == {"alice", "bob"}
    left = b"".join(path.read_bytes() for path in (*(tmp_path / "state").rglob("*"), *out.rglob("*")) if path.is_file())
    assert not any(word in left for word in (b"someone", b"prosecutor", CASE.encode()))  # executed: it names nobody
    assert json.loads(run("open", str(out), "--key", files["authority"])) == {"records": ["someone"]}
    for again in ("approve", "export"):
        more = ("--by", "bob", "--key", files["bob"]) if again == "approve" else ("--out", str(tmp_path / "more"))
        with pytest.raises(NoSuchCase):
            run(again, CASE, *more)
    assert "to be told" in run("ls")
    assert json.loads(run("ls", "--json"))["disclosures"][0]["authority"] == "public prosecutor of X"
    assert run("told", CASE).strip() == "recorded: told"
    assert run("told", CASE, "--ground", "Act 7").strip() == "recorded: not to be told"


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"app": "batchpix"}, NoDisclosure),
        ({"document": "court_order"}, WrongDocument),
        ({"class": "face_image"}, NotDisclosable),
        ({"class": "face_imag"}, BadCase),
        ({"document": "epistle"}, BadCase),
        ({"file": "/nowhere"}, BadCase),
        ({"until": "2020-01-01"}, BadCase),
        ({"subject": ""}, BadCase),
    ],
)
def test_what_the_policy_refuses_is_never_written_down(
    known: Settings,
    asked: list[tuple[int, Any]],
    files: dict[str, str],
    changes: dict[str, str],
    error: type[Exception],
) -> None:
    with pytest.raises(error) as raised:
        propose(files, **changes)
    assert not any(value in str(raised.value) for value in ("epistle", "someone", "face_imag`"))
    assert not (Path(known.state_dir) / "disclosures").exists()
    assert asked == []


def test_a_case_may_be_withdrawn(known: Settings, files: dict[str, str]) -> None:
    propose(files)
    with pytest.raises(NoSuchCase):
        propose(files)
    run("withdraw", CASE)
    propose(files)
    with pytest.raises(NoSuchCase):
        run("told", CASE)


def test_folders_that_are_no_extract(
    known: Settings, asked: list[tuple[int, Any]], files: dict[str, str], tmp_path: Path
) -> None:
    with pytest.raises(BadExtract):
        disclosed.create(tmp_path)
    with pytest.raises(BadExtract):
        run("open", str(tmp_path), "--key", files["authority"])
    with pytest.raises(BadExtract):
        run("open", str(tmp_path), "--key", files["alice"])
    propose(files)
    run("approve", CASE, "--by", "bob", "--key", files["bob"], "--yes")
    run("export", CASE, "--out", str(tmp_path / "extract"))
    other = tmp_path / "other.key"
    run("key", str(other), app=cli_export.app)
    with pytest.raises(Tampered):
        run("open", str(tmp_path / "extract"), "--key", str(other))
    manifest = tmp_path / "extract" / "manifest.json"
    manifest.write_text(manifest.read_text().replace("manifest/1", "manifest/2"))
    with pytest.raises(BadExtract):
        run("open", str(tmp_path / "extract"), "--key", files["authority"])
