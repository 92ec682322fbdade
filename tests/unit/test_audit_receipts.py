import base64
import json
import os

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream.audit.checkpoint import WrongCheckpoint, open_note, parse_checkpoint, sign_note
from stream.audit.grants import Grantee, grant, is_grant
from stream.audit.log import BrokenLog, Entry, Log
from stream.audit.merkle import verify_consistency
from stream.audit.receipt_file import (
    AlteredReceipt,
    BadReceipt,
    MalformedReceipt,
    NotInLog,
    NotThisAsset,
    UntrustedKey,
    WrongAbsence,
    WrongId,
    WrongPath,
    WrongSalt,
    WrongSignature,
    verify,
)
from stream.audit.receipts import Cause, Covered, Erasure, Residue, commitment, locate, milliseconds, portions, tree_of
from stream.audit.signer import Signer
from stream.ids import Kind, Mint

PARTITION = 3
MINT = Mint(b"m" * 32, 8)
SIGNER, NEXT = Signer(b"s" * 32), Signer(b"n" * 32, {Signer(b"s" * 32).key_id: Signer(b"s" * 32).public})
DUE = 1_700_000_000_000
ERASURE = Erasure(
    app="genzo",
    cause=Cause.DEADLINE,
    root_version="file:v12",
    root_claim="file: weaker",
    keys_offset=4711,
    t_hidden_ms=DUE + 1,
    t_unreadable_ms=DUE + 99,
    policy_hash="ab" * 32,
    holds=1,
    residues=(Residue(name="read_grant", count=1, until_ms=DUE + 10_000),),
)


class Asset:
    def __init__(self, data_class="face_image", deadline_ms=DUE):
        self.id, self.salt = MINT.mint(Kind.ASSET, "tenant", PARTITION), os.urandom(16)
        self.data_class, self.deadline_ms = data_class, deadline_ms
        self.commitment = commitment(self.salt, self.id, data_class, deadline_ms)


def covered(assets):
    groups = {}
    for asset in assets:
        groups.setdefault((asset.data_class, asset.deadline_ms), []).append(asset.commitment)
    return [Covered.of(*key, each) for key, each in sorted(groups.items())]


ASSETS = [Asset() for _ in range(5)] + [Asset("generated_image", DUE + 60_000) for _ in range(4)]


def written(log, *, absent=True):
    """A log with other leaves around the receipt; its entries, all settled."""
    entries = [log.grant(grant(os.urandom(16), ASSETS[0].id, Grantee.ENGINE, DUE)) for _ in range(4)]
    entries.append(log.erased(ERASURE, covered(ASSETS)))
    entries.append(log.erased(ERASURE, covered([Asset()])))
    if absent:
        entries.append(log.absent(4, DUE + 3000))
    log.settle(len(log))
    return entries


LOG = Log(PARTITION, SIGNER)
ENTRIES = written(LOG)
ASSET = ASSETS[2]
SALT = ASSET.salt.hex()
FILE = LOG.receipt_file(ASSET.commitment)
assert FILE is not None


def changed(change, file=FILE):
    parsed = json.loads(file)
    change(parsed)
    return json.dumps(parsed).encode()


def refused(error, file, asset_id=ASSET.id, salt=SALT, **trust):
    with pytest.raises(error) as caught:
        verify(file, asset_id, salt, **trust)
    assert type(caught.value) is error
    assert asset_id not in str(caught.value)


def flipped(text):
    return ("1" if text[0] == "0" else "0") + text[1:]


@pytest.mark.parametrize("asset", ASSETS)
def test_proves_that_this_asset_was_erased(asset):
    verdict = verify(LOG.receipt_file(asset.commitment), asset.id, asset.salt.hex(), trusted_key=SIGNER.public)
    assert verdict.receipt.cause is Cause.DEADLINE
    assert (verdict.data_class, verdict.deadline_ms) == (asset.data_class, asset.deadline_ms)
    assert verdict.receipt.count == len(ASSETS)
    assert verdict.receipt.residues == ERASURE.residues
    assert verdict.absent.t_gone_ms == DUE + 3000
    assert (verdict.log_size, verdict.key_id, verdict.trusted) == (len(LOG), SIGNER.key_id, True)


def test_before_the_sweep_there_is_no_absence():
    log = Log(PARTITION, SIGNER)
    written(log, absent=False)
    verdict = verify(log.receipt_file(ASSET.commitment), ASSET.id, ASSET.salt.hex())
    assert verdict.absent is None
    assert not verdict.trusted


def test_the_file_proves_to_nobody_else():
    assert ASSET.id.encode() not in FILE
    assert ASSET.salt.hex().encode() not in FILE
    assert base64.b64encode(ASSET.salt) not in FILE
    assert all(ASSET.salt not in entry.leaf and ASSET.id.encode() not in entry.leaf for entry in ENTRIES)


def test_another_assets_id_or_salt():
    refused(NotThisAsset, FILE, asset_id=ASSETS[0].id)
    refused(NotThisAsset, FILE, salt=ASSETS[0].salt.hex())
    refused(WrongId, FILE, asset_id="ast_nonsense")
    refused(WrongId, FILE, asset_id="nonsense")
    refused(WrongSalt, FILE, salt="00")
    refused(WrongSalt, FILE, salt="AB" * 16)


def test_another_class_or_deadline():
    refused(NotThisAsset, changed(lambda file: file.update(data_class="prompt")))
    refused(NotThisAsset, changed(lambda file: file.update(deadline_ms=DUE + 1)))


def test_an_altered_receipt():
    refused(AlteredReceipt, changed(lambda file: file["erased"]["statement"].update(t_unreadable_ms=DUE)))
    refused(AlteredReceipt, changed(lambda file: file["erased"]["statement"].update(holds=0)))
    refused(AlteredReceipt, changed(lambda file: file["erased"]["statement"].update(more=1)))
    refused(AlteredReceipt, changed(lambda file: file["absent"]["statement"].update(t_gone_ms=DUE)))


def test_a_wrong_signature():
    other = base64.b64encode(NEXT.sign(ENTRIES[4].leaf)).decode()
    refused(WrongSignature, changed(lambda file: file["erased"].update(signature=other)))
    refused(WrongSignature, changed(lambda file: file["absent"].update(signature="")))


def test_a_receipt_that_is_not_in_the_log():
    refused(NotInLog, changed(lambda file: file["erased"]["log"].update(index=3)))
    refused(NotInLog, changed(lambda file: file["erased"]["log"]["hashes"].pop()))
    refused(NotInLog, changed(lambda file: file["erased"]["log"]["hashes"].reverse()))
    other = Log(PARTITION, SIGNER)
    written(other)
    refused(NotInLog, changed(lambda file: file.update(checkpoint=other.checkpoint())))


def test_a_wrong_path():
    refused(WrongPath, changed(lambda file: file["path"].update(index=(file["path"]["index"] + 1) % len(ASSETS))))
    refused(WrongPath, changed(lambda file: file.update(commitment=ASSETS[0].commitment.hex())))
    refused(WrongPath, changed(lambda file: file["path"]["hashes"].append("00" * 32)))


def test_a_wrong_checkpoint():
    refused(
        WrongCheckpoint, changed(lambda file: file.update(checkpoint=file["checkpoint"].replace("/3\n7\n", "/3\n8\n")))
    )
    refused(WrongCheckpoint, changed(lambda file: file.update(keys={})))
    refused(UntrustedKey, FILE, trusted_key=NEXT.public)
    text = open_note(LOG.checkpoint(), "mayfly/3", SIGNER.public).replace("mayfly/3", "mayfly/4")
    refused(MalformedReceipt, changed(lambda file: file.update(checkpoint=sign_note(text, "mayfly/4", SIGNER))))


def test_another_receipts_absence():
    log = Log(PARTITION, SIGNER)
    written(log, absent=False)
    log.absent(5, DUE)
    log.absent(4, DUE)
    log.settle(len(log))
    mine = json.loads(log.receipt_file(ASSET.commitment))
    others = log._receipts[5][1].covered[0][0]
    mine["absent"] = json.loads(log.receipt_file(others))["absent"]
    refused(WrongAbsence, json.dumps(mine).encode())


@pytest.mark.parametrize(
    "file",
    [
        b"",
        b"{}",
        b"\xff",
        b"[" * 5000,
        changed(lambda file: file.update(format="mayfly-receipt/2")),
        changed(lambda file: file["keys"].update({NEXT.key_id: base64.b64encode(NEXT.public).decode()})),
        changed(lambda file: file["keys"].update({SIGNER.key_id: base64.b64encode(NEXT.public).decode()})),
        changed(lambda file: file.update(commitment=file["commitment"].upper() + "ab")),
        changed(lambda file: file["erased"].update(signature="&")),
        changed(lambda file: file["erased"].update(signature="é")),
        changed(lambda file: file["erased"].update(signature="AB==")),
        changed(lambda file: file["erased"]["statement"].update(count=1 << 60)),
        changed(lambda file: file["erased"]["statement"].pop("count")),
        changed(lambda file: file.update(absent=file["erased"])),
    ],
)
def test_what_is_no_receipt_file(file):
    refused(MalformedReceipt, file)


@pytest.mark.parametrize("shift", range(8))
def test_no_flipped_bit_goes_unseen(shift):
    for at in range(len(FILE)):
        raw = bytearray(FILE)
        raw[at] ^= 1 << shift
        with pytest.raises((BadReceipt, WrongCheckpoint)):
            verify(bytes(raw), ASSET.id, SALT)


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=20), st.integers(0, len(FILE)), st.integers(0, 20))
def test_garbage_is_refused_by_name(garbage, at, cut):
    raw = FILE[:at] + garbage + FILE[at + cut :]
    try:
        verify(raw, ASSET.id, ASSET.salt.hex())
    except (BadReceipt, WrongCheckpoint):
        return
    assert json.loads(raw) == json.loads(FILE)  # only spelling changed


def test_receipts_outlive_a_rotation_of_the_key():
    log = Log(PARTITION, NEXT)
    for entry in ENTRIES[:-1]:
        log.replay(entry)
    log.absent(4, DUE + 1)
    log.settle(len(log))
    verdict = verify(log.receipt_file(ASSET.commitment), ASSET.id, ASSET.salt.hex(), trusted_key=NEXT.public)
    assert (verdict.receipt.key_id, verdict.absent.key_id) == (SIGNER.key_id, NEXT.key_id)


def test_a_replayed_log_serves_the_same_file():
    log = Log(PARTITION, SIGNER)
    for entry in ENTRIES:
        log.replay(msgspec.msgpack.decode(msgspec.msgpack.encode(entry), type=Entry))
    assert log.receipt_file(ASSET.commitment) == FILE


def test_a_gap_or_garbage_is_a_broken_log():
    log = Log(PARTITION, SIGNER)
    with pytest.raises(BrokenLog, match="expected leaf 0"):
        log.replay(ENTRIES[1])
    with pytest.raises(BrokenLog, match="expected a leaf at 0"):
        log.replay(Entry(0, b"{}"))


def test_nothing_unsettled_is_served():
    log = Log(PARTITION, SIGNER)
    before = parse_checkpoint(open_note(log.checkpoint(), "mayfly/3", SIGNER.public))
    log.erased(ERASURE, covered(ASSETS))
    assert log.receipt_file(ASSET.commitment) is None
    assert parse_checkpoint(open_note(log.checkpoint(), "mayfly/3", SIGNER.public)) == before
    log.settle(1)
    log.absent(0, DUE)
    assert json.loads(log.receipt_file(ASSET.commitment))["absent"] is None
    assert log.receipt_file(bytes(32)) is None


def test_the_log_only_grows():
    log = Log(PARTITION, SIGNER)
    heads = []
    for entry in ENTRIES:
        log.replay(entry)
        heads.append(parse_checkpoint(open_note(log.checkpoint(), "mayfly/3", SIGNER.public)))
    for head in heads:
        assert verify_consistency(head.size, len(log), log.consistency_proof(head.size), head.root, heads[-1].root)


def test_a_grant_is_found_by_who_knows_the_salt():
    entry = Log(PARTITION, SIGNER).grant(grant(ASSET.salt, ASSET.id, Grantee.STAFF, DUE))
    assert is_grant(entry.leaf, ASSET.salt, ASSET.id, Grantee.STAFF, DUE)
    assert not is_grant(entry.leaf, ASSET.salt, ASSET.id, Grantee.ENGINE, DUE)
    assert not is_grant(entry.leaf, ASSET.salt, ASSETS[0].id, Grantee.STAFF, DUE)
    assert ASSET.id.encode() not in entry.leaf


def test_old_leaves_still_decode():
    """Bytes as they were first written: fields may be added, never changed."""
    old = (
        b'{"app":"genzo","cause":"deadline","count":1,"holds":0,"key_id":"1d9e3f2a","keys_offset":7,"kind":"erased",'
        b'"merkle_root":"00","partition":3,"policy_hash":"ab","residues":[],"root_claim":"file","root_version":"file:v2",'
        b'"t_hidden_ms":1,"t_unreadable_ms":2,"version":1}'
    )
    log = Log(PARTITION, SIGNER)
    log.replay(Entry(0, old))
    log.replay(
        Entry(
            1,
            b'{"erased_hash":"00","erased_index":0,"key_id":"x","kind":"absent","partition":3,"t_gone_ms":5,"version":1}',
        )
    )
    log.replay(Entry(2, b'{"commitment":"00","kind":"grant","version":1}'))
    assert len(log) == 3


@settings(deadline=None)
@given(st.sets(st.binary(min_size=32, max_size=32), min_size=1, max_size=30), st.integers(1, 29))
def test_locate_agrees_with_the_trees_order(commitments, cut):
    groups = [Covered.of("a", 1, list(commitments)[:cut]), Covered.of("b", 2, list(commitments)[cut:])]
    order = [each for group in groups for each in group]
    tree = tree_of(groups)
    for index, each in enumerate(order):
        group, at = locate(groups, each)
        assert (at, each in set(group)) == (index, True)
    assert len(tree) == len(order)
    assert locate(groups, bytes(31)) is None


@settings(deadline=None)
@given(st.lists(st.integers(0, 9), max_size=6), st.integers(1, 7))
def test_portions_hold_all_and_none_too_many(sizes, limit):
    groups = [Covered.of(f"class{n}", n, [os.urandom(32) for _ in range(size)]) for n, size in enumerate(sizes)]
    made = list(portions(groups, limit))
    counts = [sum(map(len, portion)) for portion in made]
    assert all(count == limit for count in counts[:-1])
    assert all(0 < count <= limit for count in counts)
    flat = [(group.data_class, group.deadline_ms, each) for portion in made for group in portion for each in group]
    assert flat == [(group.data_class, group.deadline_ms, each) for group in groups for each in group]


def test_milliseconds_are_whole():
    assert milliseconds(1_700_000_000.1234) == 1_700_000_000_123


def test_the_paths_of_one_receipt_share_a_tree(monkeypatch):
    made = []
    monkeypatch.setattr("stream.audit.log.tree_of", lambda covered: made.append(tree_of(covered)) or made[-1])
    log = Log(PARTITION, SIGNER)
    written(log)
    made.clear()
    assert all(log.receipt_file(asset.commitment) for asset in ASSETS)
    assert len(made) == 1


def test_an_index_outside_a_group_is_an_error():
    with pytest.raises(IndexError):
        covered(ASSETS)[0][99]
