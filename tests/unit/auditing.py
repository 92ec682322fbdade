"""A log with everything in it, and a copy of it to spoil."""

import os

from stream.audit.checkpoint import Checkpoint, origin_of, sign_note
from stream.audit.grants import Grantee, grant
from stream.audit.log import Log
from stream.audit.merkle import Tree
from stream.audit.receipts import Cause, Covered, Erasure, commitment
from stream.audit.signer import Signer
from stream.audit.tiles import CHECKPOINT, ENTRIES, SIGNATURES, WIDTH, Tile, bundle, tiles, unbundle
from stream.ids import Kind, Mint

PARTITION = 3
FIRST_SEED, SECOND_SEED = b"1" * 32, b"2" * 32
FIRST = Signer(FIRST_SEED)
SECOND = Signer(SECOND_SEED, {FIRST.key_id: FIRST.public}, [FIRST_SEED])
ASSET = Mint(bytes(32), 4).mint(Kind.ASSET, "tenant", PARTITION)
SALT = b"s" * 16
DUE_MS = 1_700_000_000_000
COVERED = commitment(SALT, ASSET, "face_image", DUE_MS)


def erasure(offset, **changes):
    fields = {
        "app": "genzo",
        "cause": Cause.DEADLINE,
        "root_version": f"file:v{2 + max(0, offset)}",
        "root_claim": "file: weaker",
        "keys_offset": offset,
        "t_hidden_ms": DUE_MS + offset,
        "t_unreadable_ms": DUE_MS + offset + 5,
        "policy_hash": "ab" * 32,
    }
    return Erasure(**fields | changes)


def grants(log, count):
    for n in range(count):
        log.grant(grant(os.urandom(16), ASSET, Grantee.ENGINE, n))


def log_of(*, more=300, rotated=True):
    """Keys, receipts, absences, grants: 8 leaves and `more`."""
    log = Log(PARTITION, FIRST)
    log.name_key()
    log.erased(erasure(10), [Covered.of("face_image", DUE_MS, [COVERED])])
    log.grant(grant(SALT, ASSET, Grantee.GATEWAY_READ, DUE_MS))
    log.absent(1, DUE_MS + 100)
    if rotated:
        log.adopt(SECOND)
        log.name_key()
    log.erased(erasure(20), [Covered.of("result", DUE_MS, [os.urandom(32)])])
    log.erased(erasure(-1), [Covered.of("result", DUE_MS, [os.urandom(32)])])
    grants(log, more)
    log.absent(len(log) - more - 2, DUE_MS + 200)
    log.settle(len(log))
    return log


class Copy(dict):
    """Path → bytes, as a log serves them: `audit(copy.get)`."""

    @classmethod
    def of(cls, log):
        note = log.checkpoint().encode()
        size = int(note.split(b"\n")[1])
        return cls({CHECKPOINT: note} | {tile.path: log.tile(tile) for tile in tiles(size)})

    def leaves(self, kind=ENTRIES):
        size = int(self[CHECKPOINT].split(b"\n")[1])
        return [each for tile in tiles(size) if tile.kind == kind for each in unbundle(self[tile.path], tile.width)]

    def put(self, leaves, signatures, signer=SECOND):
        """What an operator who holds the key would publish: everything made anew."""
        self.clear()
        tree = Tree(leaves)
        for kind, rows in ((ENTRIES, leaves), (SIGNATURES, signatures)):
            for start in range(0, len(rows), WIDTH):
                row = rows[start : start + WIDTH]
                self[Tile(kind, start // WIDTH, len(row)).path] = bundle(row)
        for tile in tiles(len(leaves)):
            if tile.kind.isdecimal():
                self[tile.path] = tree.subtrees(8 * tile.level, tile.index * WIDTH, tile.width)
        origin = origin_of(PARTITION)
        self[CHECKPOINT] = sign_note(Checkpoint(origin, len(leaves), tree.root()).text(), origin, signer).encode()
        return self
