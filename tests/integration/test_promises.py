"""What each app promises of each class, on the real system: readable until due, unreadable at its ceiling, proven.

The promises are the published files' own (see `tests/twins.py`); what is expected is written here, apart from them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import AsyncIterator, Iterable
from http import HTTPStatus
from typing import Any

import msgspec
import pytest
import pytest_asyncio

from services.local.system import System
from stream.audit.receipt_file import verify
from tests.integration.client import Client
from tests.twins import TWINS, Twin

pytestmark = pytest.mark.stack

HOUR_S, DAY_S = 3600.0, 86_400.0
BEFORE_S, AFTER_S, CLOSE_S = 2.0, 1.0, 10.0
AT_ONCE, ON_RETURN = "at once", "once returned"

UNTIL: dict[tuple[str, str, str, str], float | str] = {
    # app, class, choice, how its job ended → hours from upload (inputs) or from the job's end (results)
    ("genzo", "upload_image", "", "succeeded"): AT_ONCE,
    ("genzo", "upload_image", "discard", "failed"): AT_ONCE,
    ("genzo", "upload_image", "save", "succeeded"): 72,
    ("genzo", "upload_image", "save", "failed"): 72,
    ("genzo", "face_image", "discard", "succeeded"): AT_ONCE,
    ("genzo", "face_image", "save", "succeeded"): 72,
    ("genzo", "result_image", "", "succeeded"): ON_RETURN,
    ("genzo", "result_image", "save", "succeeded"): 72,
    ("genzo", "result_video", "discard", "succeeded"): ON_RETURN,
    ("genzo", "result_video", "save", "succeeded"): 72,
    ("talentedi", "upload_image", "", "succeeded"): AT_ONCE,
    ("talentedi", "upload_image", "", "failed"): AT_ONCE,
    ("talentedi", "upload_video", "", "succeeded"): AT_ONCE,
    ("talentedi", "voice_audio", "", "failed"): AT_ONCE,
    ("talentedi", "result_image", "", "succeeded"): 240,
    ("talentedi", "result_video", "", "succeeded"): 240,
    ("talentedi", "mask_result", "", "succeeded"): ON_RETURN,
    ("perfect-me", "face_image", "", "succeeded"): AT_ONCE,
    ("perfect-me", "face_image", "", "failed"): 24,
    ("perfect-me", "upload_image", "", "succeeded"): AT_ONCE,
    ("perfect-me", "upload_image", "", "failed"): 24,
    ("perfect-me", "upload_video", "", "failed"): 24,
    ("perfect-me", "result_image", "", "succeeded"): 360,
    ("perfect-me", "result_video", "", "succeeded"): 360,
}
RECORDS: dict[tuple[str, str], float] = {
    # app, right → days that the request is kept
    ("genzo", "complaint"): 90,
    ("genzo", "question"): 90,
    ("talentedi", "complaint"): 90,
    ("talentedi", "cancel_account"): 90,
    ("background-removal-ai", "complaint"): 90,
    ("batchpix", "question"): 30,
    ("perfect-me", "question"): 90,
    ("perfect-me", "delete"): 90,
}
Key = tuple[str, str, str, str]


class Seen(msgspec.Struct):
    """What was seen of one thing."""

    ceiling_s: float  # from upload, or from its job's end
    end: str = ""  # at once, once returned, or in time
    before: int = 0
    after: int = 0
    proven: bool = False
    late: bool = False


class Thing(msgspec.Struct):
    """One asset under watch."""

    key: Key
    client: Any
    asset: dict[str, Any]
    seen: Seen


async def made(client: Client, twin: Twin, choice: str, how: str) -> AsyncIterator[tuple[Key, dict[str, Any], float]]:
    """(key, asset, what its clock counts from) of a job that has ended so."""
    params = {"fail": True} if how == "failed" else {}
    job = await client.begin(choice=choice, params=params)
    before = job["assets"]
    view = await client.ended(job["id"])
    assert view["state"] == how, view
    wanted = {twin.takes, twin.makes} if how == "succeeded" else {twin.takes}
    by_id = {asset["id"]: asset for asset in (*before, *view.get("assets", ()))}
    for asset in by_id.values():
        if asset["data_class"] in wanted:
            start = job["created_at"] if asset["role"] == "input" else view["ended_at"]
            yield (twin.app, asset["data_class"], choice, how), asset, start


@pytest_asyncio.fixture(scope="module")
async def seen(system: System) -> AsyncIterator[dict[Key, Seen]]:
    """Every case of the table, made at once, and then watched while the clock goes on from due to due."""
    found: dict[Key, Seen] = {}
    waiting: defaultdict[float, list[Thing]] = defaultdict(list)
    clients = []
    for twin in TWINS:
        band = "adult" if twin.app == "talentedi" else ""  # the one text that asks for an age
        client = await Client(system, *await system.tenant(twin.name), app=twin.name, band=band).__aenter__()
        clients.append(client)
        classes = (twin.takes, twin.makes)
        cases = {(c, h) for (app, data_class, c, h) in UNTIL if app == twin.app and data_class in classes}
        for choice, how in sorted(cases):
            async for key, asset, start in made(client, twin, choice, how):
                if key not in UNTIL or key in found:
                    continue
                found[key] = Seen(asset["ceiling"] - start)
                await first_look(Thing(key, client, asset, found[key]), waiting)
    for dues in clusters(waiting):
        things = [thing for due in dues for thing in waiting[due]]
        await system.advance_to(dues[0] - BEFORE_S)
        for thing in things:
            thing.seen.before = await thing.client.status_of(thing.asset["id"])
        await system.advance_to(dues[-1] + AFTER_S)
        for thing in things:
            thing.seen.after = await thing.client.status_of(thing.asset["id"])
            await prove(thing)
    yield found
    for client in clients:
        await client.__aexit__(None, None, None)


def clusters(dues: Iterable[float]) -> list[list[float]]:
    """Moments that lie so close together that the clock, which only goes on, cannot stop between them."""
    found: list[list[float]] = []
    for due in sorted(dues):
        if found and due - found[-1][-1] < CLOSE_S:
            found[-1].append(due)
        else:
            found.append([due])
    return found


async def first_look(thing: Thing, waiting: defaultdict[float, list[Thing]]) -> None:
    """Gone at once, gone once returned, or to be watched."""
    asset, seen = thing.asset, thing.seen
    if (await thing.client.status_of(asset["id"])) == HTTPStatus.GONE:
        seen.end, seen.after = AT_ONCE, HTTPStatus.GONE
        await prove(thing)
    elif asset.get("on_return"):
        seen.before = (await thing.client.asset(asset["id"])).status_code
        seen.after = (await thing.client.asset(asset["id"])).status_code
        seen.end = ON_RETURN
        await prove(thing)
    else:
        seen.end = "in time"
        waiting[asset["due"]].append(thing)


async def prove(thing: Thing) -> None:
    """Its receipt says that it was unreadable by then."""
    proof = verify(await thing.client.receipt(thing.asset), thing.asset["id"], thing.asset["salt"])
    thing.seen.proven = proof.absent is not None
    thing.seen.late = proof.receipt.t_unreadable_ms > thing.asset["ceiling"] * 1000 and thing.seen.end == "in time"


@pytest.mark.parametrize("key", UNTIL, ids="-".join)
def test_a_life_is_as_long_as_promised(seen: dict[Key, Seen], key: Key) -> None:
    life, until = seen[key], UNTIL[key]
    assert life.after == HTTPStatus.GONE
    assert life.proven
    if until in (AT_ONCE, ON_RETURN):
        assert life.end == until
        assert until == AT_ONCE or life.before == HTTPStatus.OK
    else:
        assert isinstance(until, int)
        assert life.end == "in time"
        assert life.before == HTTPStatus.OK
        assert not life.late
        assert life.ceiling_s == pytest.approx(until * HOUR_S, abs=2.0)


@pytest_asyncio.fixture(scope="module")
async def kept(system: System) -> AsyncIterator[dict[tuple[str, str], tuple[float, int, int]]]:
    """(app, right) → (how long the request was to be kept, its status before, its status after)."""
    found: dict[tuple[str, str], tuple[float, int, int]] = {}
    clients: dict[str, Client] = {}
    views: dict[tuple[str, str], dict[str, Any]] = {}
    for app, right in RECORDS:
        if app not in clients:
            clients[app] = await Client(system, *await system.tenant(app), app=app).__aenter__()
        answer = await clients[app].post(f"/v1/{app}/subjects/{right}/requests", json={"right": right, "text": "why?"})
        assert answer.status_code == HTTPStatus.CREATED, answer.text
        views[app, right] = answer.json()

    async def status(app: str, right: str) -> int:
        return (await clients[app].get(f"/v1/{app}/requests/{views[app, right]['id']}")).status_code

    for moments in clusters({view["kept_until"] for view in views.values()}):
        keys = [key for key, view in views.items() if view["kept_until"] in moments]
        await system.advance_to(moments[0] - BEFORE_S)
        before = {key: await status(*key) for key in keys}
        await system.advance_to(moments[-1] + AFTER_S)
        for key in keys:
            length_s = views[key]["kept_until"] - views[key]["received_at"]
            found[key] = (length_s, before[key], await status(*key))
    yield found
    for client in clients.values():
        await client.__aexit__(None, None, None)


@pytest.mark.parametrize("key", RECORDS, ids="-".join)
def test_a_request_is_kept_as_long_as_promised(kept: dict[tuple[str, str], tuple[float, int, int]], key: Any) -> None:
    length_s, before, after = kept[key]
    days = RECORDS[key]
    assert (days - 2) * DAY_S <= length_s < days * DAY_S  # earlier by a lead and a bucket, and never later
    assert (before, after) == (HTTPStatus.OK, HTTPStatus.GONE)


@pytest.mark.parametrize("app", ["batchpix", "background-removal-ai"])
async def test_what_is_kept_in_memory_is_never_a_job(system: System, app: str) -> None:
    operation = {"batchpix": "stylization", "background-removal-ai": "background_removal"}[app]
    async with Client(system, *await system.tenant(app), app=app) as client:
        answer = await client.submit(operation=operation, choice="")
        assert answer.status_code == HTTPStatus.FORBIDDEN
        assert answer.json()["type"] == "urn:mayfly:problem:in-memory-only"
