import pickle
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from stream.vault.envelope import PUBLIC_BYTES, NotARecipient, Recipient, binding, seal_bytes, seal_key
from stream.vault.secret import Key, Tampered

ASSET = bytes(16)
INFO = binding("read", asset=ASSET, fence=1, app="genzo", data_class="source_photo")
RECIPIENT = Recipient.new()

bindings = st.tuples(
    st.text(max_size=4), st.binary(max_size=4), st.integers(0, 2**64 - 1), st.text(max_size=4), st.text(max_size=4)
)


def test_a_key_reaches_its_recipient_and_nobody_else():
    key = Key.new()
    sealed = seal_key(key, RECIPIENT.public, INFO)
    assert RECIPIENT.open_key(sealed, INFO) == key
    with pytest.raises(Tampered):
        Recipient.new().open_key(sealed, INFO)


def test_parameters_too():
    assert RECIPIENT.open_bytes(seal_bytes(b"a prompt", RECIPIENT.public, INFO), INFO) == b"a prompt"


def test_an_envelope_opens_only_for_what_it_was_made():
    sealed = seal_key(Key.new(), RECIPIENT.public, INFO)
    same = {"asset": ASSET, "fence": 1, "app": "genzo", "data_class": "source_photo"}
    for other in (
        binding("write", **same),
        binding("read", **{**same, "asset": bytes(15) + b"\x01"}),
        binding("read", **{**same, "fence": 2}),
        binding("read", **{**same, "app": "talentedi"}),
        binding("read", **{**same, "data_class": "result_video"}),
    ):
        with pytest.raises(Tampered):
            RECIPIENT.open_key(sealed, other)


@given(bindings, bindings)
def test_two_bindings_are_never_the_same_bytes(one, two):
    def info(t):
        return binding(t[0], asset=t[1], fence=t[2], app=t[3], data_class=t[4])

    assert (info(one) == info(two)) == (one == two)


def test_broken_envelopes_are_refused_without_saying_why():
    sealed = seal_key(Key.new(), RECIPIENT.public, INFO)
    flipped = bytearray(sealed)
    flipped[-1] ^= 1
    for bad in (b"", sealed[:100], sealed[:-1], sealed + b"\x00", bytes(flipped), bytes(len(sealed))):
        with pytest.raises(Tampered):
            RECIPIENT.open_key(bad, INFO)


def test_what_is_no_public_key_is_refused():
    low_order = RECIPIENT.public[:-32] + bytes(32)
    for bad in (b"", RECIPIENT.public[:-1], RECIPIENT.public + b"\x00", b"\xff" * PUBLIC_BYTES, low_order):
        with pytest.raises(NotARecipient):
            seal_key(Key.new(), bad, INFO)


def test_a_recipient_hides_and_stays():
    assert repr(RECIPIENT) == "<Recipient>"
    assert len(RECIPIENT.public) == PUBLIC_BYTES
    with pytest.raises(TypeError, match="never leaves its process"):
        pickle.dumps(RECIPIENT)


def test_old_bytes_still_open():
    old = Recipient(
        MLKEM768PrivateKey.from_seed_bytes(bytes(range(64))), X25519PrivateKey.from_private_bytes(bytes(range(32)))
    )
    docs = (Path(__file__).parents[2] / "docs" / "sealing.md").read_text()
    vector = bytes.fromhex("".join(docs.split("class `photo`")[1].split()))
    info = binding("lease-key", asset=b"ast_0", fence=7, app="genzo", data_class="photo")
    assert old.open_key(vector, info) == Key(bytes(range(32)))
