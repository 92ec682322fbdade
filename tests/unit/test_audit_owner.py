"""The owner's side of the log: which key signs it, what is served, and that no key leaves before its leaf is there."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from stream.agents import api, dispatch, owner, signing
from stream.agents.book import Job
from stream.agents.dispatch import Dispatcher
from stream.audit.checkpoint import parse_note
from stream.audit.grants import Grantee, is_grant
from stream.audit.receipts import milliseconds
from stream.audit.signer import RotationPending, UnknownSigningKey, forget_former, former_of, open_signer, rotate
from stream.audit.tiles import ENTRIES, Tile, UnknownTile, tiles, unbundle
from stream.audit.verify import audit
from stream.errors import LostLease
from stream.events.lease import Proposal, Task
from stream.ledger import Change
from stream.metrics import worker as metrics
from stream.vault import envelope
from stream.vault.envelope import Recipient
from tests.unit.desk import APP, TENANT, Desk


@pytest.fixture
async def desk(tmp_path: Path) -> Desk:
    desk = await Desk(tmp_path).open()
    desk.estate.custody = Urls()  # type: ignore[assignment]
    desk.ledger._acked_at = float("inf")  # nothing is acknowledged here that could keep the self-lease
    await named(desk, tmp_path)
    return desk


async def named(desk: Desk, folder: Path) -> bool:
    change = signing.name_key(desk.estate, open_signer(folder / "signing"))
    if change is not None:
        desk.estate.commit(change)
        await desk.commit()
    return change is not None


async def copy(desk: Desk) -> dict[str, bytes]:
    """The log as the gateway's client gets it."""
    note = (await desk.ask(api.GetCheckpoint())).file
    size = parse_note(note.decode()).size
    return {"checkpoint": note} | {t.path: (await desk.ask(api.GetTile(t.path))).file for t in tiles(size)}


async def leaves(desk: Desk) -> list[bytes]:
    size = len(desk.estate.audit)
    return unbundle(desk.estate.audit.tile(Tile(ENTRIES, 0, size)), size)


# -- keys --------------------------------------------------------------------------------------------------------


async def test_a_log_begins_with_the_key_that_signs_it(desk: Desk, tmp_path: Path) -> None:
    assert not await named(desk, tmp_path)
    found = audit((await copy(desk)).get)
    assert (found.head.size, found.history.keys) == (1, [(0, open_signer(tmp_path / "signing").public)])


async def test_a_rotation_is_taken_up_while_the_owner_runs(desk: Desk, tmp_path: Path) -> None:
    folder = tmp_path / "signing"
    before = (await copy(desk))["checkpoint"].decode()
    first, second = open_signer(folder), rotate(folder)
    following = asyncio.create_task(signing.follow(desk.estate, lambda: open_signer(folder), every_s=0.001))
    while len(desk.estate.audit) < 2:
        await asyncio.sleep(0.001)
    unsettled = desk.estate.audit.checkpoint()
    await desk.commit()
    files = await copy(desk)
    found = audit(files.get, since=before, trusted_key=first.public)
    assert [public for _, public in found.history.keys] == [first.public, second.public]
    assert unsettled == before  # still under the former key: the leaf that names the next one was not committed
    assert desk.estate.audit.settled_key_id == second.key_id
    following.cancel()


async def test_a_folder_that_cannot_be_read_changes_nothing(desk: Desk) -> None:
    tried = asyncio.Event()

    def broken() -> Any:
        tried.set()
        raise OSError

    following = asyncio.create_task(signing.follow(desk.estate, broken, every_s=0.0))
    counted = metrics.SIGNING_UNREAD._value.get()
    await tried.wait()
    await asyncio.sleep(0)
    assert not following.done()
    assert metrics.SIGNING_UNREAD._value.get() > counted
    following.cancel()
    assert len(desk.estate.audit) == 1


def test_rotations_come_one_at_a_time(tmp_path: Path) -> None:
    first = open_signer(tmp_path)
    second = rotate(tmp_path)
    assert former_of(tmp_path) == [first.key_id]
    with pytest.raises(RotationPending, match=first.key_id):
        rotate(tmp_path)
    assert open_signer(tmp_path).under(first.key_id).sign(b"x") == first.sign(b"x")
    assert open_signer(tmp_path).under(second.key_id).public == second.public
    forget_former(tmp_path)
    forget_former(tmp_path)
    assert former_of(tmp_path) == []
    with pytest.raises(UnknownSigningKey, match="bring"):
        open_signer(tmp_path).under(first.key_id)
    assert {path.name for path in tmp_path.iterdir()} == {
        "signing.key",
        f"{first.key_id}.pub",
        f"{second.key_id}.pub",
    }
    assert open_signer(tmp_path).public_of(first.key_id) == first.public


def test_a_rotation_that_stopped_half_way_changed_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = open_signer(tmp_path)
    with monkeypatch.context() as patched:
        patched.setattr("stream.audit.signer._fresh", lambda _: (_ for _ in ()).throw(OSError))
        with pytest.raises(OSError):  # noqa: PT011 - a bare one
            rotate(tmp_path)
    assert open_signer(tmp_path).key_id == first.key_id
    assert former_of(tmp_path) == []
    forget_former(tmp_path)
    assert open_signer(tmp_path).key_id == first.key_id
    (tmp_path / f"{first.key_id}.former").hardlink_to(tmp_path / "signing.key")
    assert rotate(tmp_path).key_id != first.key_id


# -- what is served ----------------------------------------------------------------------------------------------


async def test_a_copy_of_what_is_served_holds_together(desk: Desk) -> None:
    job = await desk.uploaded()
    await desk.leased(job)
    await desk.ask(read(job.body.inputs[0]))  # type: ignore[union-attr]
    found = audit((await copy(desk)).get)
    assert found.history.counts["grant"] == 1
    with pytest.raises(UnknownTile):
        await desk.ask(api.GetTile("tile/0/001"))
    with pytest.raises(UnknownTile):
        await desk.ask(api.GetTile("../signing.key"))


# -- grants: the leaf first, then the key ------------------------------------------------------------------------


def read(asset: str, recipient: Recipient | None = None) -> api.GrantRead:
    public = (recipient or Recipient.new()).public
    return api.GrantRead(tenant=TENANT, app=APP, asset=asset, public=public, revoke_url="https://gateway/revoke")


class Releases:
    """Every key that is sealed to somebody, and how much of the log was settled by then."""

    def __init__(self, desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
        self.settled: list[int] = []

        def seal_key(*args: Any) -> bytes:
            self.settled.append(desk.estate.audit._settled)
            return envelope.seal_key(*args)

        monkeypatch.setattr(owner, "seal_key", seal_key)
        monkeypatch.setattr(dispatch, "seal_key", seal_key)


async def unsettled(desk: Desk, asking: asyncio.Task[Any], leaf: int) -> None:
    """The leaf is made and not committed: give whoever asked every chance to go on."""
    while len(desk.estate.audit) <= leaf:
        await asyncio.sleep(0)
    for _ in range(20):
        await asyncio.sleep(0)
    assert desk.estate.audit._settled == leaf
    assert not asking.done()


async def test_a_read_key_leaves_after_its_leaf(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    job = await desk.uploaded()
    assert job.body is not None
    asset = desk.asset(job.body.inputs[0])
    assert asset.body is not None
    releases, before = Releases(desk, monkeypatch), len(desk.estate.audit)
    asking = asyncio.create_task(owner.grant_read(desk.estate, read(asset.id)))
    await unsettled(desk, asking, before)
    assert releases.settled == []
    await desk.commit()
    ticket = await asking
    assert releases.settled == [before + 1]
    (leaf,) = (await leaves(desk))[before:]
    assert is_grant(leaf, asset.body.salt, asset.id, Grantee.GATEWAY_READ, milliseconds(ticket.until))


async def test_a_write_key_leaves_after_its_leaf(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    job = await desk.submit()
    assert job.body is not None
    asset = desk.asset(job.body.inputs[0])
    assert asset.body is not None
    releases, before = Releases(desk, monkeypatch), len(desk.estate.audit)
    ask = api.GrantWrite(tenant=TENANT, app=APP, job=job.id, n=0, size_bytes=5, public=Recipient.new().public)
    asking = asyncio.create_task(owner.grant_write(desk.estate, ask))
    await unsettled(desk, asking, before)
    assert releases.settled == []
    await desk.commit()
    await asking
    assert releases.settled == [before + 1]
    until = desk.asset(asset.id).head.urls_until
    (leaf,) = (await leaves(desk))[before:]
    assert is_grant(leaf, asset.body.salt, asset.id, Grantee.GATEWAY_WRITE, milliseconds(until))


async def test_an_engines_keys_leave_after_their_leaves(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    job = await desk.uploaded()
    cluster = Cluster()
    dispatcher = Dispatcher(
        cluster,  # type: ignore[arg-type]
        "worker",
        owner=lambda _: desk.estate,
        pool=lambda _: "noop",
        cost_s=lambda *_: 1.0,
    )
    releases, before = Releases(desk, monkeypatch), len(desk.estate.audit)
    proposal = Proposal(job=job.id, actor="engine-noop-1", public=Recipient.new().public, offer=1)
    leasing = asyncio.create_task(dispatcher._commit_lease(desk.estate, proposal))
    await unsettled(desk, leasing, before)
    assert releases.settled == []
    assert cluster.started == []
    await desk.commit()
    await leasing
    (task,) = cluster.started
    pieces = {piece.asset for piece in (*task.inputs, *task.outputs)}
    assert len(pieces) == 2
    assert set(releases.settled) == {before + 2}
    until = milliseconds(desk.clock.now() + desk.estate.rules.lease_url_s)
    made = (await leaves(desk))[before:]
    for asset_id in pieces:
        body = desk.asset(asset_id).body
        assert body is not None
        assert any(is_grant(leaf, body.salt, asset_id, Grantee.ENGINE, until) for leaf in made)


class Urls:
    """Custody, as far as grants need it."""

    def put_url(self, name: str, _seconds: int) -> str:
        return f"put/{name}"

    get_url = put_url


class Cluster:
    """Takes tasks."""

    def __init__(self) -> None:
        self.started: list[Task] = []

    async def start(self, _actor: str, task: Task) -> None:
        self.started.append(task)


async def test_the_salt_dies_with_the_asset(desk: Desk) -> None:
    """Once it is erased, only who kept the salt can tell which grants were this asset's."""
    job = await desk.uploaded()
    assert job.body is not None
    asset = desk.asset(job.body.inputs[0])
    assert asset.body is not None
    salt = asset.body.salt
    ticket = await desk.ask(read(asset.id))
    grant_leaf = (await leaves(desk))[-1]
    await desk.do(erase, job)
    assert desk.book.asset(asset.id) is None or desk.asset(asset.id).body is None
    kept = [value for row in desk.ledger._rows.items() for value in row] + await leaves(desk)
    assert all(salt not in raw and salt.hex().encode() not in raw for raw in kept)
    assert all(asset.id.encode() not in leaf for leaf in await leaves(desk))
    assert set(json.loads(grant_leaf)) == {"kind", "version", "commitment"}
    assert is_grant(grant_leaf, salt, asset.id, Grantee.GATEWAY_READ, milliseconds(ticket.until))
    assert not is_grant(grant_leaf, bytes(16), asset.id, Grantee.GATEWAY_READ, milliseconds(ticket.until))


def erase(estate: Any, change: Change, job: Job) -> None:
    from stream.agents import assets

    assets.forget(estate, change, estate.book.assets_of(job), "request")


async def test_a_lease_that_is_refused_has_its_leaves_all_the_same(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """A leaf says that a key may have been released, so it is never taken back."""
    job = await desk.uploaded()

    class Refusing(Cluster):
        async def start(self, _actor: str, _task: Task) -> None:
            raise LostLease

    dispatcher = Dispatcher(
        Refusing(),  # type: ignore[arg-type]
        "worker",
        owner=lambda _: desk.estate,
        pool=lambda _: "noop",
        cost_s=lambda *_: 1.0,
    )
    before = len(desk.estate.audit)
    proposal = Proposal(job=job.id, actor="engine-noop-1", public=Recipient.new().public, offer=1)
    leasing = asyncio.create_task(dispatcher._commit_lease(desk.estate, proposal))
    while not leasing.done():
        await asyncio.sleep(0)
        await desk.commit()
    assert len(desk.estate.audit) == before + 2
