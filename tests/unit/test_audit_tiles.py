"""The layout of tlog-tiles: paths, bundles, and what a log serves of itself."""

import hashlib
import itertools
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream.audit.checkpoint import Checkpoint, parse_note, sign_note
from stream.audit.grants import Grant
from stream.audit.log import Log
from stream.audit.merkle import Tree, leaf_hash, node_hash
from stream.audit.signer import Signer
from stream.audit.tiles import (
    ENTRIES,
    MAX_ENTRY_BYTES,
    SIGNATURES,
    WIDTH,
    Tile,
    TruncatedBundle,
    UnknownTile,
    bundle,
    hashes,
    parse_path,
    tiles,
    unbundle,
)

SIGNER = Signer(b"s" * 32)
VECTORS = Path(__file__).parents[1] / "vectors" / "tlog_tiles.json"


def log_of(size):
    log = Log(3, SIGNER)
    log.name_key()
    for n in range(size - 1):
        log.grant(Grant(commitment=f"{n:064x}"))
    log.settle(size)
    return log


@pytest.mark.parametrize(
    ("tile", "path"),
    [
        (Tile("0", 0), "tile/0/000"),
        (Tile("0", 1234067), "tile/0/x001/x234/067"),  # the specification's own example
        (Tile("1", 5, 16), "tile/1/005.p/16"),
        (Tile(ENTRIES, 999), "tile/entries/999"),
        (Tile(ENTRIES, 1000, 1), "tile/entries/x001/000.p/1"),
        (Tile(SIGNATURES, 7, 255), "tile/signatures/007.p/255"),
    ],
)
def test_paths_are_those_of_the_specification(tile, path):
    assert tile.path == path
    assert parse_path(path) == tile


@pytest.mark.parametrize(
    "path",
    [
        "",
        "checkpoint",
        "tile/0/0",
        "tile/00/000",
        "tile/6/000",
        "tile/0/x000/001",
        "tile/0/1000",
        "tile/0/000.p/0",
        "tile/0/000.p/256",
        "tile/0/000.p/007",
        "tile/0/001/067",
        "tile/0/x001/067.p/",
        "tile/entries/000/",
        "tile/0/٠٠٠",
        "tile/data/000",
        "tile/0/../000",
    ],
)
def test_every_other_spelling_is_no_tile(path):
    with pytest.raises(UnknownTile):
        parse_path(path)


@given(st.sampled_from(["0", "3", ENTRIES, SIGNATURES]), st.integers(0, 10**12), st.integers(1, WIDTH))
def test_a_path_comes_back(kind, index, width):
    assert parse_path(Tile(kind, index, width).path) == Tile(kind, index, width)


@given(st.integers(0, 200_000), st.integers(0, 200_000))
def test_what_grew_is_what_the_smaller_log_lacks(one, other):
    old, size = sorted((one, other))
    assert set(tiles(size, old)) == set(tiles(size)) - set(tiles(old))
    assert not list(tiles(size, size))


def test_the_tiles_of_a_log_of_70000():
    found = [tile.path for tile in tiles(70_000)]
    assert found[0] == "tile/entries/000"
    assert found[-3:] == ["tile/1/000", "tile/1/001.p/17", "tile/2/000.p/1"]
    assert len(found) == 3 * 274 + 3


@given(st.lists(st.binary(max_size=300), max_size=WIDTH))
def test_a_bundle_comes_back_and_no_cut_goes_unseen(entries):
    raw = bundle(entries)
    assert unbundle(raw, len(entries)) == entries
    for cut in {0, 1, 2, len(raw) // 2, len(raw) - 1}:
        if 0 <= cut < len(raw):
            with pytest.raises(TruncatedBundle):
                unbundle(raw[:cut], len(entries))


def test_a_bundle_of_another_length_is_refused():
    with pytest.raises(TruncatedBundle, match="expected a bundle of 2 entries, got 1"):
        unbundle(bundle([b"a"]), 2)
    with pytest.raises(TruncatedBundle, match="within a length"):
        unbundle(b"\x00", 1)
    with pytest.raises(TruncatedBundle, match="64 bytes"):
        hashes(bytes(63), 2)
    with pytest.raises(ValueError, match="65535"):
        bundle([bytes(MAX_ENTRY_BYTES + 1)])


@pytest.mark.parametrize("size", [1, 255, 256, 257, 600])
def test_a_log_serves_its_own_leaves_and_hashes(size):
    log, tree = log_of(size), Tree()
    leaves = list(
        itertools.chain.from_iterable(
            unbundle(log.tile(tile), tile.width) for tile in tiles(size) if tile.kind == ENTRIES
        )
    )
    for leaf in leaves:
        tree.append(leaf)
    assert tree.root() == parse_note(log.checkpoint()).root
    assert b"".join(log.tile(tile) for tile in tiles(size) if tile.kind == "0") == b"".join(map(leaf_hash, leaves))
    signatures = unbundle(log.tile(Tile(SIGNATURES, 0, min(size, WIDTH))), min(size, WIDTH))
    assert [len(each) for each in signatures] == [64] + [0] * (len(signatures) - 1)


def test_a_tile_of_level_1_holds_the_roots_of_those_below():
    log = log_of(600)
    below = [hashes(log.tile(Tile("0", n)), WIDTH) for n in range(2)]

    def root(row):
        return row[0] if len(row) == 1 else root([node_hash(*row[n : n + 2]) for n in range(0, len(row), 2)])

    assert hashes(log.tile(Tile("1", 0, 2)), 2) == [root(row) for row in below]


def test_any_part_of_a_tile_that_is_there_is_served_and_no_more():
    log = log_of(300)
    for kind in ("0", ENTRIES, SIGNATURES):
        assert log.tile(Tile(kind, 0)).startswith(log.tile(Tile(kind, 0, 100)))
        assert log.tile(Tile(kind, 1, 44)).startswith(log.tile(Tile(kind, 1, 43)))
        for beyond in (Tile(kind, 1, 45), Tile(kind, 1), Tile(kind, 2, 1)):
            with pytest.raises(UnknownTile):
                log.tile(beyond)
    with pytest.raises(UnknownTile):
        log.tile(Tile("1", 0, 2))
    with pytest.raises(UnknownTile):
        log.tile(Tile("4", 0, 1))


def test_nothing_unsettled_is_in_a_tile():
    log = log_of(10)
    log.grant(Grant(commitment="00"))
    with pytest.raises(UnknownTile):
        log.tile(Tile("0", 0, 11))
    with pytest.raises(UnknownTile):
        log.tile(Tile(ENTRIES, 0, 11))
    log.settle(11)
    assert len(log.tile(Tile("0", 0, 11))) == 11 * 32


def test_an_independent_implementation_makes_the_same_files():
    """See `provenance` in the vectors."""
    wanted = json.loads(VECTORS.read_bytes())["sha256"]
    size = 70_000
    entries = [bytes([n % 256]) * (n % 300) for n in range(size)]
    tree, found = Tree(entries), {}
    for head in (1, 256, 600, size):
        text = Checkpoint("mayfly/3", head, tree.root(head)).text()
        found[f"checkpoint of {head}"] = sign_note(text, "mayfly/3", SIGNER).encode()
        found[f"consistency from {head}"] = b"".join(tree.consistency_proof(head))
    for tile in tiles(size):
        if tile.path in wanted and tile.kind == ENTRIES:
            found[tile.path] = bundle(entries[tile.index * WIDTH :][: tile.width])
        elif tile.path in wanted:
            found[tile.path] = tree.subtrees(8 * tile.level, tile.index * WIDTH, tile.width)
    assert {name: hashlib.sha256(raw).hexdigest() for name, raw in found.items()} == wanted
