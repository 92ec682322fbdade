"""The tamper-evident log of one partition, as its owner holds it: append, settle, serve. Rebuilt by replaying `audit`.

Each change returns an `Entry` to be written to the co-partitioned `audit` topic in the ledger's transaction. Nothing is
served of what is not settled: a checkpoint over a leaf whose transaction is then lost would contradict the next one,
and a log that contradicts itself is caught cheating. A change cannot be taken back: an owner whose commit fails exits.

The leaves themselves are kept for those who read the log (tiles.py) as bundles of 256, compressed: a grant's takes 40
bytes, since nearly all of it is its hash.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import ClassVar

import msgspec

from stream.audit.bundles import Bundles
from stream.audit.checkpoint import Checkpoint, origin_of, sign_note
from stream.audit.disclosures import Disclosure
from stream.audit.grants import Grant
from stream.audit.holds import Held, Released
from stream.audit.leaves import Leaf, WrongLeaf, decode
from stream.audit.merkle import Tree
from stream.audit.operated import Operated
from stream.audit.receipt_file import Evidence, Proof, ReceiptFile
from stream.audit.receipts import Absent, Covered, Erasure, Receipt, canonical, locate, tree_of
from stream.audit.signer import Signer, key_id
from stream.audit.signing_key import SigningKey
from stream.audit.tiles import ENTRIES, HEIGHT, SIGNATURES, WIDTH, Tile, UnknownTile
from stream.errors import BrokenPromise


class BrokenLog(BrokenPromise):
    """The `audit` topic does not hold every leaf in order: a checkpoint over it would contradict those served."""

    kind: ClassVar[str] = "audit-log-broken"


class Entry(msgspec.Struct, frozen=True):
    """One record of the `audit` topic: a leaf, and what it takes to serve it. msgpack on Kafka."""

    index: int
    leaf: bytes
    signature: bytes = b""
    covered: tuple[Covered, ...] = ()


class Log:
    """A partition's log. Memory: 110 bytes a leaf, 1.2 kB a receipt, 140 bytes a covered asset."""

    def __init__(self, partition: int, signer: Signer) -> None:
        self.partition, self._signer = partition, signer
        self._tree = Tree()
        self._settled = 0
        self._receipts: dict[int, tuple[Receipt, Entry]] = {}
        self._absents: dict[int, tuple[Absent, Entry]] = {}  # by the index of the receipt it completes
        self._where: dict[bytes, int] = {}  # commitment → index of its receipt
        self._keys: list[tuple[int, str]] = []  # (index of the leaf that names it, key id), ascending
        self._disclosed: set[str] = set()  # commitments of the cases that handed something out
        self._cases: dict[str, float] = {}  # hold's commitment → its end; 0 once it was released
        self._entries, self._signatures = Bundles(), Bundles()
        self._covered_tree: tuple[int, Tree] | None = (
            None  # of the receipt last made or served: its paths come in bursts
        )

    def __len__(self) -> int:
        return len(self._tree)

    def replay(self, entry: Entry) -> None:
        """Take in a committed entry, in order. Raises BrokenLog for a gap or what is no leaf."""
        if entry.index != len(self):
            raise BrokenLog(
                f"expected leaf {len(self)} of the log, got {entry.index}: replay `audit` from its beginning"
            )
        try:
            self._append(decode(entry.leaf, entry.index), entry)
        except WrongLeaf as error:
            raise BrokenLog(str(error)) from error
        self.settle(len(self))

    def erased(self, erasure: Erasure, covered: Sequence[Covered]) -> Entry:
        """The receipt of an erasure (at t_unreadable), signed and appended. `covered`: a portion of `portions`."""
        tree = tree_of(covered)
        receipt = Receipt(
            **{name: getattr(erasure, name) for name in Erasure.__struct_fields__},
            partition=self.partition,
            merkle_root=tree.root().hex(),
            count=len(tree),
            key_id=self.key_id,
        )
        self._covered_tree = len(self), tree
        return self._signed(receipt, tuple(covered))

    def absent(self, erased_index: int, t_gone_ms: int) -> Entry:
        """Complete a receipt (at t_gone): its objects are verified absent."""
        receipt_hash = self._tree.leaf(erased_index).hex()
        return self._signed(
            Absent(
                partition=self.partition,
                erased_index=erased_index,
                erased_hash=receipt_hash,
                t_gone_ms=t_gone_ms,
                key_id=self.key_id,
            )
        )

    def grant(self, leaf: Grant) -> Entry:
        """Append a leaf of access: its commit comes before the key is released."""
        return self._append(leaf, Entry(len(self), canonical(leaf)))

    def held(self, leaf: Held | Released) -> Entry:
        """Append a leaf of a legal hold, in the commit that moves its keys or lets them go."""
        return self._append(leaf, Entry(len(self), canonical(leaf)))

    def disclosed(self, leaf: Disclosure) -> Entry:
        """Append a leaf of a disclosure, in the commit before anything is handed out."""
        return self._append(leaf, Entry(len(self), canonical(leaf)))

    def operated(self, leaf: Operated) -> Entry:
        """Append a leaf of what an operator did by hand, in the commit that does it."""
        return self._append(leaf, Entry(len(self), canonical(leaf)))

    def case_disclosed(self, case: str) -> bool:
        """Whether this case (hex of its commitment) handed something out."""
        return case in self._disclosed

    def case_known(self, case: str) -> bool:
        """Whether this case (hex of its commitment) was ever opened here."""
        return case in self._cases

    def case_until(self, case: str) -> float:
        """When an open case ends, epoch seconds; 0 for one that was released, or is not known here."""
        return self._cases.get(case, 0.0)

    @property
    def key_id(self) -> str:
        """Of the key that signs the next leaf."""
        return self._key_id(len(self))

    @property
    def settled_key_id(self) -> str:
        """Of the key that signs what is served."""
        return self._key_id(self._settled)

    def adopt(self, signer: Signer) -> bool:
        """Sign with this signer's present key as soon as `name_key` said so: whether that is to be done."""
        self._signer = signer
        return not self._keys or self.key_id != signer.key_id

    def name_key(self) -> Entry:
        """The leaf that names the present key, signed by the one before it; the first names itself."""
        named = SigningKey(partition=self.partition, public=self._signer.public.hex(), key_id=self.key_id)
        return self._signed(named)

    def settle(self, size: int) -> None:
        """The first `size` leaves are committed, and may be served."""
        self._settled = max(self._settled, size)

    def checkpoint(self) -> str:
        """The signed checkpoint over all settled leaves (a C2SP signed note)."""
        origin, signer = origin_of(self.partition), self._signer.under(self.settled_key_id)
        return sign_note(Checkpoint(origin, self._settled, self._tree.root(self._settled)).text(), origin, signer)

    def tile(self, tile: Tile) -> bytes:
        """A file of the log's published layout. Raises UnknownTile for what is not settled."""
        start, end = tile.index * WIDTH, tile.index * WIDTH + tile.width
        if end > self._settled >> HEIGHT * tile.level:
            raise UnknownTile("expected a tile of the log as its checkpoint has it: it has not grown that far")
        if tile.kind == ENTRIES:
            return self._entries.read(start, tile.width)
        if tile.kind == SIGNATURES:
            return self._signatures.read(start, tile.width)
        return self._tree.subtrees(HEIGHT * tile.level, start, tile.width)

    def consistency_proof(self, old: int) -> list[bytes]:
        """Proof that the settled log begins with its first `old` leaves. Raises IndexError if it is not that long."""
        return self._tree.consistency_proof(old, self._settled)

    def covering(self, commitment: bytes) -> int | None:
        """The index of the receipt that covers this commitment, if one does."""
        return self._where.get(commitment)

    def completed(self, receipt: int) -> bool:
        """Whether the leaf "absent" of this receipt is in the log."""
        return receipt in self._absents

    def incomplete(self) -> list[int]:
        """The receipts whose objects were never said to be absent."""
        return [index for index in self._receipts if index not in self._absents]

    def receipt_file(self, commitment: bytes) -> bytes | None:
        """What is served for an asset's commitment, or None: not erased, or not settled."""
        index = self._where.get(commitment)
        if index is None or index >= self._settled:
            return None
        receipt, entry = self._receipts[index]
        found = locate(entry.covered, commitment)
        assert found is not None
        group, at = found
        if self._covered_tree is None or self._covered_tree[0] != index:
            self._covered_tree = index, tree_of(entry.covered)
        path = self._covered_tree[1].inclusion_proof(at)
        absent = self._absents.get(index)
        names = {self.settled_key_id, receipt.key_id}
        if absent is not None and absent[1].index < self._settled:
            names.add(absent[0].key_id)
        else:
            absent = None
        return ReceiptFile(
            keys={name: base64.b64encode(self._signer.public_of(name)).decode() for name in sorted(names)},
            commitment=commitment.hex(),
            data_class=group.data_class,
            deadline_ms=group.deadline_ms,
            path=Proof(at, [each.hex() for each in path]),
            checkpoint=self.checkpoint(),
            erased=self._evidence(entry),
            absent=None if absent is None else self._evidence(absent[1]),
        ).encode()

    def _signed(self, statement: Receipt | Absent | SigningKey, covered: tuple[Covered, ...] = ()) -> Entry:
        leaf = canonical(statement)
        return self._append(statement, Entry(len(self), leaf, self._signer.under(statement.key_id).sign(leaf), covered))

    def _key_id(self, size: int) -> str:
        """Of the key that the first `size` leaves name last; a log that names none is signed by the present one."""
        return next((name for index, name in reversed(self._keys) if index < size), self._signer.key_id)

    def _append(self, leaf: Leaf, entry: Entry) -> Entry:
        self._tree.append(entry.leaf)
        self._entries.append(entry.leaf)
        self._signatures.append(entry.signature)
        if isinstance(leaf, Receipt):
            self._receipts[entry.index] = leaf, entry
            self._where.update((each, entry.index) for group in entry.covered for each in group)
        elif isinstance(leaf, Held):
            self._cases[leaf.case] = leaf.until_ms / 1000
        elif isinstance(leaf, Released):
            self._cases[leaf.case] = 0.0
        elif isinstance(leaf, Disclosure):
            self._disclosed.add(leaf.case)
        elif isinstance(leaf, Absent):
            self._absents[leaf.erased_index] = leaf, entry
        elif isinstance(leaf, SigningKey):
            self._keys.append((entry.index, key_id(bytes.fromhex(leaf.public))))
        return entry

    def _evidence(self, entry: Entry) -> Evidence:
        proof = self._tree.inclusion_proof(entry.index, self._settled)
        return Evidence(
            statement=msgspec.Raw(entry.leaf),
            signature=base64.b64encode(entry.signature).decode(),
            log=Proof(entry.index, [each.hex() for each in proof]),
        )
