"""An auditor's check of a log's files: what holds together passes, and each thing that does not has a name."""

import json

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream.audit.checkpoint import WrongCheckpoint
from stream.audit.history import BadLog, UnknownKey, WrongLeafSignature, WrongOrder, WrongSigner
from stream.audit.holds import Held, Released
from stream.audit.leaves import WrongLeaf
from stream.audit.log import Log
from stream.audit.receipts import Absent, Covered, canonical
from stream.audit.signer import Signer
from stream.audit.signing_key import SigningKey
from stream.audit.tiles import CHECKPOINT, SIGNATURES, TruncatedBundle, bundle, unbundle
from stream.audit.verify import (
    AlteredLeaf,
    ForkedLog,
    MissingTile,
    ReorderedLeaves,
    ShrunkenLog,
    WrongRoot,
    WrongTile,
    audit,
)
from tests.unit.auditing import DUE_MS, FIRST, PARTITION, SECOND, Copy, erasure, grants, log_of

LOG = log_of()
COPY = Copy.of(LOG)
STRANGER = Signer(b"x" * 32)


def refused(error, copy, match=None, **asked):
    with pytest.raises(error, match=match) as caught:
        audit(copy.get, **asked)
    assert type(caught.value) is error
    return caught.value


def spoiled(path, change):
    copy = Copy(COPY)
    raw = bytearray(copy[path])
    change(raw)
    copy[path] = bytes(raw)
    return copy


def flip(at, bit=0):
    def change(raw):
        raw[at] ^= 1 << bit

    return change


def test_a_log_that_holds_together():
    found = audit(COPY.get)
    assert found.head.size == len(LOG) == 308
    assert found.history.counts == {"key": 2, "erased": 3, "absent": 2, "grant": 301}
    assert [(index, public) for index, public in found.history.keys] == [(0, FIRST.public), (4, SECOND.public)]
    assert (found.history.covered, found.history.pending, found.trusted) == (3, 1, False)
    assert (found.history.first_ms, found.history.last_ms) == (DUE_MS + 4, DUE_MS + 200)


@pytest.mark.parametrize("signer", [FIRST, SECOND])
def test_any_key_of_the_chain_may_be_the_trusted_one(signer):
    assert audit(COPY.get, trusted_key=signer.public).trusted


def test_a_wrong_key():
    refused(UnknownKey, COPY, trusted_key=STRANGER.public)


def test_every_old_head_is_consistent_with_the_log():
    log, notes = Log(PARTITION, FIRST), []
    log.name_key()
    log.settle(1)
    for n in range(5):
        notes.append(log.checkpoint())
        if n == 2:
            log.adopt(SECOND)
            log.name_key()
        grants(log, 100)
        log.settle(len(log))
    copy = Copy.of(log)
    for note in notes:
        assert audit(copy.get, since=note).head.size == len(log)


# -- what is wrong with files ------------------------------------------------------------------------------------


def test_one_bit_of_a_leaf():
    for path in ("tile/entries/000", "tile/entries/001.p/52"):
        at = len(COPY[path]) - 40  # within the last leaf
        refused(AlteredLeaf, spoiled(path, flip(at)), match="expected the leaf that the log holds at (255|307)")


def test_one_bit_of_a_tile():
    refused(WrongTile, spoiled("tile/0/000", flip(77)), match="tile/0/000")
    refused(WrongTile, spoiled("tile/0/001.p/52", flip(0, 7)))
    refused(WrongTile, spoiled("tile/1/000.p/1", flip(31)))


def test_one_bit_of_a_signature():
    refused(WrongLeafSignature, spoiled("tile/signatures/000", flip(10)), match="over leaf 0")


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(sorted(COPY)), st.data())
def test_no_flipped_bit_goes_unseen(path, data):
    at = data.draw(st.integers(0, len(COPY[path]) * 8 - 1))
    with pytest.raises((BadLog, WrongLeaf, WrongCheckpoint, TruncatedBundle)):
        audit(spoiled(path, flip(at // 8, at % 8)).get)


def test_every_bit_of_the_checkpoint():
    for at in range(len(COPY[CHECKPOINT]) * 8):
        with pytest.raises((BadLog, WrongLeaf, WrongCheckpoint)):
            audit(spoiled(CHECKPOINT, flip(at // 8, at % 8)).get)


def test_two_leaves_reordered():
    copy = Copy(COPY)
    leaves = unbundle(copy["tile/entries/000"], 256)
    leaves[100], leaves[101] = leaves[101], leaves[100]
    copy["tile/entries/000"] = bundle(leaves)
    refused(ReorderedLeaves, copy, match="at 100")


def test_a_leaf_removed():
    copy = Copy(COPY)
    leaves = unbundle(copy["tile/entries/000"], 256)
    del leaves[7]
    copy["tile/entries/000"] = bundle(leaves)
    refused(TruncatedBundle, copy)
    copy["tile/entries/000"] = bundle([*leaves, leaves[-1]])  # and the gap closed
    refused(ReorderedLeaves, copy, match="at 7")


def test_a_truncated_bundle_or_tile():
    for path in ("tile/entries/000", "tile/signatures/001.p/52", "tile/0/001.p/52"):
        refused(TruncatedBundle, spoiled(path, lambda raw: raw.pop()))
        refused(TruncatedBundle, spoiled(path, lambda raw: raw.append(0)))


@pytest.mark.parametrize("path", sorted(COPY))
def test_a_missing_file(path):
    copy = Copy(COPY)
    del copy[path]
    refused(MissingTile, copy, match=path)


def test_no_checkpoint_at_all():
    for raw in (b"", b"\xff", b"mayfly/3\n", COPY[CHECKPOINT].replace(b"mayfly/3", b"other/3")):
        refused(WrongCheckpoint, Copy({**COPY, CHECKPOINT: raw}))


# -- what is wrong with a log whose keeper has the key ----------------------------------------------------------


def rewritten(change, signer=SECOND):
    """Leaves and signatures changed, and all the rest made anew and signed."""
    leaves, signatures = COPY.leaves(), COPY.leaves(SIGNATURES)
    change(leaves, signatures)
    return Copy().put(leaves, signatures, signer)


def remove(index):
    def change(leaves, signatures):
        del leaves[index], signatures[index]

    return change


def replace(index, statement, signer=SECOND):
    def change(leaves, signatures):
        leaves[index] = canonical(statement)
        signatures[index] = signer.sign(leaves[index])

    return change


def test_a_rewritten_log_is_caught_by_who_saw_an_earlier_head():
    seen = LOG.checkpoint()
    assert audit(rewritten(remove(200)).get).head.size == 307  # nobody else can tell
    refused(ShrunkenLog, rewritten(remove(200)), since=seen)

    def remove_and_add(leaves, signatures):
        remove(200)(leaves, signatures)
        leaves += leaves[-3:-1]
        signatures += signatures[-3:-1]

    refused(ForkedLog, rewritten(remove_and_add), since=seen)
    assert audit(rewritten(lambda *_: None).get, since=seen)


def test_the_root_of_another_log():
    copy = rewritten(remove(200))
    copy[CHECKPOINT] = Copy.of(log_of(more=299))[CHECKPOINT]
    refused(WrongRoot, copy)
    older = log_of(more=10)
    copy = Copy.of(log_of(more=20))
    refused(ForkedLog, copy, since=older.checkpoint())


def test_a_head_that_does_not_go_on_from_what_was_seen():
    log = log_of(more=10)
    seen = log.checkpoint()
    grants(log, 5)
    log.settle(len(log))
    copy = Copy.of(log)
    copy[CHECKPOINT] = Copy.of(log_of(more=15))[CHECKPOINT]
    refused(ForkedLog, copy, since=seen)


def test_what_was_seen_must_be_a_head_of_this_log():
    refused(WrongCheckpoint, COPY, since="nonsense")
    refused(WrongCheckpoint, COPY, since=LOG.checkpoint().replace("mayfly/3", "mayfly/2"))
    forged = Copy().put(COPY.leaves(), COPY.leaves(SIGNATURES), STRANGER)[CHECKPOINT].decode()
    refused(WrongCheckpoint, COPY, since=forged)


def test_a_head_signed_by_a_stranger_or_by_the_former_key():
    for signer in (STRANGER, FIRST):
        refused(WrongCheckpoint, rewritten(lambda *_: None, signer))


def test_the_chain_of_keys():
    refused(WrongSigner, rewritten(remove(0)), match="first leaf")
    refused(WrongSigner, rewritten(remove(4)), match="leaf 4")  # the rotation
    named = SigningKey(partition=PARTITION, public=STRANGER.public.hex(), key_id=STRANGER.key_id)
    refused(WrongSigner, rewritten(replace(4, named, STRANGER)))
    refused(WrongLeafSignature, rewritten(replace(4, msgspec.structs.replace(named, key_id=FIRST.key_id), STRANGER)))
    refused(WrongSigner, rewritten(replace(4, msgspec.structs.replace(named, key_id=FIRST.key_id), FIRST)))
    refused(WrongLeafSignature, rewritten(replace(0, named, SECOND)))


def test_a_grant_with_a_signature():
    def change(_leaves, signatures):
        signatures[2] = SECOND.sign(b"x")

    refused(WrongLeafSignature, rewritten(change))


def test_leaves_that_are_none_or_of_another_partition():
    def garbage(leaves, _signatures):
        leaves[100] = b"{}"

    refused(WrongLeaf, rewritten(garbage), match="at 100")
    named = SigningKey(partition=PARTITION + 1, public=SECOND.public.hex(), key_id=FIRST.key_id)
    refused(WrongLeaf, rewritten(replace(4, named, FIRST)), match="another partition")


def absent(**changes):
    last = json.loads(COPY.leaves()[-1])
    fields = {name: last[name] for name in ("partition", "erased_index", "erased_hash", "t_gone_ms", "key_id")}
    return Absent(**fields | changes)


def test_an_absence_completes_one_receipt_before_it():
    assert audit(rewritten(replace(-1, absent())).get)
    for wrong in ({"erased_index": 6}, {"erased_index": 2}, {"erased_index": 400}, {"erased_hash": "00" * 32}):
        refused(WrongOrder, rewritten(replace(-1, absent(**wrong))))
    first = json.loads(COPY.leaves()[3])
    again = absent(erased_index=1, erased_hash=first["erased_hash"])
    refused(WrongOrder, rewritten(replace(-1, again)), match="nothing has completed yet")


def told(*erasures):
    log = Log(PARTITION, SECOND)
    log.name_key()
    for erased in erasures:
        log.erased(erased, [Covered.of("result", DUE_MS, [bytes(32)])])
    log.settle(len(log))
    return Copy.of(log)


def test_leaves_of_holds_are_vouched_for_by_the_head():
    log = Log(PARTITION, SECOND)
    log.name_key()
    case = {"partition": PARTITION, "case": "ab" * 32, "count": 1}
    log.held(Held(**case, app="genzo", basis="court_order", until_ms=DUE_MS, approvers=("a", "b")))
    log.held(Released(**case, approver="a"))
    log.settle(len(log))
    assert audit(Copy.of(log).get).history.counts == {"key": 1, "hold": 1, "hold_released": 1}


def test_times_are_in_order():
    refused(WrongOrder, rewritten(replace(-1, absent(t_gone_ms=DUE_MS))), match="unreadable before")
    refused(WrongOrder, told(erasure(30, t_hidden_ms=DUE_MS + 999)), match="hidden before")


def test_commits_and_root_versions_ascend_together():
    mass, single = erasure(10), erasure(20)
    assert audit(told(mass, single, mass, erasure(-1), erasure(15)).get)  # a mass is told over several commits
    for wrong in (
        erasure(9, root_version="file:v99"),
        erasure(21, root_version="file:v2"),
        erasure(21, root_version="file:v22"),
        erasure(20, root_version="file:v23"),
    ):
        refused(WrongOrder, told(mass, single, wrong), match="leaf 3")
    assert audit(told(mass, single, erasure(21, root_version="openbao:v1-ab")).get)  # another store counts anew
