"""Disclosures: what a recorded case may hand out, to whom, and what it leaves as it was."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
import pytest_asyncio
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from stream.agents import api, orders, records
from stream.agents.api_cases import Disclose, DisclosuresView, Extract, ListDisclosures, TellDisclosed
from stream.agents.book import Asset
from stream.agents.cases import BadCase
from stream.agents.certify import Certifier
from stream.agents.disclosures import AlreadyDisclosed, NothingToDisclose, UnknownDisclosure
from stream.agents.orders import Order, OrderNotApproved
from stream.audit.grants import Grantee, is_grant
from stream.audit.log import Entry
from stream.audit.receipts import milliseconds
from stream.audit.signer import key_id
from stream.events.bus import Outcome, OutputFacts
from stream.events.records import Note
from stream.events.rows import AssetState
from stream.ids import UnknownId
from stream.policies.calendar import DAY_S
from stream.policies.disclosures import NoDisclosure, NotDisclosable, WrongDocument
from stream.policies.obligations import Disclosure, Document
from stream.policies.vocabulary import Clock, DataClass
from stream.vault.envelope import NotARecipient, Recipient
from stream.vault.purposes import disclosed_key_info, disclosure_info
from tests.unit.desk import APP, TENANT, Desk

MADE = Outcome("succeeded", outputs=(OutputFacts("result", 9, "image/png", 3, 3),), wiped=True)
KEYS = {name: Ed25519PrivateKey.generate() for name in ("alice", "bob", "mallory")}
REGISTERED = {name: KEYS[name].public_key().public_bytes_raw() for name in ("alice", "bob")}
AUTHORITY = Recipient.new()


@pytest_asyncio.fixture
async def desk(tmp_path: Path) -> Desk:
    """The test app, with talentedi's rule of disclosure but for the log: only results."""
    desk = await Desk(tmp_path).open()
    desk.estate.certifier = Certifier(desk.estate)
    policies = dict(desk.estate.tools.policies)
    rows = policies["talentedi"].promises_of(DataClass.DISCLOSURE_RECORD)
    rule = Disclosure((Document.SUBPOENA,), (DataClass.RESULT_IMAGE,), "test §8")
    test = policies[APP]
    policies[APP] = msgspec.structs.replace(test, disclosure=rule, promises=(*test.promises, *rows))
    desk.estate.tools = dataclasses.replace(desk.estate.tools, approvers=lambda: REGISTERED, policies=policies)
    desk.ledger._acked_at = math.inf  # a broker is there, and acknowledges
    desk.estate.custody = SimpleNamespace(get_url=lambda name, ttl_s: f"url:{name}:{ttl_s}")  # type: ignore[assignment]
    return desk


@pytest.fixture
def leaves(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """Every leaf that the log was given."""
    seen: list[bytes] = []
    append = desk.estate.audit._append

    def remember(leaf: Any, entry: Entry) -> Entry:
        seen.append(entry.leaf)
        return append(leaf, entry)

    monkeypatch.setattr(desk.estate.audit, "_append", remember)
    return seen


async def finished(desk: Desk, **changes: Any) -> tuple[Asset, Asset]:
    job, (made,) = await desk.leased(await desk.uploaded(**changes))
    await desk.outcome(job, MADE)
    await desk.heard()
    assert job.body is not None
    return desk.asset(job.body.inputs[0]), desk.asset(made.id)


def an_order(desk: Desk, **changes: Any) -> Order:
    now = int(desk.clock.now())
    fields: dict[str, Any] = {
        "id": "Az. 17/26",
        "app": APP,
        "tenant": TENANT,
        "authority": "public prosecutor of X",
        "document": Document.SUBPOENA,
        "document_sha256": "ab" * 32,
        "classes": (DataClass.RESULT_IMAGE,),
        "recipient": AUTHORITY.public.hex(),
        "until": now + 30 * DAY_S,
        "proposed_at": now,
        "proposed_by": "alice",
        "nonce": "0" * 32,
    }
    return Order(**fields | changes)


def signed(order: Order, *names: str) -> Disclose:
    return Disclose(order, {name: KEYS[name].sign(orders.signed_part(order)) for name in names or ("alice", "bob")})


def content(extract: Extract, order: Order) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(
        AUTHORITY.open_bytes(extract.sealed, disclosure_info(orders.commitment(order), order.app))
    )
    return found


def rows(desk: Desk) -> dict[bytes, bytes]:
    return dict(desk.ledger.items())


class TestHandingOut:
    async def test_the_log_first_then_only_what_the_paper_covers(self, desk: Desk, leaves: list[bytes]) -> None:
        source, result = await finished(desk)
        order = an_order(desk, subject="alice")
        extract = await desk.ask(signed(order))
        assert extract.view.items == {"result_image": 1}
        assert extract.passed_over == 1  # the upload: the policy lets nobody demand it
        assert extract.view.tell
        found = content(extract, order)
        assert [one["id"] for one in found["media"]] == [result.id]
        assert found["records"] == []
        (piece,) = extract.pieces
        assert piece.url == f"url:{result.head.object}:900"
        name = orders.commitment(order)
        key = AUTHORITY.open_key(piece.sealed_key, disclosed_key_info(result.id, name, APP))
        assert bytes(key.view) == bytes(desk.book.key(result.head.page, result.id).view)
        assert result.body is not None
        *_, grant, leaf = leaves
        assert is_grant(grant, result.body.salt, result.id, Grantee.AUTHORITY, milliseconds(order.until))
        assert msgspec.json.decode(leaf) == {
            "kind": "disclosure",
            "version": 1,
            "partition": 0,
            "case": name.hex(),
            "app": APP,
            "document": "subpoena",
            "classes": ["result_image"],
            "count": 1,
            "approvers": sorted(key_id(public) for public in REGISTERED.values()),
        }
        assert not desk.asset(source.id).head.disclosed

    async def test_no_deadline_moves_and_its_user_sees_no_difference(self, desk: Desk) -> None:
        _, result = await finished(desk)
        order = an_order(desk, assets=(result.id,))
        await desk.ask(signed(order))
        after = desk.asset(result.id)
        assert after == dataclasses.replace(result, head=msgspec.structs.replace(result.head, disclosed=True))
        assert (await desk.ask(api.GetAsset(TENANT, APP, result.id))).id == result.id

    async def test_a_record_names_paper_and_counts_and_nobody(self, desk: Desk) -> None:
        _, result = await finished(desk)
        order = an_order(desk, assets=(result.id,))
        before = set(desk.book.records)
        await desk.ask(signed(order))
        (made,) = set(desk.book.records) - before
        asset = desk.asset(made)
        assert asset.head.data_class == "disclosure_record"
        assert asset.head.ceiling == desk.clock.now() + 365 * DAY_S
        assert asset.body is not None
        assert asset.body.subject == ""
        said = msgspec.to_builtins(records.value(asset))
        assert said["document_sha256"] == "ab" * 32
        assert result.id not in str(said)
        assert not any(b"prosecutor" in value for value in rows(desk).values())  # sealed, like all that records say

    async def test_a_receipt_says_later_that_a_copy_is_out(self, desk: Desk, leaves: list[bytes]) -> None:
        _, result = await finished(desk)
        await desk.ask(signed(an_order(desk, assets=(result.id,))))
        await desk.ask(api.DeleteAsset(TENANT, APP, result.id))
        await desk.heard()
        assert desk.asset(result.id).head.state is AssetState.DEAD
        await desk.commit()
        (receipt,) = [leaf for leaf in map(msgspec.json.decode, leaves) if leaf["kind"] == "erased"]
        assert receipt["residues"] == [{"name": "disclosed", "count": 1, "until_ms": 0}]

    async def test_security_logs_of_a_subject_as_they_were_written(self, desk: Desk) -> None:
        policy = desk.estate.policy("talentedi")
        for consent in policy.consents:
            await desk.ask(api.PutConsent(TENANT, "talentedi", "alice", consent.purpose, consent.version, granted=True))
        who = desk.book.subjects[TENANT, "talentedi", "alice"]
        for data_class, clock in (
            (DataClass.NETWORK_SECURITY_LOG, Clock.LOG_EVENT_RECORDED),
            (DataClass.CRASH_PERFORMANCE_LOG, Clock.COLLECTED),
        ):
            await desk.do(
                records.create,
                app="talentedi",
                data_class=data_class,
                tenant=TENANT,
                subject=who,
                value=Note("seen"),
                clocks={clock: desk.estate.now()},
            )
        order = an_order(
            desk, app="talentedi", subject="alice", classes=(DataClass.NETWORK_SECURITY_LOG, DataClass.RESULT_VIDEO)
        )
        extract = await desk.ask(signed(order))
        assert extract.passed_over == 1
        (only,) = content(extract, order)["records"]
        assert (only["class"], only["says"]["text"]) == ("network_security_log", "seen")

    async def test_what_a_hold_keeps_hidden_can_be_handed_out(self, desk: Desk) -> None:
        _, result = await finished(desk)
        head = msgspec.structs.replace(
            result.head, state=AssetState.HELD, hold=b"h", hold_until=desk.clock.now() + 60, cause="deadline"
        )
        await desk.do(desk_put, dataclasses.replace(result, head=head))
        order = an_order(desk, assets=(result.id,))
        assert content(await desk.ask(signed(order)), order)["media"]
        desk.clock.moment += 61  # and not once its hold is over
        with pytest.raises(NothingToDisclose):
            await desk.ask(signed(an_order(desk, assets=(result.id,), nonce="1" * 32)))


def desk_put(estate: Any, change: Any, asset: Asset) -> Asset:
    return estate.book.put_asset(change, asset)


class TestRefusing:
    @pytest.mark.parametrize(
        "names", [("alice",), ("alice", "mallory"), ("mallory",), ()], ids=["one", "unregistered", "stranger", "none"]
    )
    async def test_two_registered_approvers_or_nothing(self, desk: Desk, names: tuple[str, ...]) -> None:
        _, result = await finished(desk)
        order, before = an_order(desk, assets=(result.id,)), rows(desk)
        ask = Disclose(order, {name: KEYS[name].sign(orders.signed_part(order)) for name in names})
        with pytest.raises(OrderNotApproved):
            await desk.ask(ask)
        assert rows(desk) == before

    async def test_a_signature_is_for_this_case_and_no_other(self, desk: Desk) -> None:
        _, result = await finished(desk)
        order = an_order(desk, assets=(result.id,))
        signatures = signed(order).signatures
        for change in ({"classes": (DataClass.UPLOAD_IMAGE,)}, {"recipient": Recipient.new().public.hex()}):
            with pytest.raises(OrderNotApproved):
                await desk.ask(Disclose(msgspec.structs.replace(order, **change), signatures))

    async def test_once(self, desk: Desk) -> None:
        _, result = await finished(desk)
        order = an_order(desk, assets=(result.id,))
        await desk.ask(signed(order))
        before = rows(desk)
        with pytest.raises(AlreadyDisclosed):
            await desk.ask(signed(order))
        assert rows(desk) == before

    @pytest.mark.parametrize(
        ("changes", "error"),
        [
            ({"app": "batchpix"}, NoDisclosure),
            ({"document": Document.LEGAL_DOCUMENT}, WrongDocument),
            ({"classes": (DataClass.UPLOAD_IMAGE,)}, NotDisclosable),
            ({"classes": (DataClass.RESULT_IMAGE, DataClass.FACE_IMAGE)}, NotDisclosable),
            ({"subject": "nobody"}, NothingToDisclose),
            ({"subject": ""}, BadCase),
            ({"assets": ("x",)}, BadCase),
            ({"until": 1}, BadCase),
            ({"until": 2**40}, BadCase),
            ({"proposed_at": 1}, BadCase),
            ({"subject": "", "assets": ("ast_x",)}, UnknownId),
            ({"recipient": "ff" * 1216}, NotARecipient),
        ],
    )
    async def test_what_no_case_opens(self, desk: Desk, changes: dict[str, Any], error: type[Exception]) -> None:
        await finished(desk)
        before = rows(desk)
        with pytest.raises(error):
            await desk.ask(signed(an_order(desk, **{"subject": "alice"} | changes)))
        desk.book.discard()
        assert rows(desk) == before

    async def test_what_is_over_is_over(self, desk: Desk) -> None:
        _, result = await finished(desk)
        desk.clock.moment = result.head.due
        with pytest.raises(NothingToDisclose):
            await desk.ask(signed(an_order(desk, assets=(result.id,))))

    async def test_another_tenants_or_apps_assets_are_unknown(self, desk: Desk) -> None:
        _, result = await finished(desk)
        for changes in ({"tenant": "other"}, {"app": "genzo", "document": Document.LEGAL_DOCUMENT}):
            with pytest.raises(UnknownId):
                await desk.ask(signed(an_order(desk, assets=(result.id,), **changes)))


class TestTelling:
    async def test_a_notice_is_pending_until_told_or_forbidden_by_law(self, desk: Desk) -> None:
        _, result = await finished(desk)
        cases = []
        for nonce in "12":
            order = an_order(desk, assets=(result.id,), nonce=nonce * 32)
            cases.append((await desk.ask(signed(order))).view.case)
        listed: DisclosuresView = await desk.ask(ListDisclosures())
        assert {(one.case, one.tell, one.told_at, one.ground) for one in listed.disclosures} == {
            (case, True, 0.0, "") for case in cases
        }
        told = await desk.ask(TellDisclosed(cases[0]))
        assert (told.told_at, told.ground) == (desk.clock.now(), "")
        barred = await desk.ask(TellDisclosed(cases[1], "Act 7, §3"))
        assert (barred.told_at, barred.ground) == (0.0, "Act 7, §3")
        for case in cases:
            with pytest.raises(BadCase):
                await desk.ask(TellDisclosed(case))
        with pytest.raises(UnknownDisclosure):
            await desk.ask(TellDisclosed("00"))


async def test_a_new_owner_knows_which_cases_were_executed(desk: Desk, leaves: list[bytes]) -> None:
    from stream.audit.log import Log

    _, result = await finished(desk)
    order = an_order(desk, assets=(result.id,))
    await desk.ask(signed(order))
    log = Log(0, desk.estate.audit._signer)
    for n, leaf in enumerate(leaves):
        log.replay(Entry(n, leaf))
    assert log.case_disclosed(orders.commitment(order).hex())
