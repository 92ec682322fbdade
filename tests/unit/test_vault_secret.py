import pickle

import pytest
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from hypothesis import given
from hypothesis import strategies as st

from stream.vault.secret import KEY_BYTES, Key, Plaintext, Wiped


def test_nothing_shows_in_a_repr_and_nothing_is_pickled():
    raw = bytes(range(KEY_BYTES))
    for hidden in (Key(raw), Plaintext(bytearray(raw))):
        assert repr(hidden) == str(hidden) == f"<{type(hidden).__name__}>"
        with pytest.raises(TypeError, match="never leaves its process"):
            pickle.dumps(hidden)
        with pytest.raises(TypeError, match="unhashable"):
            hash(hidden)


def test_a_wipe_reaches_the_views_given_out_and_ends_the_use():
    key = Key.new()
    view = key.view
    key.wipe()
    key.wipe()
    assert bytes(view) == bytes(KEY_BYTES)
    with pytest.raises(Wiped):
        _ = key.view
    with pytest.raises(Wiped):
        key.derive(b"record")


def test_a_view_cannot_be_written_through():
    with pytest.raises(TypeError):
        Key.new().view[0] = 0


def test_a_key_has_exactly_32_bytes():
    for size in (0, 16, 31, 33):
        with pytest.raises(ValueError, match="expected a key of 32 bytes"):
            Key(bytes(size))


def test_derived_keys_differ_by_purpose_and_salt_and_are_stable():
    key = Key(bytes(range(KEY_BYTES)))
    derived = [key.derive(b"a"), key.derive(b"b"), key.derive(b"a", b"salt"), key]
    assert all(x != y for i, x in enumerate(derived) for y in derived[:i])
    assert key.derive(b"a") == key.derive(b"a")
    assert bytes(key.derive(b"record").view).hex() == (
        "9d1b93e728d0dd8934743270664355a89cb7c5b56e8b0069ef0a6e5a6dda36a8"
    )


@given(st.binary(min_size=KEY_BYTES, max_size=KEY_BYTES), st.binary(max_size=200), st.binary(max_size=80))
def test_a_derived_key_is_that_of_rfc_5869(raw, purpose, salt):
    peer = HKDF(SHA256(), KEY_BYTES, salt, b"mayfly/derive/1/" + purpose)
    assert bytes(Key(raw).derive(purpose, salt).view) == peer.derive(raw)


def test_a_key_equals_only_a_key():
    assert Key(bytes(32)) != Plaintext(bytearray(32))
    assert Key(bytes(32)) != bytes(32)
    assert len(Plaintext(bytearray(5))) == 5
