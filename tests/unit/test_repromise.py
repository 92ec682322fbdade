"""A new policy shortens what is stored and lengthens nothing, once, whoever dies meanwhile (R16)."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace as replace_policy

from stream.agents import records, repromise
from stream.agents.book import Asset
from stream.events.bus import Outcome, OutputFacts
from stream.events.records import Note
from stream.events.rows import AssetState
from stream.ledger import Change
from stream.policies.compiler import BadPolicy, compile_policy, load_all
from stream.policies.vocabulary import Clock, DataClass
from tests.unit.desk import POLICIES, Desk

TEXT = (POLICIES / "testapp.toml").read_text()


def changed(desk: Desk, old: str, new: str) -> None:
    """The test app's policy, with something else in it."""
    assert old in TEXT
    policy = compile_policy(TEXT.replace(old, new).encode(), "testapp.toml", for_tests=True)
    desk.estate.tools = replace(desk.estate.tools, policies={**desk.estate.tools.policies, "testapp": policy})


@pytest.fixture
async def desk(tmp_path: Path) -> Desk:
    return await Desk(tmp_path).open()


async def pictures(desk: Desk) -> tuple[Asset, Asset]:
    """A saved upload and its result."""
    job, (result,) = await desk.leased(await desk.uploaded())
    await desk.outcome(job, Outcome("succeeded", outputs=(OutputFacts("result", 5),), wiped=True))
    return desk.asset(job.body.inputs[0]), desk.asset(result.id)


async def run(desk: Desk) -> None:
    import asyncio

    running = asyncio.create_task(repromise.run(desk.estate))
    while not running.done():
        await asyncio.sleep(0)
        await desk.commit()
    running.result()


async def test_shorter_at_once_and_only_once(desk: Desk) -> None:
    upload, result = await pictures(desk)
    await run(desk)
    assert not repromise.changed_apps(desk.estate)
    changed(desk, 'at_most = "1 h"', 'at_most = "30 min"')
    assert repromise.changed_apps(desk.estate) == {"testapp"}
    await run(desk)
    for before in (upload, result):
        after = desk.asset(before.id)
        assert after.head.ceiling == before.head.created_at + 1800 < before.head.ceiling
        assert after.head.due < before.head.due
        assert after.head.leaf != before.head.leaf  # its receipt will cover the moment that it is told now
    assert not repromise.changed_apps(desk.estate)


async def test_never_longer(desk: Desk) -> None:
    upload, result = await pictures(desk)
    changed(desk, 'at_most = "1 h"', 'at_most = "2 h"')
    await run(desk)
    assert desk.asset(upload.id).head == upload.head
    assert desk.asset(result.id).head == result.head


def succeeded(desk: Desk, text: str, *, after_s: float = 1.0) -> None:
    """From now on a successor of the test app's policy is in force."""
    policy = compile_policy(text.encode(), "testapp.toml", for_tests=True)
    desk.clock.moment += after_s
    policy = replace_policy(policy, since=desk.clock.moment, follows=desk.estate.policy("testapp"))
    desk.estate.tools = replace(desk.estate.tools, policies={**desk.estate.tools.policies, "testapp": policy})


def without(clause: str) -> str:
    """The test app's policy without the promise of this clause."""
    rows = TEXT.split("\n\n")
    left = [row for row in rows if f'clause = "{clause}"' not in row]
    assert len(left) == len(rows) - 1
    return "\n\n".join(left)


@pytest.mark.parametrize("changed_first", [True, False])
async def test_a_clock_that_starts_later_keeps_what_the_earlier_text_said_of_it(
    desk: Desk, *, changed_first: bool
) -> None:
    """A discarded upload goes with its job, although the text that lets it stay came while the job ran."""
    if changed_first:
        succeeded(desk, without("test §3"))
    job, _ = await desk.leased(await desk.uploaded(choice="discard"))
    if not changed_first:
        succeeded(desk, without("test §3"))
        await run(desk)
    await desk.outcome(job, Outcome("succeeded", outputs=(OutputFacts("result", 5),), wiped=True))
    state = desk.asset(job.body.inputs[0]).head.state
    assert state is (AssetState.STORED if changed_first else AssetState.DEAD)


async def test_what_is_made_of_something_older_is_promised_no_more(desk: Desk) -> None:
    job = await desk.uploaded()
    succeeded(desk, TEXT.replace('at_most = "1 h"', 'at_most = "2 h"'))
    _, (result,) = await desk.leased(job)
    assert result.head.ceiling == desk.asset(job.body.inputs[0]).head.ceiling
    _, (later,) = await desk.leased(await desk.uploaded())
    assert later.head.ceiling == desk.clock.moment + 7200


async def test_two_texts_ago_binds_too_and_what_came_later_does_not(desk: Desk) -> None:
    job = await desk.uploaded()
    succeeded(desk, TEXT.replace('at_most = "1 h"', 'at_most = "2 h"'))
    succeeded(desk, TEXT.replace('at_most = "1 h"', 'at_most = "3 h"'))
    hours = [one.promises[0].at_most / 3600 for one in desk.estate.policy("testapp").binding(job.head.created_at)]
    assert hours == [3, 2, 1]
    assert len(list(desk.estate.policy("testapp").binding(desk.clock.moment))) == 1


async def test_a_jobs_record_goes_sooner_too(desk: Desk) -> None:
    job = await desk.uploaded()
    changed(desk, 'at_most = "1 h"', 'at_most = "30 min"')
    await run(desk)
    assert desk.job(job.id).head.due == job.head.created_at + 1800 - desk.estate.rules.lead_s < job.head.due
    changed(desk, 'at_most = "1 h"', 'at_most = "2 h"')
    await run(desk)
    assert desk.job(job.id).head.due == job.head.created_at + 1800 - desk.estate.rules.lead_s


async def test_what_may_not_be_stored_any_more_goes(desk: Desk) -> None:
    upload, _ = await pictures(desk)
    row = '[[promise]]\nof = ["upload_image"]\nat_most = "ram_only"\nclause = "test §9"\n\n'
    text = TEXT.replace("[[promise]]", row + "[[promise]]", 1).partition("[hold]")[0]
    text = text.replace('name = "noop"\n', 'name = "noop"\nruns = "memory"\n')
    policy = compile_policy(text.encode(), "testapp.toml", for_tests=True)
    desk.estate.tools = replace(desk.estate.tools, policies={**desk.estate.tools.policies, "testapp": policy})
    change = Change()
    assert repromise.reckon_again(desk.estate, change, desk.asset(upload.id))
    assert desk.asset(upload.id).head.state is AssetState.HIDDEN


async def test_a_record_counts_from_its_own_clocks(desk: Desk) -> None:
    made = await desk.do(
        records.create,
        app="genzo",
        data_class=DataClass.DEVICE_BASIC,
        tenant="tenant",
        subject="",
        value=Note("phone"),
        clocks={Clock.COLLECTED: desk.clock.moment},
    )
    assert repromise.clocks_of(desk.estate, made) == {Clock.COLLECTED: desk.clock.moment}


async def test_a_floor_comes_to_nothing_that_was_there_before(desk: Desk) -> None:
    """A new text may not refuse the erasure that the one before promised (R16)."""

    async def log() -> Asset:
        return await desk.do(
            records.create,
            app="talentedi",
            data_class=DataClass.NETWORK_SECURITY_LOG,
            tenant="tenant",
            subject="",
            value=Note("signed in"),
            clocks={Clock.LOG_EVENT_RECORDED: desk.clock.moment},
        )

    floored = desk.estate.policy("talentedi")
    free = replace_policy(floored, promises=tuple(replace_policy(one, at_least=None) for one in floored.promises))
    desk.estate.tools = replace(desk.estate.tools, policies={**desk.estate.tools.policies, "talentedi": free})
    before = await log()
    desk.clock.moment += 1
    after = replace_policy(floored, since=desk.clock.moment, follows=free)
    desk.estate.tools = replace(desk.estate.tools, policies={**desk.estate.tools.policies, "talentedi": after})
    assert records.erasable(desk.estate, [before, await log()]) == [before]


async def test_stopped_half_way_it_is_done_again(desk: Desk) -> None:
    upload, result = await pictures(desk)
    changed(desk, 'at_most = "1 h"', 'at_most = "30 min"')
    change = Change()
    assert repromise.reckon_again(desk.estate, change, upload)
    desk.estate.commit(change)
    await desk.commit()  # and then the owner dies: the row of hashes is as it was
    assert repromise.changed_apps(desk.estate) == set(desk.estate.tools.policies)
    await run(desk)
    assert desk.asset(result.id).head.ceiling == result.head.created_at + 1800


SUCCESSOR = "2027-01-01"


@given(st.integers(-400, 400))
@settings(deadline=None)  # files are written and read: how fast says nothing
def test_a_successor_is_in_force_from_its_day_on(days: int) -> None:
    import tempfile
    from datetime import UTC, datetime

    midnight = datetime(2027, 1, 1, tzinfo=UTC).timestamp()
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "testapp.toml").write_text(TEXT)
        later = TEXT.replace('clause = "test §1"\n', f'clause = "test §1"\neffective = "{SUCCESSOR}"\n', 1)
        (Path(folder) / f"testapp@{SUCCESSOR}.toml").write_text(later.replace('"1 h"', '"30 min"'))
        policy = load_all(folder, {}, now=midnight + days * 86_400 - (days == 0) * 0.001)["testapp"]
    (row,) = [one for one in policy.promises_of("result_image") if isinstance(one.at_most, int)]
    assert row.at_most == (1800 if days > 0 else 3600)


@pytest.mark.parametrize(
    ("name", "line", "said"),
    [
        ("testapp@2027-01-01.toml", "", "expected effective = '2027-01-01', as the file's name says"),
        ("testapp.toml", 'effective = "2027-01-01"', "expected a name like app@2027-01-01.toml"),
        ("testapp@soon.toml", 'effective = "soon"', "expected a day after the @"),
    ],
)
def test_a_successor_that_cannot_be(tmp_path: Path, name: str, line: str, said: str) -> None:
    (tmp_path / name).write_text(TEXT.replace('clause = "test §1"\n', f'clause = "test §1"\n{line}\n', 1))
    with pytest.raises(BadPolicy, match=said):
        load_all(str(tmp_path), {})
