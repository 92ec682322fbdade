import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream.vault.record import OVERHEAD_BYTES, open_body, seal_body
from stream.vault.secret import Key, Tampered

KEY = Key(bytes(range(32)))
VECTOR = bytes.fromhex("01d32393b2a0898fdce4e8887c940e878a6455d540881025059488117f6da5ab86051d581b")


@given(st.binary(max_size=600), st.binary(max_size=60))
def test_a_body_opens_where_it_was_sealed(body, place):
    sealed = seal_body(KEY, body, place)
    assert len(sealed) == len(body) + OVERHEAD_BYTES
    assert open_body(KEY, sealed, place) == body


def test_it_opens_nowhere_else_and_under_no_other_key():
    sealed = seal_body(KEY, b"prompt", b"ledger/1")
    for key, place in ((KEY, b"ledger/2"), (KEY, b""), (Key.new(), b"ledger/1")):
        with pytest.raises(Tampered):
            open_body(key, sealed, place)


def test_every_flipped_bit_and_every_cut_is_refused():
    sealed = seal_body(KEY, b"prompt", b"p")
    for bit in range(len(sealed) * 8):
        flipped = bytearray(sealed)
        flipped[bit // 8] ^= 1 << bit % 8
        with pytest.raises(Tampered):
            open_body(KEY, bytes(flipped), b"p")
    for size in range(len(sealed)):
        with pytest.raises(Tampered):
            open_body(KEY, sealed[:size], b"p")


def test_old_bytes_still_open():
    assert open_body(KEY, VECTOR, b"ledger/0") == b"a prompt"
