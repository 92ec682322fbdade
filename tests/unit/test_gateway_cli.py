"""`mayfly receipt verify`: one sentence, exit 0 or 1. (Proofs themselves: test_audit_receipts.py.)"""

import base64

import pytest
from typer.testing import CliRunner

from services import cli_receipt
from stream.audit.log import Log
from stream.audit.receipts import Cause, Covered, Erasure, commitment
from stream.audit.signer import Signer
from stream.ids import Kind, Mint

ASSET = Mint(bytes(32), 4).mint(Kind.ASSET, "ten_1", 0)
SALT = bytes(16)
DUE_MS = 1_700_000_000_000
SIGNER = Signer(b"s" * 32)


@pytest.fixture
def file(tmp_path):
    log, covers = Log(0, SIGNER), commitment(SALT, ASSET, "face_image", DUE_MS)
    erasure = Erasure(
        app="genzo",
        cause=Cause.DEADLINE,
        root_version="file:v2",
        root_claim="file: weaker",
        keys_offset=1,
        t_hidden_ms=DUE_MS + 1,
        t_unreadable_ms=DUE_MS + 2000,
        policy_hash="ab" * 32,
    )
    log.erased(erasure, [Covered.of("face_image", DUE_MS, [covers])])
    log.absent(0, DUE_MS + 3000)
    log.settle(len(log))
    path = tmp_path / "receipt.json"
    path.write_bytes(log.receipt_file(covers))
    return path


def verify(*args, salt=SALT):
    return CliRunner().invoke(cli_receipt.app, ["verify", *map(str, args), "--id", ASSET, "--salt", salt.hex()])


def test_a_receipt_proves_in_one_sentence(file):
    told = verify(file)
    assert told.exit_code == 0, told.output
    assert told.output.startswith("Proven: this asset (face_image, due 2023-11-14 22:13:20 UTC) was unreadable at ")
    assert "absent since 2023-11-14 22:13:23 UTC" in told.output
    assert "did not name as trusted" in told.output
    assert "by the key you trust" in verify(file, "--key", base64.b64encode(SIGNER.public).decode()).output


@pytest.mark.parametrize("spoil", ["salt", "key", "text", "missing", "no-base64"])
def test_what_does_not_prove_it_is_told_and_exits_1(file, spoil):
    match spoil:
        case "salt":
            told = verify(file, salt=b"x" * 16)
        case "key":
            told = verify(file, "--key", base64.b64encode(Signer(b"n" * 32).public).decode())
        case "text":
            file.write_bytes(b"{}")
            told = verify(file)
        case "missing":
            told = verify(file.with_name("none"))
        case _:
            told = verify(file, "--key", "not base64!")
    assert told.exit_code == 1
    assert told.output.startswith("Not proven: ")
    assert told.output.count("\n") == 1
