"""The tree against a plain dict, whatever happens to it; and a tree that forgot against one that never knew."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stream.vault.keynode import ENTRY_BYTES, ROOT, Level
from stream.vault.keytree import KeyTree, wrapped_root

PLACE = b"keys/0"
FAN = 3
PLACES = [(group, bucket) for group in (b"genzo/face", b"genzo/result") for bucket in (b"100", b"160", b"220")]

places = st.sampled_from(PLACES)
numbers = st.integers(0, 99)
changes = st.one_of(
    st.tuples(st.just("insert"), places, st.integers(1, 9)),
    st.tuples(st.just("erase"), numbers, st.integers(1, 4)),
    st.tuples(st.just("move"), numbers, places),
    st.tuples(st.just("drop"), places, st.none()),
    st.tuples(st.just("commit"), st.none(), st.none()),
)
relaxed = settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))


@dataclass
class Model:
    """A tree, the topic that it is written to, and the dict that it should be like."""

    tree: KeyTree = field(default_factory=lambda: KeyTree(PLACE, fan=FAN))
    topic: dict[bytes, bytes] = field(default_factory=dict)
    roots: dict[bytes, bytes] = field(default_factory=dict)
    dict_: dict[bytes, tuple[tuple[bytes, bytes], bytes, bytes]] = field(default_factory=dict)  # place, page, key
    made: int = 0

    def insert(self, place: tuple[bytes, bytes], count: int) -> list[bytes]:
        entries = []
        for _ in range(count):
            self.made += 1
            entry, key = b"e%015d" % self.made, b"k%031d" % self.made
            self.dict_[entry] = place, self.tree.insert(*place, entry, key), key
            entries.append(entry)
        return entries

    def erase(self, entry: bytes) -> None:
        assert self.tree.erase(self.dict_.pop(entry)[1], entry)

    def move(self, entry: bytes, place: tuple[bytes, bytes]) -> None:
        _, page, key = self.dict_.pop(entry)
        moved = self.tree.move(page, entry, *place)
        assert moved is not None
        self.dict_[entry] = place, moved, key

    def drop(self, place: tuple[bytes, bytes]) -> None:
        inside = [entry for entry, row in self.dict_.items() if row[0] == place]
        assert self.tree.drop(*place) == len(inside)
        for entry in inside:
            del self.dict_[entry]

    def change(self, what: str, a: object, b: object) -> None:
        """One of `changes`; nothing where there is nothing to do it to."""
        if what == "insert":
            self.insert(a, b)
        elif what == "drop":
            self.drop(a)
        elif what == "commit":
            self.commit()
            self.reload()
        elif self.dict_ and what == "move":
            self.move(self.pick(a), b)
        elif what == "erase":
            for _ in range(min(b, len(self.dict_))):
                self.erase(self.pick(a))

    def pick(self, n: int) -> bytes:
        return list(self.dict_)[n % len(self.dict_)]

    def commit(self) -> None:
        staged = self.tree.stage()
        wrapped = b"%d" % (len(self.roots) + 1) if staged.erasing else None
        if wrapped is not None:
            self.roots[wrapped] = staged.root_key
        self.topic |= staged.records(wrapped)
        for node_id in self.tree.bury(4):
            self.topic.pop(node_id, None)

    def reload(self) -> None:
        wrapped = wrapped_root(self.topic)
        self.tree = KeyTree.load(PLACE, self.roots[wrapped], self.topic, fan=FAN)

    def bury(self) -> None:
        """Until nothing of the dead is left."""
        self.commit()
        while self.tree._garbage:
            self.commit()

    def check(self) -> None:
        for entry, (_, page, key) in self.dict_.items():
            assert self.tree.get(page, entry) == key
        assert self.tree.count() == len(self.dict_)
        assert set(self.tree.places()) == {place for place, _, _ in self.dict_.values()}
        for node in self.tree._nodes.values():
            assert len(node.body) <= FAN * ENTRY_BYTES or node.level >= Level.GROUP
            assert node.body or node.id == ROOT
            assert node.parent is None or node.parent.get(node.id) == node.key


def canonical(tree: KeyTree) -> dict[tuple[bytes, bytes], dict[bytes, bytes]]:
    """What a tree says: which keys lie in which bucket of which group. Left out, and residues therefore: ids of nodes
    and how entries are spread over the pages of their bucket, which depend on what once lay between them."""
    said: dict[tuple[bytes, bytes], dict[bytes, bytes]] = defaultdict(dict)
    for node in tree._nodes.values():
        if node.level == Level.LEAF:
            assert node.parent is not None
            assert node.parent.parent is not None
            said[node.parent.parent.label, node.parent.label] |= dict(node.entries())
    return dict(said)


@relaxed
@given(st.lists(changes, max_size=40))
def test_any_sequence_of_changes_leaves_what_a_dict_would_hold(sequence: list[tuple[str, object, object]]) -> None:
    model = Model()
    model.commit()
    for what, a, b in sequence:
        model.change(what, a, b)
        model.check()
    model.commit()
    model.reload()
    model.check()


@relaxed
@given(st.lists(changes, max_size=40))
def test_once_buried_the_topic_holds_the_living_nodes_and_no_other(sequence: list[tuple[str, object, object]]) -> None:
    model = Model()
    model.commit()
    for what, a, b in sequence:
        model.change(what, a, b)
    model.bury()
    assert set(model.topic) == set(model.tree._nodes)


steps = st.lists(st.tuples(places, st.booleans(), st.integers(1, 6), st.booleans()), min_size=1, max_size=20)


@relaxed
@given(steps, st.randoms(use_true_random=False))
def test_a_tree_that_forgot_says_what_one_says_that_never_knew(
    steps: list[tuple[tuple[bytes, bytes], bool, int, bool]], order: object
) -> None:
    forgot, never, doomed = Model(), Model(), []
    for place, kept, count, commits in steps:
        entries = forgot.insert(place, count)
        if kept:
            never.made = forgot.made - count
            never.insert(place, count)
        else:
            doomed += entries
        if commits:
            forgot.commit()
            never.commit()
    order.shuffle(doomed)
    for n, entry in enumerate(doomed):
        if n % 3 == 0:  # some go by way of another bucket
            forgot.move(entry, PLACES[n % len(PLACES)])
        forgot.erase(entry)
        if n % 5 == 0:
            forgot.commit()
    for model in (forgot, never):
        model.bury()
        model.reload()
    assert canonical(forgot.tree) == canonical(never.tree)
    for node in forgot.tree._nodes.values():
        assert not [entry for entry in doomed if entry in node.body]
