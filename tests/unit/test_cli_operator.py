"""`mayfly jobs` and `mayfly parked` without an owner: which one is asked, for what, and how it is told."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
import typer
from aiohttp import web
from typer.testing import CliRunner

from services import approvers, cli_jobs, cli_parked, operator, owner_call, unanswered
from services.gateway.errors import OwnerAway, OwnerRefused
from services.local.ports import free_ports
from services.local.running import Running
from services.settings import Settings
from stream.agents import api_operator as api
from stream.agents import cases, operators
from stream.agents.api import Problem
from stream.agents.parked import UnknownParked
from stream.audit.operated import Action
from stream.events.rows import JobState, Lane
from stream.ids import Kind, Mint, UnknownId
from tests.unit.settled import SECRET, settled

PARTITIONS = 3

Asked = list[tuple[int, Any]]


@pytest.fixture
def known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    known = settled(tmp_path, monkeypatch, partitions=PARTITIONS)
    monkeypatch.setattr(operator, "running", lambda: Running(url="", workers={"worker-1": 1}))
    return known


@pytest.fixture
def asked(known: Settings, monkeypatch: pytest.MonkeyPatch) -> Asked:
    """What owners were asked: (partition, request)."""
    seen: Asked = []

    async def ask(_known: Settings, _ports: list[int], partition: int, request: Any, _reply: Any, **_: Any) -> Any:
        seen.append((partition, request))
        return answer(partition, request)

    monkeypatch.setattr(owner_call, "ask", ask)
    return seen


def job_id(partition: int) -> str:
    return Mint(bytes.fromhex(SECRET), PARTITIONS).mint(Kind.JOB, "t", partition)


def line(job: str, created_at: float = 0.0, **more: Any) -> api.JobLine:
    fields: dict[str, Any] = {
        "id": job,
        "app": "testapp",
        "state": JobState.QUEUED,
        "stage": "generate",
        "lane": Lane.BATCH,
        "created_at": created_at,
        "age_s": 90.0,
        "due": 2e9,
        "tenant": "ten_1",
    }
    return api.JobLine(**fields | more)


def parked(partition: int, name: str, reason: str = "unexpected-event", **more: Any) -> api.ParkedLine:
    topic = name.partition("/")[0]
    return api.ParkedLine(partition, name, topic, reason, at=10.0 - partition, age_s=7200.0, due=2e9, **more)


def answer(partition: int, request: Any) -> Any:  # noqa: PLR0911
    match request:
        case api.ListJobs():
            return api.JobLines((line(job_id(partition), created_at=10.0 - partition),), matched=5)
        case api.ShowJob():
            held = api.HeldLine("ast_x", "input", 0, "stored", "face_image", "000 §1", 2e9, float("inf"))
            forever = msgspec.structs.replace(held, role="result", due=float("inf"))
            return api.JobDetail(
                line(request.job), (held, forever), ("inputs-gone", "expected its input"), {3: "no-face"}
            )
        case api.ListParked():
            lines = (parked(partition, "generate/7"), parked(partition, "upload/9", reason="undecodable"))
            return api.ParkedLines(lines)
        case api.ShowParked():
            return api.ParkedDetail(parked(partition, request.name), 90, "ab" * 32, "expire.due", "{}", 17)
        case api.ReplayParked():
            return parked(partition, request.name, handled="replayed", handled_at=1e9, again=True)
        case api.DropParked():
            return parked(partition, request.name)
        case _:
            return line(request.job, state=JobState.CANCELLED, reason="cancelled-by-operator", attempts=2)


def run(app: typer.Typer, *words: str) -> str:
    result = CliRunner().invoke(app, words, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def halved(app: typer.Typer, *words: str) -> tuple[str, str]:
    """(stdout, stderr) of a command that says that its answer is not whole."""
    result = CliRunner().invoke(app, words, catch_exceptions=False)
    assert result.exit_code == unanswered.EXIT, result.output
    return result.stdout, result.stderr


class TestJobs:
    def test_every_owner_is_asked_and_the_oldest_come_first(self, asked: Asked) -> None:
        told = json.loads(run(cli_jobs.app, "ls", "--json"))
        assert [partition for partition, _ in asked] == [0, 1, 2]
        assert {request for _, request in asked} == {api.ListJobs(states=cli_jobs.UNFINISHED)}
        assert [job["created_at"] for job in told["jobs"]] == [8.0, 9.0, 10.0]
        assert told["matched"] == 15
        assert told["unanswered"] == []

    def test_filters_reach_the_owner(self, asked: Asked) -> None:
        options = "--app genzo --state failed --state expired --lane batch --tenant ten_1 --older-than 2h --limit 7"
        run(cli_jobs.app, "ls", *options.split())
        assert asked[0][1] == api.ListJobs(
            "genzo", (JobState.FAILED, JobState.EXPIRED), Lane.BATCH, "ten_1", 7200.0, limit=7
        )
        run(cli_jobs.app, "ls", "--all")
        assert asked[-1][1].states == ()

    @pytest.mark.usefixtures("asked")
    def test_people_see_a_table_and_how_much_is_left_out(self) -> None:
        shown = run(cli_jobs.app, "ls")
        assert "1.5 min" in shown
        assert "ten_1" in shown
        assert "12 more match" in shown

    def test_one_job_and_why_it_cannot_be_retried(self, asked: Asked) -> None:
        job = job_id(2)
        shown = run(cli_jobs.app, "show", job)
        assert asked == [(2, api.ShowJob(job))]
        assert "no retry: inputs-gone" in shown
        assert "never" in shown
        assert "item 3 gave nothing: no-face" in shown
        told = json.loads(run(cli_jobs.app, "show", job, "--json"))
        assert told["assets"][1]["due"] is None

    def test_a_cancellation_is_signed_by_who_wants_to_be_named(self, asked: Asked, tmp_path: Path) -> None:
        public = approvers.make_key(tmp_path / "alice.key")
        job = job_id(1)
        shown = run(cli_jobs.app, "cancel", job, "--by", "alice", "--key", str(tmp_path / "alice.key"))
        assert "cancelled, testapp, lane batch" in shown
        assert "2 attempts failed, cancelled-by-operator" in shown
        ((partition, request),) = asked
        assert (partition, request.job, request.wait_s) == (1, job, 15.0)
        assert cases.approvers(operators.signed_part(Action.CANCEL, job), request.signatures, {"alice": public})
        run(cli_jobs.app, "retry", job, "--json")
        assert asked[-1] == (1, api.RetryJob(job))
        with pytest.raises(approvers.BadApprovers):
            run(cli_jobs.app, "retry", job, "--by", "alice")

    @pytest.mark.parametrize("name", ["nonsense", "job_", "ast_x"])
    def test_what_is_no_id_is_asked_of_nobody(self, asked: Asked, name: str) -> None:
        with pytest.raises(UnknownId):
            run(cli_jobs.app, "show", name)
        assert asked == []


class TestParked:
    def test_all_partitions_oldest_first_and_filtered(self, asked: Asked) -> None:
        told = json.loads(run(cli_parked.app, "ls", "--json"))
        assert [partition for partition, _ in asked] == [0, 1, 2]
        assert told["unanswered"] == []
        assert [line["at"] for line in told["parked"]] == [8.0, 8.0, 9.0, 9.0, 10.0, 10.0]
        shown = run(cli_parked.app, "ls", "--reason", "undecodable")
        assert shown.count("upload/9") == 3
        assert "generate/7" not in shown
        assert "2.0 h" in shown
        assert run(cli_parked.app, "ls", "--topic", "generate").count("upload") == 0

    def test_an_event_is_named_with_its_partition(self, asked: Asked) -> None:
        shown = run(cli_parked.app, "show", "1/generate/7")
        assert asked == [(1, api.ShowParked("generate/7"))]
        assert "17 bytes are sealed, and stay so" in shown
        assert "expire.due {}" in shown

    def test_a_second_replay_says_when_it_was_done(self, asked: Asked) -> None:
        assert "replayed at 2001-09-09 01:46:40 UTC, before this was asked" in run(
            cli_parked.app, "replay", "2/generate/7"
        )
        assert "2/generate/7 is dropped" in run(cli_parked.app, "drop", "2/generate/7")
        assert asked == [(2, api.ReplayParked("generate/7")), (2, api.DropParked("generate/7"))]

    @pytest.mark.parametrize("name", ["", "generate/7", "3/generate/7", "-1/generate/7", "٣/x/1"])
    def test_what_names_no_partition_is_asked_of_nobody(self, asked: Asked, name: str) -> None:
        with pytest.raises(UnknownParked):
            run(cli_parked.app, "show", "--", name)
        assert asked == []


@pytest.mark.usefixtures("known")
class TestHalfAnAnswer:
    """Partition 0 has no owner, and the owner of 1 fails."""

    @pytest.fixture(autouse=True)
    def away(self, monkeypatch: pytest.MonkeyPatch) -> None:
        async def ask(_known: Settings, _ports: list[int], partition: int, request: Any, _reply: Any, **_: Any) -> Any:
            if partition == 0:
                raise OwnerAway("expected a worker")
            if partition == 1:
                raise OwnerRefused(Problem("internal", 500, "the owner failed"))
            return answer(partition, request)

        monkeypatch.setattr(owner_call, "ask", ask)

    @pytest.mark.parametrize(("app", "what"), [(cli_jobs.app, "jobs"), (cli_parked.app, "parked")])
    def test_what_answers_is_listed_and_what_does_not_is_named(self, app: typer.Typer, what: str) -> None:
        shown, told = halved(app, "ls")
        assert "1.5 min" in shown or "2.0 h" in shown
        assert told.startswith("not all: no answer of partition 0 (owner-away), 1 (internal). ")
        shown, told = halved(app, "ls", "--json")
        found = json.loads(shown)
        assert found[what]
        assert found["unanswered"] == [
            {"partition": 0, "reason": "owner-away"},
            {"partition": 1, "reason": "internal"},
        ]
        assert told

    def test_one_job_of_a_partition_that_is_away_is_no_half_answer(self) -> None:
        with pytest.raises(OwnerAway):
            run(cli_jobs.app, "show", job_id(0))


@pytest.mark.parametrize("error", [OwnerAway("away"), OwnerRefused(Problem("unauthenticated", 401, "no token"))])
def test_no_answer_at_all_and_a_wrong_request_are_no_list(
    known: Settings, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    async def ask(*_: Any, **__: Any) -> Any:
        raise error

    monkeypatch.setattr(owner_call, "ask", ask)
    with pytest.raises(type(error)):
        run(cli_jobs.app, "ls")


async def test_a_worker_that_hangs_does_not_keep_what_the_others_know(
    known: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = asyncio.Event()

    async def hang(_request: web.Request) -> web.Response:
        await gone.wait()
        return web.Response()

    async def answered(request: web.Request) -> web.Response:
        partition = int(request.match_info["partition"])
        if partition == 2:
            return web.Response(status=421, body=msgspec.msgpack.encode(Problem("not-owner", 421, "another's")))
        return web.Response(body=msgspec.msgpack.encode(answer(partition, api.ListJobs())))

    runners, ports = [], free_ports(2)
    for port, handler in zip(ports, (hang, answered), strict=True):
        app = web.Application()
        app.router.add_post("/v1/{partition}/{verb}", handler)
        runners.append(web.AppRunner(app, shutdown_timeout=0.1))
        await runners[-1].setup()
        await web.TCPSite(runners[-1], "127.0.0.1", port).start()
    monkeypatch.setattr(owner_call, "LIST_TIMEOUT_S", 0.3)
    try:
        found, silent = await owner_call.ask_every(known, ports, api.ListJobs(), api.JobLines)
    finally:
        gone.set()
        for runner in runners:
            await runner.cleanup()
    assert [partition for partition, _ in found] == [0, 1]
    assert silent == [unanswered.Unanswered(2, "owner-away")]


@pytest.mark.parametrize(
    ("text", "seconds"), [("90", 90.0), ("90s", 90.0), ("15m", 900.0), ("2h", 7200.0), ("3d", 259_200.0)]
)
def test_how_long_ago_is_said_in_the_usual_units(text: str, seconds: float) -> None:
    assert operator.seconds(text) == seconds


@pytest.mark.parametrize("text", ["", "m", "-1h", "1.5h", "1w", "٣h"])
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(typer.BadParameter):
        operator.seconds(text)


@pytest.mark.parametrize(("seconds", "shown"), [(0.4, "0 s"), (59.0, "59 s"), (210.0, "3.5 min"), (86_400.0, "1.0 d")])
def test_ages_are_shown_in_the_largest_unit(seconds: float, shown: str) -> None:
    assert operator.age(seconds) == shown
