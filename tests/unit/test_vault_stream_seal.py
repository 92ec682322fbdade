import hashlib
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from hypothesis import given, settings
from hypothesis import strategies as st

from stream.vault.blank import Blank, blank
from stream.vault.secret import Key, Tampered, Truncated
from stream.vault.stream_seal import (
    CHUNK_BYTES,
    HEADER_BYTES,
    TAG_BYTES,
    Opener,
    Sealer,
    open_,
    open_range,
    plain_size,
    range_plan,
    seal,
    sealed_size,
)

KEY = Key(bytes(range(32)))
ASSET = b"asset-0123456789"
APP = "genzo"
SEALED_CHUNK = CHUNK_BYTES + TAG_BYTES
NOISE = b"".join(hashlib.sha256(i.to_bytes(4, "big")).digest() for i in range(3 * CHUNK_BYTES // 32 + 8))

around_chunks = st.builds(lambda n, d: max(0, n * CHUNK_BYTES + d), st.integers(0, 3), st.integers(-3, 200))
cuts = st.lists(st.integers(3000, 2 * CHUNK_BYTES), min_size=1, max_size=6)


def pieces(data, sizes):
    at = 0
    while at < len(data):
        size = sizes[at % len(sizes)]
        yield data[at : at + size]
        at += size


def opened(sealed, sizes=(70_000,), key=KEY, asset=ASSET, app=APP):
    opener = Opener(key, asset, app)
    return b"".join([*(opener.update(p) for p in pieces(sealed, sizes)), opener.final()])


def refused(sealed, error=Tampered):
    """Both ways of opening refuse."""
    with pytest.raises(error):
        open_(KEY, ASSET, APP, sealed)
    with pytest.raises(error):
        opened(sealed)


@settings(max_examples=40, deadline=None)
@given(around_chunks, cuts, cuts)
def test_what_is_sealed_in_any_pieces_opens_in_any_pieces_at_the_size_foretold(size, sealing, opening):
    plain = NOISE[:size]
    sealer = Sealer(KEY, ASSET, APP)
    sealed = b"".join([sealer.header(), *(sealer.update(p) for p in pieces(plain, sealing)), sealer.final()])
    assert len(sealed) == sealed_size(size)
    assert plain_size(len(sealed)) == size
    assert opened(sealed, opening) == plain
    assert bytes(open_(KEY, ASSET, APP, sealed).view) == plain


@given(st.integers(0, 2**50))
def test_sizes_map_one_to_one(size):
    assert plain_size(sealed_size(size)) == size


def test_no_stream_has_the_sizes_between():
    possible = {sealed_size(n) for n in (0, 1, CHUNK_BYTES, CHUNK_BYTES + 1)}
    for size in (0, HEADER_BYTES, HEADER_BYTES + 15, *(HEADER_BYTES + SEALED_CHUNK + n for n in range(1, 17))):
        assert size not in possible
        with pytest.raises(Truncated):
            plain_size(size)


def test_empty_updates_change_nothing():
    sealer = Sealer(KEY, ASSET, APP)
    parts = [sealer.header(), sealer.update(b""), sealer.update(NOISE[:CHUNK_BYTES]), sealer.update(b"")]
    assert opened(b"".join([*parts, sealer.final()])) == NOISE[:CHUNK_BYTES]


def test_one_flipped_bit_anywhere_is_refused():
    small = seal(KEY, ASSET, APP, b"face")
    for bit in range(len(small) * 8):
        flipped = bytearray(small)
        flipped[bit // 8] ^= 1 << bit % 8
        refused(bytes(flipped))


@settings(max_examples=30, deadline=None)
@given(st.integers(0, sealed_size(len(NOISE)) * 8 - 1))
def test_one_flipped_bit_in_a_long_stream_is_refused(bit):
    flipped = bytearray(LONG)
    flipped[bit // 8] ^= 1 << bit % 8
    refused(bytes(flipped))


LONG = seal(KEY, ASSET, APP, NOISE)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, len(LONG) - 1))
def test_a_cut_anywhere_is_refused(size):
    refused(LONG[:size])


def test_a_cut_at_every_chunk_boundary_is_refused_and_so_is_more():
    for chunks in range(3):
        refused(LONG[: HEADER_BYTES + chunks * SEALED_CHUNK])
    for more in (b"\x00", LONG[HEADER_BYTES:], bytes(TAG_BYTES)):
        refused(LONG + more)


def test_chunks_cannot_be_reordered_repeated_dropped_or_spliced():
    body = [LONG[HEADER_BYTES + i * SEALED_CHUNK :][:SEALED_CHUNK] for i in range(4)]
    other = seal(KEY, ASSET, APP, NOISE)
    foreign = other[HEADER_BYTES : HEADER_BYTES + SEALED_CHUNK]
    header = LONG[:HEADER_BYTES]
    for order in ([1, 0, 2, 3], [0, 0, 1, 2, 3], [0, 2, 3], [3], [0, 1, 2]):
        refused(header + b"".join(body[i] for i in order))
    refused(header + foreign + b"".join(body[1:]))
    refused(other[:HEADER_BYTES] + b"".join(body))


def test_a_stream_is_of_one_asset_app_and_key():
    for key, asset, app in ((Key.new(), ASSET, APP), (KEY, b"asset-X123456789", APP), (KEY, ASSET, "talentedi")):
        with pytest.raises(Tampered):
            open_(key, asset, app, LONG)
        with pytest.raises(Tampered):
            opened(LONG, key=key, asset=asset, app=app)
    with pytest.raises(Tampered):  # the border between asset and app is part of it
        open_(KEY, ASSET + b"g", "enzo", LONG)


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_a_range_opens_from_the_bytes_its_plan_names(data):
    start = data.draw(st.integers(0, len(NOISE) - 1))
    stop = data.draw(st.integers(start + 1, len(NOISE)))
    plan = range_plan(start, stop, len(NOISE))
    sealed = LONG[plan.start : plan.stop]
    got = open_range(KEY, ASSET, APP, header=LONG[:HEADER_BYTES], sealed=sealed, plan=plan)
    assert got == NOISE[start:stop]
    assert len(sealed) <= stop - start + 2 * SEALED_CHUNK


def test_a_range_is_refused_where_bytes_or_the_size_are_not_what_was_planned():
    header = LONG[:HEADER_BYTES]
    plan = range_plan(0, len(NOISE), len(NOISE))
    with pytest.raises(Truncated):
        open_range(KEY, ASSET, APP, header=header, sealed=LONG[plan.start : plan.stop - 1], plan=plan)
    short = range_plan(0, 2 * CHUNK_BYTES, 2 * CHUNK_BYTES)  # its second chunk would be the last
    with pytest.raises(Tampered):
        open_range(KEY, ASSET, APP, header=header, sealed=LONG[short.start : short.stop], plan=short)
    one = range_plan(CHUNK_BYTES, 2 * CHUNK_BYTES, len(NOISE))
    sealed = LONG[one.start : one.stop]
    for key, asset, app in ((Key.new(), ASSET, APP), (KEY, b"asset-X123456789", APP), (KEY, ASSET, "talentedi")):
        with pytest.raises(Tampered):  # another key, another asset's, another app's
            open_range(key, asset, app, header=header, sealed=sealed, plan=one)
    for foreign in (LONG[HEADER_BYTES:][:SEALED_CHUNK], seal(KEY, ASSET, APP, NOISE)[one.start : one.stop]):
        with pytest.raises(Tampered):  # another place's, another stream's
            open_range(KEY, ASSET, APP, header=header, sealed=foreign, plan=one)
    for start, stop in ((-1, 1), (1, 1), (0, len(NOISE) + 1)):
        with pytest.raises(ValueError, match="expected a range within"):
            range_plan(start, stop, len(NOISE))


def test_the_plaintext_held_back_is_wiped():
    for end in (Sealer.final, Sealer.wipe):
        sealer = Sealer(KEY, ASSET, APP)
        sealer.update(b"face" * 100)
        end(sealer)
        assert not any(sealer._pending)


@pytest.mark.parametrize("size", [0, 1, 2, 100_000])
def test_a_blank_is_bytes_of_its_own_until_it_is_handed_out(size):
    first, second = Blank(size), Blank(size)
    first.view[:], second.view[:] = b"a" * size, b"b" * size
    assert (first.finish(), second.finish()) == (b"a" * size, b"b" * size)
    made = blank(size)
    made[:] = b"c" * size
    assert made == b"c" * size


DOCS = (Path(__file__).parents[2] / "docs" / "sealing.md").read_text()
VECTOR = "4d41594601000200005dd8cd0f4b8bbd46492b7062ab35df0fdde70ed8d73fea7aaea306e553b1f3db09831f287263c0d54dbf9807ac"
EMPTY_VECTOR = "4d4159460100020000cdddf89e81d793a02f6721adebc325b7378ade9086c569db76a547815fe0a8a286caf8e1e3f325"


def test_old_bytes_still_open():
    assert opened(bytes.fromhex(VECTOR)) == b"a face"
    assert opened(bytes.fromhex(EMPTY_VECTOR)) == b""
    assert VECTOR in DOCS
    assert EMPTY_VECTOR in DOCS


def test_a_reader_written_from_the_document_alone_opens_it():
    header, body = LONG[:32], LONG[32:]
    assert header[:9] == b"MAYF\x01" + (131072).to_bytes(4, "big")
    info = b"mayfly/derive/1/stream" + header + len(ASSET).to_bytes(4, "big") + ASSET + APP.encode()
    aes = AESGCM(HKDF(SHA256(), 32, header[16:], info).derive(bytes(range(32))))
    chunks = [body[i : i + 131088] for i in range(0, len(body), 131088)]
    plain = b"".join(
        aes.decrypt(header[9:16] + i.to_bytes(4, "big") + bytes([i == len(chunks) - 1]), chunk, None)
        for i, chunk in enumerate(chunks)
    )
    assert plain == NOISE
