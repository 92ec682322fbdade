"""Whoever has old copies of Kafka and of the object store, a root store, every key that is still held, and the code.

Nothing is asked of a running Kafka or S3: segments and volumes are read as files. Where the tree gives a data key away,
everything that it could open is tried.
"""

from __future__ import annotations

import base64
import contextlib
import itertools
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aiokafka.record.memory_records import MemoryRecords

from stream import topics
from stream.events.bus import bus
from stream.events.codec import Codec, Undecodable
from stream.events.rows import rows
from stream.ids import entry_of
from stream.vault.keynode import DamagedTree, unseal
from stream.vault.record import open_body
from stream.vault.rootstore import RootStore
from stream.vault.secret import Key, Tampered
from stream.vault.stream_seal import open_
from tests.chaos.attacker import Attacker as OfTrees
from tests.chaos.attacker import Found

MAGIC = b"MAYF\x01"
BODIES = frozenset({topics.LEDGER, topics.PARKED, *topics.EVENTS})
SIZE_BYTES = 4  # of the length that SeaweedFS writes before what it stores
_PARTITION = re.compile(r"(.+)-(\d+)(?:\.[0-9a-f]+-delete)?")


@dataclass(frozen=True)
class Record:
    """One record of a segment, whatever became of its transaction."""

    topic: str
    partition: int
    key: bytes
    value: bytes
    headers: bytes


def segments(kafka: Path) -> Iterator[Record]:
    """Every record in a broker's folder; of segments that were cleaned or deleted too, while they lie there."""
    for path in sorted(kafka.glob("*/*.log*")):
        named = _PARTITION.fullmatch(path.parent.name)
        if named is None or named[1].startswith("__"):
            continue
        batches = MemoryRecords(path.read_bytes())
        while batches.has_next():
            batch = batches.next_batch()
            if batch is not None and not batch.is_control_batch:
                for record in batch:
                    headers = b"".join(name.encode() + (value or b"") for name, value in record.headers)
                    yield Record(named[1], int(named[2]), record.key or b"", record.value or b"", headers)


def streams(volumes: Path) -> set[bytes]:
    """Every sealed stream in an object store's files; of objects that were deleted too, while they lie there."""
    found = set()
    for path in volumes.rglob("*"):
        raw = path.read_bytes() if path.is_file() else b""
        for at in (each.start() for each in re.finditer(re.escape(MAGIC), raw)):
            found.add(raw[at : at + int.from_bytes(raw[max(0, at - SIZE_BYTES) : at], "big")])
    return found


def held_keys(*places: Path) -> set[bytes]:
    """Whatever in these files could be a key: 32 bytes, raw, in hex or in base64."""
    found: set[bytes] = set()
    for raw in (path.read_bytes() for each in places for path in (each, *each.rglob("*")) if path.is_file()):
        found |= {raw} if len(raw) == 32 else set()
        found |= {bytes.fromhex(text.decode()) for text in re.findall(rb"(?<![0-9a-f])[0-9a-f]{64}(?![0-9a-f])", raw)}
        for text in re.findall(rb"(?<![\w+/])[\w+/]{43}=?", raw):
            with contextlib.suppress(ValueError):
                found.add(base64.b64decode(text[:43] + b"=", altchars=b"-_" if b"_" in text else None))
    return found


@dataclass
class Loot:
    """What opened: the entries whose data keys were found, and each plaintext beside the entry that it belongs to."""

    entries: set[bytes] = field(default_factory=set)
    rows: set[tuple[bytes, bytes]] = field(default_factory=set)
    events: set[tuple[bytes, bytes]] = field(default_factory=set)
    media: set[tuple[bytes, bytes]] = field(default_factory=set)

    def has(self, canary: bytes) -> bool:
        """Whether any plaintext contains it."""
        return any(canary in plain for kind in (self.rows, self.events, self.media) for _, plain in kind)


class Attacker:
    """`copies`: folders as they were at some moments, each with `kafka` and `s3`. `apps`: the code tells them."""

    def __init__(self, copies: Iterable[Path], apps: Iterable[str]) -> None:
        self._copies = copies = tuple(copies)
        self.records = {record for copy in copies for record in segments(copy / "kafka")}
        self.streams = {stream for copy in copies for stream in streams(copy / "s3")}
        self._apps = tuple(apps)

    async def open(self, roots: Callable[[int], RootStore], guesses: Iterable[bytes] = ()) -> Loot:
        """What opens with these root stores; each of `guesses` is tried as a key of any node, row and stream."""
        guesses = frozenset(guesses)
        keys: Found = {(entry_of(each), guess) for guess in guesses for each in self.ids()}
        loot = Loot()
        for partition in {node.partition for node in self._of(topics.KEYS)}:
            nodes = [node for node in self._of(topics.KEYS) if node.partition == partition]
            place = f"keys/{partition}".encode()
            found = await OfTrees(place).open(nodes, roots(partition))
            found |= {entry for node in nodes for guess in guesses for entry in _opened(node, guess, place)}
            loot.entries |= {entry for entry, _ in found}
            keys |= found
        for record in self.records:
            if record.topic in BODIES:
                self._body(record, {key for _, key in keys}, loot)
        for sealed, (entry, key), app in itertools.product(self.streams, keys, self._apps):
            with contextlib.suppress(Tampered):
                loot.media.add((entry, bytes(open_(Key(key), entry, app, sealed).view)))
        return loot

    def in_clear(self, texts: Iterable[bytes]) -> set[bytes]:
        """Which of these can be read without any key: in any file of the copies, or in a record that was compressed."""
        texts = set(texts)
        parts = (part for record in self.records for part in (record.key, record.value, record.headers))
        files = (path.read_bytes() for copy in self._copies for path in copy.rglob("*") if path.is_file())
        return {text for raw in itertools.chain(parts, files) for text in texts if text in raw}

    def ids(self) -> set[str]:
        """Every id of ours that is the key of a row: in clear, as tombstones are."""
        return {record.key.decode() for record in self._of(topics.LEDGER) if record.key[3:4] == b"_"}

    def _of(self, topic: str) -> Iterator[Record]:
        return (record for record in self.records if record.topic == topic)

    @staticmethod
    def _body(record: Record, keys: set[bytes], loot: Loot) -> None:
        codec: Codec[Any] = rows if record.topic == topics.LEDGER else bus
        try:
            _, sealed = codec.decode(record.value)
        except Undecodable:
            return  # a tombstone, or what was parked because it is none of ours
        for key in keys if sealed else ():
            with contextlib.suppress(Tampered):
                plain = open_body(Key(key), sealed, record.key)
                (loot.rows if codec is rows else loot.events).add((entry_of(record.key.decode()), plain))


def _opened(node: Record, key: bytes, place: bytes) -> Found:
    try:
        opened = unseal(node.key, key, node.value, place)
    except DamagedTree:
        return set()
    return set(opened.entries())
