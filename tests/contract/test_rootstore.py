"""What every root store must do. An adapter joins by adding a factory: folder and partition in, store out."""

import asyncio
import os
from pathlib import Path

import pytest

from stream.vault.rootstore import FileRootStore, RootGone, RootStoreUnavailable, version_of

FACTORIES = {
    "file": lambda folder, partition: FileRootStore(folder / str(partition)),
}


@pytest.fixture(params=FACTORIES)
def reopen(request, tmp_path):
    """Opens the store of a partition, as another process would."""
    return lambda partition=0: FACTORIES[request.param](tmp_path / "roots", partition)


@pytest.fixture
def store(reopen):
    return reopen()


KEY, OTHER = b"k" * 32, b"o" * 32


async def test_unused_until_a_root_was_committed(store, reopen):
    assert not await store.used()
    orphan = await store.wrap(KEY)  # its owner died before the first commit
    assert not await reopen().used()
    wrapped = await store.wrap(KEY)
    assert version_of(wrapped) != version_of(orphan)
    await store.destroy_before(wrapped)
    assert await reopen().used()
    await reopen().destroy_before(wrapped)
    assert await reopen().used()
    assert not await reopen(partition=1).used()


async def test_unwraps_what_it_wrapped_in_any_process(store, reopen):
    wrapped = await store.wrap(KEY)
    assert KEY not in wrapped
    assert await reopen().unwrap(wrapped) == KEY


async def test_each_attempt_gets_a_version_of_its_own(store, reopen):
    wrapped = [await store.wrap(KEY), await store.wrap(KEY), await reopen().wrap(KEY)]
    assert len({version_of(each) for each in wrapped}) == 3


async def test_attempts_at_the_same_moment_get_different_versions(reopen):
    wrapped = await asyncio.gather(*(reopen().wrap(os.urandom(32)) for _ in range(20)))
    assert len({version_of(each) for each in wrapped}) == 20


async def test_destroys_older_versions_only(store, reopen):
    old, present, newer = [await store.wrap(key) for key in (KEY, OTHER, KEY)]
    await store.destroy_before(present)
    with pytest.raises(RootGone, match=version_of(old)):
        await reopen().unwrap(old)
    assert await store.unwrap(present) == OTHER
    assert await store.unwrap(newer) == KEY


async def test_a_late_destroy_of_a_former_owner_harms_nobody(store):
    wrapped = [await store.wrap(KEY) for _ in range(4)]
    await store.destroy_before(wrapped[3])
    await store.destroy_before(wrapped[1])
    await store.destroy_before(wrapped[3])
    assert await store.unwrap(wrapped[3]) == KEY


async def test_owners_may_destroy_at_the_same_moment(store, reopen):
    wrapped = [await store.wrap(KEY) for _ in range(30)]
    await asyncio.gather(*(reopen().destroy_before(each) for each in wrapped))
    assert await store.unwrap(wrapped[-1]) == KEY
    with pytest.raises(RootGone):
        await store.unwrap(wrapped[-2])


async def test_a_version_is_never_used_again(store, reopen):
    names = set()
    for _ in range(5):
        wrapped = await reopen().wrap(KEY)
        assert version_of(wrapped) not in names
        names.add(version_of(wrapped))
        await store.destroy_before(wrapped)


@pytest.mark.parametrize("at", [0, 6, 20, -5])
async def test_an_altered_wrapping_does_not_open(store, at):
    wrapped = bytearray(await store.wrap(KEY))
    wrapped[at] ^= 1
    with pytest.raises(RootGone):
        await store.unwrap(bytes(wrapped))


async def test_another_partitions_wrapping_does_not_open(store, reopen):
    await store.wrap(KEY)
    with pytest.raises(RootGone):
        await store.unwrap(await reopen(partition=1).wrap(KEY))


async def test_it_says_what_it_promises(store):
    assert len(store.claim.split()) > 5


# -- only of files -----------------------------------------------------------------------------------------------


async def test_files_are_private_and_overwritten_before_they_go(tmp_path):
    store = FileRootStore(tmp_path / "0")
    await store.wrap(KEY)
    (path,) = (tmp_path / "0").iterdir()
    assert path.stat().st_mode & 0o777 == 0o600
    held = tmp_path / "held"
    held.hardlink_to(path)  # what a reader that kept it open would see
    secret = held.read_bytes()
    await store.destroy_before(await store.wrap(KEY))
    assert not path.exists()
    assert any(secret)
    assert held.read_bytes() == bytes(32)


async def test_a_version_cut_short_by_a_crash_is_not_reused(tmp_path):
    (tmp_path / "v7").touch()
    assert version_of(await FileRootStore(tmp_path).wrap(KEY)) == "file:v8"


async def test_a_folder_that_cannot_be_is_the_stores_failure(tmp_path):
    Path(tmp_path / "file").touch()
    store = FileRootStore(tmp_path / "file" / "0")
    for work in (store.used(), store.wrap(KEY), store.destroy_before(b"file:v2:")):
        with pytest.raises(RootStoreUnavailable):
            await work
