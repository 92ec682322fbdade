"""`mayfly audit export|verify|rotate` and `mayfly receipt verify --log`: what an auditor does."""

from __future__ import annotations

import asyncio
import base64
import shutil
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest
from typer.testing import CliRunner

from services import audit_export, audit_rotate, cli_audit, cli_receipt
from services.audit_export import NotAnswered, export
from services.audit_rotate import NotTakenUp
from services.public_key import BadPublicKey, parse_public_key
from services.settings import Settings
from stream.audit.checkpoint import WrongCheckpoint
from stream.audit.log import Log
from stream.audit.receipt_file import UntrustedKey
from stream.audit.receipt_in_log import NewerReceipt, OtherLog, verify_in_log
from stream.audit.receipts import Covered
from stream.audit.signer import Signer, former_of, open_signer
from stream.audit.tiles import UnknownTile, parse_path
from stream.audit.verify import ForkedLog, MissingTile, ShrunkenLog, audit
from tests.unit.auditing import ASSET, COVERED, DUE_MS, FIRST, PARTITION, SALT, SECOND, Copy, erasure, grants, log_of


class Api:
    """The gateway's answers, from logs in memory."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *logs: Log) -> None:
        self.logs, self.asked = list(logs), list[str]()
        client = partial(httpx.AsyncClient, transport=httpx.MockTransport(self.answer))
        monkeypatch.setattr(audit_export.httpx, "AsyncClient", client)

    def answer(self, request: httpx.Request) -> httpx.Response:
        path = request.url.path.removeprefix("/v1/log")
        self.asked.append(path)
        if request.headers["authorization"] != "Bearer secret":
            return httpx.Response(401)
        if not path:
            return httpx.Response(200, json={"partitions": len(self.logs)})
        _, number, rest = path.split("/", 2)
        log = self.logs[int(number)]
        if rest == "checkpoint":
            return httpx.Response(200, text=log.checkpoint())
        try:
            return httpx.Response(200, content=log.tile(parse_path(rest)))
        except UnknownTile:
            return httpx.Response(404)


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def run(*args: Any) -> tuple[int, str]:
    told = CliRunner().invoke(cli_audit.app, [str(arg) for arg in args])
    return told.exit_code, told.output


@pytest.fixture
def log() -> Log:
    return log_of()


@pytest.fixture
def copied(log: Log, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An export of one log."""
    Api(monkeypatch, log)
    code, output = run("export", tmp_path / "out", "--url", "http://api", "--api-key", "secret")
    assert (code, output) == (0, f"{tmp_path}/out/0: 308 leaves, 308 of them new\n")
    return tmp_path / "out"


# -- export ------------------------------------------------------------------------------------------------------


def test_an_export_is_the_log_file_by_file(log: Log, copied: Path) -> None:
    assert files(copied / "0") == dict(Copy.of(log))


async def test_an_export_goes_on_where_the_last_one_ended(
    log: Log, copied: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    api = Api(monkeypatch, log)
    await export("http://api", "secret", copied)
    assert api.asked == ["", "/0/checkpoint"]
    grants(log, 300)
    log.settle(len(log))
    (found,) = await export("http://api", "secret", copied)
    assert (found.before, found.audited.head.size) == (308, 608)
    assert files(copied / "0") == dict(Copy.of(log))  # and the partial tiles of before are gone
    assert "/0/tile/entries/000" not in api.asked
    assert {"/0/tile/entries/001", "/0/tile/entries/002.p/96", "/0/tile/1/000.p/2"} <= set(api.asked)


async def test_a_log_that_shrank_or_forked_is_refused_and_the_copy_stays(
    copied: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = files(copied / "0")
    shorter, other, longer = log_of(more=100), log_of(), log_of(more=900)
    for served, error in ((shorter, ShrunkenLog), (other, ForkedLog), (longer, ForkedLog)):
        Api(monkeypatch, served)
        with pytest.raises(error):
            await export("http://api", "secret", copied)
        assert {path: raw for path, raw in files(copied / "0").items() if ".incoming" not in path} == before
        audit(audit_export.reader(copied / "0"))


async def test_a_log_that_is_served_wrong_is_not_taken(
    log: Log, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    api = Api(monkeypatch, log)
    right = api.answer

    def answer(request: httpx.Request) -> httpx.Response:
        if request.url.path.endswith("checkpoint"):
            return httpx.Response(200, content=b"\xff")
        return right(request)

    api.answer = answer  # type: ignore[method-assign]
    monkeypatch.setattr(
        audit_export.httpx, "AsyncClient", partial(httpx.AsyncClient, transport=httpx.MockTransport(answer))
    )
    with pytest.raises(WrongCheckpoint):
        await export("http://api", "secret", tmp_path)
    assert not (tmp_path / "0" / "checkpoint").exists()


def test_an_api_that_does_not_answer(log: Log, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Api(monkeypatch, log)
    with pytest.raises(NotAnswered, match="401"):
        asyncio.run(export("http://api", "wrong", tmp_path))
    for transport in (
        httpx.MockTransport(lambda _: httpx.Response(200, text="hello")),
        httpx.MockTransport(lambda _: (_ for _ in ()).throw(httpx.ConnectError("x"))),
    ):
        monkeypatch.setattr(audit_export.httpx, "AsyncClient", partial(httpx.AsyncClient, transport=transport))
        with pytest.raises(NotAnswered):
            asyncio.run(export("http://api", "secret", tmp_path))
    code, output = run("export", tmp_path, "--url", "http://api", "--api-key", "secret")
    assert (code, output.count("\n"), output.startswith("Not exported: ")) == (1, 1, True)
    code, output = run("export", tmp_path, "--url", "http://api")
    assert (code, "API key" in output) == (1, True)


# -- verify ------------------------------------------------------------------------------------------------------


def test_a_copy_proves_in_one_sentence(copied: Path) -> None:
    code, output = run("verify", copied)
    assert code == 0, output
    assert output == (
        "Proven: mayfly/3, 308 leaves: 2 absent, 3 erased, 301 grant, 2 key. 3 assets erased, 0 kept by holds, "
        "1 receipts wait for their sweep; erasures from 2023-11-14 22:13:20 UTC to 2023-11-14 22:13:20 UTC. "
        f"Signed by {FIRST.key_id} → {SECOND.key_id}, none of which you named as trusted.\n"
    )
    for key in (FIRST.public.hex(), base64.b64encode(SECOND.public).decode()):
        assert "which leads from the key you trust" in run("verify", copied, "--key", key)[1]
    assert run("verify", copied / "0") == (code, output)


def test_a_zip_of_a_copy_proves_as_well(copied: Path, tmp_path: Path) -> None:
    archive = shutil.make_archive(str(tmp_path / "logs"), "zip", tmp_path, "out")
    assert run("verify", archive) == run("verify", copied)
    inner = shutil.make_archive(str(tmp_path / "inner"), "zip", copied)
    assert run("verify", inner) == run("verify", copied)


def test_a_log_must_go_on_from_a_checkpoint_that_was_kept(
    log: Log, copied: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = tmp_path / "kept"
    shutil.copy(copied / "0" / "checkpoint", kept)
    grants(log, 10)
    log.settle(len(log))
    Api(monkeypatch, log)
    asyncio.run(export("http://api", "secret", copied))
    assert run("verify", copied, "--since", kept)[0] == 0
    forked = tmp_path / "forked"
    Api(monkeypatch, log_of(more=400))
    asyncio.run(export("http://api", "secret", forked))
    for since, words in ((kept, "first 308 leaves"), (copied / "nothing", "readable file")):
        code, output = run("verify", forked, "--since", since)
        assert (code, output.startswith("Not proven: "), words in output) == (1, True, True)
    other = Log(9, FIRST)
    other.name_key()
    other.settle(1)
    kept.write_text(other.checkpoint())
    code, output = run("verify", copied, "--since", kept)
    assert (code, "mayfly/9" in output) == (1, True)


@pytest.mark.parametrize("spoil", ["leaf", "tile", "checkpoint", "missing", "key", "nothing", "no-zip", "key-text"])
def test_what_does_not_prove_it_is_told_and_exits_1(copied: Path, tmp_path: Path, spoil: str) -> None:
    path, more = copied, []
    match spoil:
        case "leaf" | "tile" | "checkpoint":
            name = {"leaf": "tile/entries/000", "tile": "tile/0/000", "checkpoint": "checkpoint"}[spoil]
            file = copied / "0" / name
            raw = bytearray(file.read_bytes())
            raw[len(raw) // 2] ^= 1
            file.write_bytes(raw)
        case "missing":
            (copied / "0" / "tile/signatures/000").unlink()
        case "key":
            more = ["--key", Signer(b"x" * 32).public.hex()]
        case "key-text":
            more = ["--key", "nonsense"]
        case "nothing":
            path = tmp_path / "nothing"
        case "no-zip":
            path = copied / "0" / "checkpoint"
    code, output = run("verify", path, *more)
    assert code == 1
    assert output.startswith("Not proven: ")
    assert output.count("\n") == 1


def test_keys_are_hex_or_base64() -> None:
    assert parse_public_key(FIRST.public.hex()) == parse_public_key(base64.b64encode(FIRST.public).decode())
    for text in ("", "00", "z" * 64, "not base64!", base64.b64encode(bytes(31)).decode()):
        with pytest.raises(BadPublicKey):
            parse_public_key(text)


# -- a receipt and the log -----------------------------------------------------------------------------------------


@pytest.fixture
def receipt(log: Log, tmp_path: Path) -> Path:
    path = tmp_path / "receipt.json"
    file = log.receipt_file(COVERED)
    assert file is not None
    path.write_bytes(file)
    return path


def check(receipt: Path, *args: Any) -> tuple[int, str]:
    told = CliRunner().invoke(
        cli_receipt.app, ["verify", str(receipt), "--id", ASSET, "--salt", SALT.hex(), *map(str, args)]
    )
    return told.exit_code, told.output


def test_a_receipt_is_checked_against_the_log(receipt: Path, copied: Path) -> None:
    assert check(receipt, "--log", copied)[0] == 0
    code, output = check(receipt, "--log", copied, "--key", FIRST.public.hex())
    assert (code, "by the key you trust" in output) == (0, True)
    assert check(receipt, "--key", FIRST.public.hex())[0] == 1  # without the log nothing leads to the key after it
    code, output = check(receipt, "--log", copied, "--key", Signer(b"x" * 32).public.hex())
    assert (code, output.startswith("Not proven: ")) == (1, True)


def test_a_receipt_from_before_a_rotation_is_checked_too() -> None:
    early = Log(PARTITION, FIRST)
    early.name_key()
    early.erased(erasure(10), [Covered.of("face_image", DUE_MS, [COVERED])])
    early.settle(2)
    file = early.receipt_file(COVERED)
    assert file is not None
    early.adopt(SECOND)
    early.name_key()
    grants(early, 5)
    early.settle(len(early))
    verdict = verify_in_log(file, ASSET, SALT.hex(), audit(Copy.of(early).get, trusted_key=FIRST.public))
    assert (verdict.key_id, verdict.trusted) == (FIRST.key_id, True)
    other = Log(PARTITION, FIRST)
    other.name_key()
    grants(other, 5)
    other.settle(len(other))
    with pytest.raises(ForkedLog):  # somebody was shown another log of this partition
        verify_in_log(file, ASSET, SALT.hex(), audit(Copy.of(other).get))


def test_a_receipt_of_another_log_or_of_a_later_one(receipt: Path, copied: Path, log: Log) -> None:
    file = receipt.read_bytes()
    other = Log(PARTITION - 1, FIRST)
    other.name_key()
    other.settle(1)
    with pytest.raises(OtherLog):
        verify_in_log(file, ASSET, SALT.hex(), audit(Copy.of(other).get))
    shutil.rmtree(copied)
    for path, raw in Copy.of(other).items():
        (copied / path).parent.mkdir(parents=True, exist_ok=True)
        (copied / path).write_bytes(raw)
    code, output = check(receipt, "--log", copied)
    assert (code, "mayfly/3" in output) == (1, True)
    older = audit(Copy.of(log).get)
    grants(log, 1)
    log.settle(len(log))
    newer = log.receipt_file(COVERED)
    assert newer is not None
    with pytest.raises(NewerReceipt, match="export it again"):
        verify_in_log(newer, ASSET, SALT.hex(), older)


def test_a_receipt_whose_head_a_stranger_signed() -> None:
    """The same leaves, the same root: another key than the one that the log names."""
    stranger = Signer(b"x" * 32)
    log = log_of(more=3)
    file = log.receipt_file(COVERED)
    assert file is not None
    audited = audit(Copy.of(log).get)
    log._signer = stranger
    log._keys = []
    log._signer.publics.update(SECOND.publics)
    forged = log.receipt_file(COVERED)
    assert forged is not None
    assert verify_in_log(file, ASSET, SALT.hex(), audited)
    with pytest.raises(UntrustedKey):
        verify_in_log(forged, ASSET, SALT.hex(), audited)


# -- rotate ------------------------------------------------------------------------------------------------------


class Owners:
    """What `GET /estates` of the workers says: the present key, once asked `after` times."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch, *, after: int = 3) -> None:
        self.folder, self.before, self.after = folder, open_signer(folder).key_id, after
        monkeypatch.setattr(audit_rotate, "estates", self.estates)
        monkeypatch.setattr(audit_rotate, "POLL_S", 0.0)

    async def estates(self, _known: Settings, _ports: list[int]) -> list[dict[str, Any]]:
        self.after -= 1
        signed_by = [
            self.before if self.after > 0 else open_signer(self.folder).key_id,
            open_signer(self.folder).key_id,
        ]
        return [{"partition": n, "signed_by": name} for n, name in enumerate(signed_by)]


def settings(folder: Path) -> Settings:
    return Settings(
        kafka="",
        s3_url="",
        s3_access_key="",
        s3_secret_key="",
        bucket="",
        secret="00" * 32,
        internal_token="",
        state_dir=str(folder),
        partitions=2,
    )


async def test_the_former_key_is_forgotten_when_no_log_needs_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "signing"
    owners = Owners(folder, monkeypatch)
    found = await audit_rotate.rotate(settings(tmp_path), [])
    assert found.key_id == open_signer(folder).key_id != owners.before
    assert former_of(folder) == []
    assert owners.after <= 0


async def test_a_rotation_that_is_not_taken_up_is_finished_by_a_later_call(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "signing"
    owners = Owners(folder, monkeypatch, after=10**9)
    with pytest.raises(NotTakenUp, match="1 are not"):
        await audit_rotate.rotate(settings(tmp_path), [], patience_s=0.0)
    assert former_of(folder) == [owners.before]
    begun = open_signer(folder).key_id
    owners.after = 0
    assert (await audit_rotate.rotate(settings(tmp_path), [])).key_id == begun
    assert former_of(folder) == []


def test_a_missing_tile_of_a_copy(copied: Path) -> None:
    (copied / "0" / "tile/0/000").unlink()
    with pytest.raises(MissingTile):
        audit(audit_export.reader(copied / "0"))
