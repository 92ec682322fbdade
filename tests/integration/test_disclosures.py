"""A lawful request on the real system: proposed, signed by two, handed out sealed, opened by its recipient, audited."""

from __future__ import annotations

import json
import secrets
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from services import disclosed
from services.audit_export import export, reader
from services.gateway.errors import OwnerRefused
from services.local.system import System
from stream.agents import orders
from stream.agents.api_cases import Disclose, DisclosuresView, DisclosureView, Extract, ListDisclosures, TellDisclosed
from stream.agents.orders import Order
from stream.audit.receipt_file import verify
from stream.audit.verify import audit
from stream.policies.obligations import Document
from stream.policies.vocabulary import DataClass
from stream.vault.envelope import Recipient
from tests.integration.client import Client, asset_of
from tests.integration.test_holds import KEYS, ask, register
from tests.twins import TWINS

pytestmark = pytest.mark.stack

TWIN = next(twin for twin in TWINS if twin.app == "talentedi" and twin.makes == "result_image").name
DAY_S = 86_400


def signed(order: Order, keys: dict[str, Ed25519PrivateKey]) -> Disclose:
    return Disclose(order, {name: key.sign(orders.signed_part(order)) for name, key in keys.items()})


async def test_a_subpoena_is_answered_with_what_it_covers_and_no_more(system: System, tmp_path: Path) -> None:
    register(system)
    tenant, key = await system.tenant(TWIN)
    authority = Recipient.new()
    async with Client(system, tenant, key, app=TWIN, band="adult") as client:
        result = asset_of(await client.done("user-19", choice=""), "result")
        picture = (await client.asset(result["id"])).content
        partition = client.mint.partition_of(result["id"])
        now = int((await system.estates())[0]["now"])
        order = Order(
            id="Az. 17/26",
            app=TWIN,
            tenant=tenant,
            subject="user-19",
            authority="public prosecutor of X",
            document=Document.SUBPOENA,
            document_sha256="ab" * 32,
            classes=(DataClass.RESULT_IMAGE,),
            recipient=authority.public.hex(),
            until=now + 30 * DAY_S,
            proposed_at=now,
            proposed_by="alice",
            nonce=secrets.token_hex(16),
        )
        with pytest.raises(OwnerRefused) as refused:
            await ask(system, partition, signed(order, {"alice": KEYS["alice"]}), Extract)
        assert refused.value.problem.kind == "disclosure-not-approved"
        extract = await ask(system, partition, signed(order, KEYS), Extract)
        assert extract.view.items == {"result_image": 1}

        folder = tmp_path / "extract"
        disclosed.create(folder)
        await disclosed.write(folder, extract)
        kept = b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())
        assert not any(word in kept for word in (picture[100:200], b"user-19", b"prosecutor"))
        found = json.loads(disclosed.opened(folder, authority))
        assert [one["id"] for one in found["media"]] == [result["id"]]
        (path,) = disclosed.open_media(folder, authority, tmp_path / "clear")
        assert path.read_bytes() == picture
        with pytest.raises(Exception, match="envelope for this recipient"):
            disclosed.opened(folder, Recipient.new())

        with pytest.raises(OwnerRefused) as refused:
            await ask(system, partition, signed(order, KEYS), Extract)
        assert refused.value.problem.kind == "already-disclosed"
        (view,) = (await ask(system, partition, ListDisclosures(), DisclosuresView)).disclosures
        assert (view.case, view.tell, view.told_at) == (extract.view.case, True, 0.0)
        assert (await ask(system, partition, TellDisclosed(view.case), DisclosureView)).told_at >= now

        assert (await client.delete(f"/v1/{TWIN}/assets/{result['id']}")).status_code == 202
        proof = verify(await client.receipt(result), result["id"], result["salt"])
        assert ("disclosed", 1) in {(one.name, one.count) for one in proof.receipt.residues}
        await export(system.url, key, tmp_path / "logs")
        history = audit(reader(tmp_path / "logs" / str(partition))).history
        assert (history.counts["disclosure"], history.disclosed) == (1, 1)
