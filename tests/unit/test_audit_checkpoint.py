import base64

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream.audit.checkpoint import (
    MAX_NOTE_BYTES,
    Checkpoint,
    WrongCheckpoint,
    note_id,
    open_note,
    parse_checkpoint,
    sign_note,
)
from stream.audit.signer import Signer, UnknownSigningKey, open_signer, rotate, signed_by

SIGNER, OTHER = Signer(b"s" * 32), Signer(b"o" * 32)
CHECKPOINT = Checkpoint("mayfly/3", 17, bytes(range(32)))
NOTE = sign_note(CHECKPOINT.text(), CHECKPOINT.origin, SIGNER)

# The example of Go's golang.org/x/mod/sumdb/note, the format's first implementation.
GO_KEY = base64.b64decode("ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW")[1:]
GO_TEXT = "If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n"
GO_NOTE = (
    f"{GO_TEXT}\n— PeterNeumann "
    "x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n"
)


def test_opens_a_note_of_the_reference_implementation():
    assert note_id("PeterNeumann", GO_KEY).hex() == "c74f20a3"
    assert open_note(GO_NOTE, "PeterNeumann", GO_KEY) == GO_TEXT


def test_a_checkpoint_comes_back():
    assert NOTE.startswith("mayfly/3\n17\nAAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\n\n— mayfly/3 ")
    assert parse_checkpoint(open_note(NOTE, "mayfly/3", SIGNER.public)) == CHECKPOINT


def test_other_signatures_are_ignored():
    witnessed = NOTE + sign_note("x\n", "witness", OTHER).rpartition("\n\n")[2]
    assert open_note(witnessed, "mayfly/3", SIGNER.public) == CHECKPOINT.text()


def test_another_key_or_name_is_refused():
    for name, public in (("mayfly/3", OTHER.public), ("mayfly/4", SIGNER.public)):
        with pytest.raises(WrongCheckpoint, match="found none"):
            open_note(NOTE, name, public)


@settings(deadline=None)
@given(st.integers(0, len(NOTE.encode()) * 8 - 1))
def test_no_flipped_bit_goes_unseen(at):
    raw = bytearray(NOTE.encode())
    raw[at // 8] ^= 1 << at % 8
    with pytest.raises((WrongCheckpoint, UnicodeDecodeError)):
        parse_checkpoint(open_note(raw.decode(), "mayfly/3", SIGNER.public))


@pytest.mark.parametrize(
    "note",
    [
        "",
        "text",
        "text\n\n",
        "text\n\n- a b\n",
        "text\n\n— a b c\n",
        f"text\n\n— a {'A' * 9}\n",
        "x" * MAX_NOTE_BYTES + NOTE,
    ],
)
def test_what_is_no_note_is_refused(note):
    with pytest.raises(WrongCheckpoint):
        open_note(note, "a", SIGNER.public)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "o\n1\n",
        "o\n01\nAAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\n",
        "o\n-1\nAAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\n",
        f"o\n{'9' * 5000}\nAAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\n",
        "o\n٣\nAAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\n",
        "o\n1\nAAEC\n",
        "o\n1\nAAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh9=\n",
        "o\n1\nAAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\nextension\n",
        "o\n1\nAAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=",
    ],
)
def test_what_is_no_checkpoint_is_refused(text):
    with pytest.raises(WrongCheckpoint):
        parse_checkpoint(text)


# -- the key that signs ------------------------------------------------------------------------------------------


def test_the_key_is_made_once_and_private(tmp_path):
    signer = open_signer(tmp_path / "signing")
    assert open_signer(tmp_path / "signing").public == signer.public
    assert (tmp_path / "signing" / "signing.key").stat().st_mode & 0o777 == 0o600
    assert signed_by(signer.public, signer.sign(b"x"), b"x")
    assert sorted(path.name for path in (tmp_path / "signing").iterdir()) == sorted(
        ["signing.key", f"{signer.key_id}.pub"]
    )


def test_the_first_of_two_processes_makes_the_key(tmp_path, monkeypatch):
    winner = open_signer(tmp_path)
    exists = type(tmp_path).exists
    monkeypatch.setattr(type(tmp_path), "exists", lambda path: path.name != "signing.key" and exists(path))
    assert open_signer(tmp_path).public == winner.public
    assert not list(tmp_path.glob("*.new"))


def test_former_public_keys_stay_listed(tmp_path):
    former = open_signer(tmp_path)
    present = rotate(tmp_path)
    assert present.key_id != former.key_id
    assert open_signer(tmp_path).public_of(former.key_id) == former.public
    assert open_signer(tmp_path).key_id == present.key_id
    with pytest.raises(UnknownSigningKey):
        present.public_of("00000000")


def test_a_signer_shows_its_key_id_only():
    assert repr(SIGNER) == f"Signer({SIGNER.key_id})"
    assert not signed_by(b"no key", SIGNER.sign(b"x"), b"x")
