"""The tree against a dict, and against an attacker who keeps every record ever written."""

import random

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from stream.errors import BrokenPromise
from stream.vault.keynode import ENTRY_BYTES, ROOT, DamagedTree, Level, Node, seal, unseal, wrapped_key
from stream.vault.keytree import CommitOutOfTurn, KeyTree, Staged, wrapped_root

PLACE = b"keys/0/"
FAN = 3
GROUPS, BUCKETS = (b"genzo/face", b"genzo/result"), (b"100", b"160", b"220")


class LeafKeepsKey(KeyTree):
    """Broken on purpose: a page that lost an entry is rewritten under the key it had."""

    def stage(self) -> Staged:
        leaves = {node for node in self._rekey if node.level == Level.LEAF}
        self._rekey = (self._rekey - leaves) | {node.parent for node in leaves}
        self._dirty |= leaves
        return super().stage()


class RootKeepsKey(KeyTree):
    """Broken on purpose: a removal re-keys its page and tells the parents, but nothing above it gets a new key."""

    def stage(self) -> Staged:
        for node in [node for node in self._rekey if node is not self._root]:
            node.key = random.randbytes(32)
            node.parent.put(node.id, node.key)
            self._dirty |= {node, node.parent}
        self._rekey &= {self._root} if not self.wrapped else set()
        return super().stage()


class Roots:
    """A root store as the tree sees it: numbered keys, of which those older than the committed one are destroyed."""

    def __init__(self):
        self.keys, self.last = {}, 0

    def wrap(self, key):
        self.last += 1
        self.keys[self.last] = key
        return str(self.last).encode()

    def destroy_before(self, wrapped):
        self.keys = {version: key for version, key in self.keys.items() if version >= int(wrapped)}


class World:
    """A tree, what Kafka holds of it, and what an attacker keeps."""

    def __init__(self, make=KeyTree):
        self.make, self.tree, self.roots = make, make(PLACE, fan=FAN), Roots()
        self.topic, self.history = {}, {}
        self.live, self.pending, self.erased, self.aborted = {}, {}, set(), set()
        self.gone_pending, self.known = set(), {}
        self.commit()

    def insert(self, group, bucket):
        entry, key = random.randbytes(16), random.randbytes(32)
        page = self.tree.insert(group, bucket, entry, key)
        self.pending[entry] = (group, bucket, page, key)

    def pick(self, n):
        return sorted(self.live)[n % len(self.live)]

    def erase(self, entry):
        assert self.tree.erase(self.live.pop(entry)[2], entry)
        self.gone_pending.add(entry)

    def move(self, entry, group, bucket):
        _, _, page, key = self.live.pop(entry)
        self.pending[entry] = (group, bucket, self.tree.move(page, entry, group, bucket), key)

    def drop(self, group, bucket):
        inside = {
            entry for held in (self.live, self.pending) for entry, row in held.items() if row[:2] == (group, bucket)
        }
        assert self.tree.drop(group, bucket) == len(inside)
        for entry in inside:
            self.live.pop(entry, None)
            self.pending.pop(entry, None)
        self.gone_pending |= inside

    def commit(self, *, crash=False):
        staged = self.tree.stage()
        wrapped = self.roots.wrap(staged.root_key) if staged.erasing else None
        records = staged.records(wrapped)
        buried = self.tree.bury(4)
        for node_id, record in records.items():
            self.history.setdefault(node_id, set()).add(record)
        if crash:
            self.aborted |= set(self.pending)
            return
        self.topic |= records
        for node_id in buried:
            assert node_id not in records
            self.topic.pop(node_id, None)  # a node opened and dropped within one commit was never written
        self.live |= self.pending
        self.pending = {}
        self.erased |= self.gone_pending
        self.gone_pending = set()
        if wrapped:
            self.roots.destroy_before(wrapped)

    def reopen(self):
        wrapped = wrapped_root(self.topic)
        self.tree = self.make.load(PLACE, self.roots.keys[int(wrapped)], self.topic, fan=FAN)

    def check(self):
        for entry, (_, _, page, key) in self.live.items():
            assert self.tree.get(page, entry) == key
        assert self.tree.count() == len(self.live)
        found = self.attack()
        assert {row[3] for row in self.live.values()} <= set(found.values())
        recovered = set(found) - set(self.live)
        # Rule 6: an aborted insert's key may stay readable; it never sealed anything, since it was never committed.
        assert recovered <= self.aborted - self.erased, f"{len(recovered & self.erased)} erased keys recovered"

    def attack(self):
        """Every (entry, key) that all records ever written and all living root versions give away."""
        found, seen = {}, set()
        todo = {(ROOT, key) for key in self.roots.keys.values()}
        while todo:
            node_id, key = todo.pop()
            seen.add((node_id, key))
            for record in self.history.get(node_id, ()):
                try:
                    node = unseal(node_id, key, record, PLACE)
                except DamagedTree:
                    continue
                if node.level == Level.LEAF:
                    found |= dict(node.entries())
                else:
                    todo |= set(node.entries()) - seen
        return found


class Walk(RuleBasedStateMachine):
    """Any order of changes, commits, and crashes at the worst moment: written, but not committed."""

    def __init__(self):
        super().__init__()
        self.world = World()
        self.clean = True

    @rule(group=st.sampled_from(GROUPS), bucket=st.sampled_from(BUCKETS), count=st.integers(1, 9))
    def insert(self, group, bucket, count):
        for _ in range(count):
            self.world.insert(group, bucket)
        self.clean = False

    @precondition(lambda self: self.world.live)
    @rule(n=st.integers(0, 99))
    def erase(self, n):
        self.world.erase(self.world.pick(n))
        self.clean = False

    @precondition(lambda self: self.world.live)
    @rule(n=st.integers(0, 99), group=st.sampled_from(GROUPS), bucket=st.sampled_from(BUCKETS))
    def move(self, n, group, bucket):
        self.world.move(self.world.pick(n), group, bucket)
        self.clean = False

    @rule(group=st.sampled_from(GROUPS), bucket=st.sampled_from(BUCKETS))
    def drop(self, group, bucket):
        self.world.drop(group, bucket)
        self.clean = False

    @rule(reopen=st.booleans())
    def commit(self, reopen):
        self.world.commit()
        if reopen:
            self.world.reopen()
        self.clean = True

    @rule()
    def crash(self):
        world = self.world
        world.commit(crash=True)
        world.aborted -= set(world.known)
        world.live, world.pending, world.gone_pending = dict(world.known), {}, set()
        world.reopen()
        self.clean = True

    @invariant()
    def holds(self):
        if self.clean:
            self.world.known = dict(self.world.live)
            self.world.check()


Walk.TestCase.settings = settings(
    max_examples=100, stateful_step_count=30, deadline=None, suppress_health_check=list(HealthCheck)
)
TestWalk = Walk.TestCase


def scenario(make):
    """Insert, erase one, drop a bucket, move one: a fixed walk that every broken tree fails."""
    world = World(make)
    for _ in range(20):
        world.insert(GROUPS[0], BUCKETS[0])
    world.insert(GROUPS[1], BUCKETS[1])
    world.commit()
    world.erase(next(iter(world.live)))  # of a page that others stay in, or no page would be left to be broken
    world.commit()
    world.check()
    world.drop(GROUPS[0], BUCKETS[0])
    world.commit()
    world.check()


def test_the_sound_tree_keeps_nothing():
    scenario(KeyTree)


@pytest.mark.parametrize("broken", [LeafKeepsKey, RootKeepsKey])
def test_the_attacker_recovers_keys_from_a_broken_tree(broken):
    with pytest.raises(AssertionError, match=r"[1-9]\d* erased keys recovered"):
        scenario(broken)


@pytest.fixture
def world():
    world = World()
    for _ in range(FAN**3 + 1):
        world.insert(GROUPS[0], BUCKETS[0])
    world.commit()
    return world


def kinds(staged):
    return sorted(record[1] for record in staged.records(b"9" if staged.erasing else None).values())


def test_an_insert_rewrites_its_leaf_and_no_ancestor(world):
    world.insert(GROUPS[0], BUCKETS[0])
    staged = world.tree.stage()
    assert kinds(staged) == [Level.LEAF]
    assert not staged.erasing


def test_a_leaf_that_opens_rewrites_its_parent_only(world):
    for _ in range(FAN):
        world.insert(GROUPS[0], BUCKETS[0])
    assert kinds(world.tree.stage()) == [Level.LEAF, Level.LEAF, Level.BUCKET]


def test_a_drop_writes_two_nodes_however_many_it_held(world):
    world.insert(GROUPS[0], BUCKETS[1])
    world.commit()
    world.drop(GROUPS[0], BUCKETS[0])
    staged = world.tree.stage()
    assert kinds(staged) == [Level.GROUP, Level.ROOT]
    assert staged.erasing


def test_a_removal_rekeys_its_path(world):
    pages = [row[2] for row in world.live.values()]
    world.erase(next(entry for entry, row in world.live.items() if pages.count(row[2]) > 1))  # else the page goes too
    assert kinds(world.tree.stage()) == [Level.LEAF, Level.BUCKET, Level.GROUP, Level.ROOT]


def test_a_leaf_that_is_half_empty_is_used_before_another_opens(world):
    page = world.live[world.pick(0)][2]
    inside = [entry for entry, row in world.live.items() if row[2] == page]
    for entry in inside[1:]:
        world.erase(entry)
    world.commit()
    pages = {world.tree.insert(GROUPS[0], BUCKETS[0], random.randbytes(16), bytes(32)) for _ in range(FAN)}
    assert page in pages


def test_an_empty_tree_after_its_last_entry(world):
    for entry in list(world.live):
        world.erase(entry)
    world.commit()
    assert world.tree.places() == []
    while len(world.topic) > 1:
        world.commit()
    world.reopen()
    world.check()


def test_erasing_twice_says_so(world):
    entry = world.pick(0)
    page = world.live[entry][2]
    assert world.tree.erase(page, entry)
    assert not world.tree.erase(page, entry)
    assert world.tree.get(page, entry) is None
    assert world.tree.move(page, entry, GROUPS[1], BUCKETS[1]) is None
    assert not world.tree.erase(ROOT, world.tree.insert(GROUPS[1], BUCKETS[1], entry, bytes(32)))


def test_the_tree_may_change_while_the_root_key_is_wrapped(world):
    world.drop(GROUPS[0], BUCKETS[0])
    staged = world.tree.stage()
    page = world.tree.insert(GROUPS[1], BUCKETS[2], b"e" * 16, b"k" * 32)
    records = staged.records(b"2")
    root_key = staged.root_key
    assert KeyTree.load(PLACE, root_key, records, fan=FAN).count() == 0
    records |= world.tree.stage().records()
    assert KeyTree.load(PLACE, root_key, records, fan=FAN).get(page, b"e" * 16) == b"k" * 32


def test_commits_do_not_overlap(world):
    world.drop(GROUPS[0], BUCKETS[0])
    staged = world.tree.stage()
    with pytest.raises(CommitOutOfTurn):
        world.tree.stage()
    assert world.tree.bury(100) == []
    with pytest.raises(CommitOutOfTurn):
        staged.records()
    staged.records(b"2")
    with pytest.raises(CommitOutOfTurn):
        _ = world.tree.stage().root_key


def test_tombstones_wait_for_the_erasing_commit(world):
    world.drop(GROUPS[0], BUCKETS[0])
    assert world.tree.bury(100) == []
    world.commit()
    buried = world.tree.bury(100)
    assert len(buried) == len(set(buried)) > 0
    assert ROOT not in buried


def test_an_opener_finds_the_dead_nodes_again(world):
    world.drop(GROUPS[0], BUCKETS[0])
    world.commit()
    world.reopen()
    while len(world.topic) > 1:
        world.commit()
    assert set(world.topic) == {ROOT}


def test_a_missing_record_is_damage(world):
    victim = next(node_id for node_id in world.topic if node_id != ROOT)
    root_key = world.roots.keys[1]
    with pytest.raises(DamagedTree, match="found none"):
        KeyTree.load(PLACE, root_key, {k: v for k, v in world.topic.items() if k != victim}, fan=FAN)
    with pytest.raises(DamagedTree):
        KeyTree.load(PLACE, root_key, {}, fan=FAN)
    assert issubclass(DamagedTree, BrokenPromise)


@pytest.mark.parametrize("at", [0, 1, 3, 5, 6, 20, -1])
def test_an_altered_record_is_damage(world, at):
    record = bytearray(world.topic[ROOT])
    record[at] ^= 1
    with pytest.raises(DamagedTree):
        KeyTree.load(PLACE, world.roots.keys[1], world.topic | {ROOT: bytes(record)}, fan=FAN)


def test_a_record_opens_only_in_its_place(world):
    with pytest.raises(DamagedTree):
        KeyTree.load(b"keys/1/", world.roots.keys[1], world.topic, fan=FAN)
    with pytest.raises(DamagedTree):
        wrapped_key(b"")


def test_levels_follow_each_other():
    leaf = Node(ROOT, bytes(32), Level.LEAF)
    with pytest.raises(DamagedTree, match="one level below"):
        KeyTree.load(PLACE, bytes(32), {ROOT: seal(leaf, PLACE)})


def test_wiped_means_empty(world):
    bodies = [node.body for node in world.tree._nodes.values()]
    assert any(bodies)
    world.tree.wipe()
    assert not any(bodies)
    assert world.tree.count() == 0


def test_an_entry_inside_a_key_is_no_hit():
    node = Node(b"n" * 16, bytes(32), Level.LEAF)
    wanted = b"w" * 16
    node.put(b"a" * 16, wanted * 2)
    assert node.find(wanted) == -1
    node.put(wanted, b"k" * 32)
    assert node.find(wanted) == ENTRY_BYTES
    assert node.get(wanted) == b"k" * 32


def test_reprs_hold_no_key(world):
    key = next(iter(world.live.values()))[3]
    staged = world.tree.stage()
    shown = repr(world.tree) + repr(list(world.tree._nodes.values())) + repr(staged)
    assert repr(key)[2:-1] not in shown
    assert key.hex() not in shown
    assert repr(world.tree._root.key)[2:-1] not in shown


def test_wrong_lengths_never_enter_a_page():
    tree = KeyTree(PLACE)
    for entry, key in ((b"e" * 15, bytes(32)), (b"e" * 16, bytes(31))):
        with pytest.raises(ValueError, match="16 bytes"):
            tree.insert(b"g", b"b", entry, key)
