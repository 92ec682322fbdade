"""Whoever has every record that was ever written to `keys`, every file that lives in the root store, and the code."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

from stream.vault.keynode import ROOT, DamagedTree, Level, Node, unseal, wrapped_key
from stream.vault.rootstore import RootGone, RootStore
from tests.simulated.kafka import Entry

Found = set[tuple[bytes, bytes]]
"""(entry, key)"""


class Attacker:
    """Keeps what it read, and what it could not open until it found another key."""

    def __init__(self, place: bytes) -> None:
        self._place = place
        self._opened: dict[tuple[bytes, bytes, bytes], Node | None] = {}

    async def open(self, history: Iterable[Entry], roots: RootStore) -> Found:
        """Every key that these records give away, under any root version that still unwraps."""
        records: dict[bytes, set[bytes]] = defaultdict(set)
        for entry in history:
            if entry.key is not None and len(entry.key) == len(ROOT) and entry.value:
                records[entry.key].add(entry.value)
        todo = {(ROOT, key) for key in [await self._unwrapped(record, roots) for record in records[ROOT]] if key}
        found: Found = set()
        seen = set(todo)
        while todo:
            node_id, key = todo.pop()
            for record in records[node_id]:
                if (node := self._node(node_id, key, record)) is None:
                    continue
                entries = set(node.entries())
                if node.level == Level.LEAF:
                    found |= entries
                else:
                    todo |= entries - seen
                    seen |= entries
        return found

    @staticmethod
    async def _unwrapped(record: bytes, roots: RootStore) -> bytes | None:
        try:
            return await roots.unwrap(wrapped_key(record))
        except RootGone:
            return None

    def _node(self, node_id: bytes, key: bytes, record: bytes) -> Node | None:
        asked = node_id, key, record
        if asked not in self._opened:
            try:
                self._opened[asked] = unseal(node_id, key, record, self._place)
            except DamagedTree:
                self._opened[asked] = None
        return self._opened[asked]
