"""How counts travel and show: between workers, on the topic, on the command line; and what policies let be counted."""

from __future__ import annotations

import json
import math
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import pytest
import pytest_asyncio
from aiokafka.errors import KafkaConnectionError
from typer.testing import CliRunner

from services import cli_metrics, counts, topic_plan
from services.local.ports import free_ports
from services.owner_api import OwnerServer
from services.settings import Settings
from stream import topics
from stream.events.codec import Undecodable
from stream.events.rows import Owner, rows
from stream.metrics import cells
from stream.metrics.anonymity import THRESHOLD, half_width, tail
from stream.metrics.tally import Ask, Counted, Share
from stream.policies import compiler, durations, statistics
from stream.policies.vocabulary import Place

SCHEMA = Path(__file__).parent.parent.parent / "docs" / "metrics.v1.schema.json"
TOKEN = "f00d"
SHARE = Share(1, "mark", (10, 11), 12, (Counted("genzo", "ai_dance", "failed", 11, 7),))


def settings(**more: Any) -> Settings:
    known = dict.fromkeys(("kafka", "s3_url", "s3_access_key", "s3_secret_key", "bucket", "secret", "state_dir"), "")
    return Settings(**known | {"internal_token": TOKEN, "partitions": 2} | more)


def a_cell(hour: int = 480_000, app: str = "genzo", count: int = THRESHOLD) -> cells.Cell:
    return cells.Cell(
        app=app, operation="ai_dance", outcome="succeeded", hour=cells.moment(hour), count=count, partitions=1, of=2
    )


class TestBetweenWorkers:
    @pytest_asyncio.fixture
    async def port(self) -> AsyncIterator[int]:
        """Of a worker that was asked, and has counted."""
        (port,) = free_ports(1)
        self.asked: list[Ask] = []

        def answer(ask: Ask) -> list[Share]:
            self.asked.append(ask)
            return [SHARE]

        server = OwnerServer([], None, port=port, tls_dir="", token=TOKEN, counts=answer, operate=None, render=None)  # type: ignore[arg-type]
        await server.start()
        yield port
        await server.stop()

    @pytest.fixture
    def owners(self, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
        def name(*ports: int) -> None:
            async def read(_kafka: str, topic: str, apply: Any) -> int:
                assert topic == topics.OWNERS
                for partition, port in enumerate(ports):
                    apply(b"%d" % partition, rows.encode(Owner(address=f"127.0.0.1:{port}", epoch=1)))
                return len(ports)

            monkeypatch.setattr(counts, "read_whole", read)

        return name

    async def test_each_worker_is_asked_once(self, port: int, owners: Callable[..., None]) -> None:
        owners(port, port)
        async with counts.counts_of(settings()) as collect:
            assert await collect(Ask(10, 12)) == [SHARE]
        assert self.asked == [Ask(10, 12)]

    async def test_a_worker_that_does_not_answer_is_missing(self, port: int, owners: Callable[..., None]) -> None:
        owners(port, *free_ports(1))
        async with counts.counts_of(settings()) as collect:
            assert await collect(Ask(10, 12)) == [SHARE]

    async def test_who_has_not_the_token_or_asks_nonsense_hears_nothing(
        self, port: int, owners: Callable[..., None]
    ) -> None:
        owners(port)
        async with counts.counts_of(settings(internal_token="wrong")) as collect:
            assert await collect(Ask(10, 12)) == []
        async with aiohttp.ClientSession(headers={"Authorization": f"Bearer {TOKEN}"}) as http:
            assert (await http.post(f"http://127.0.0.1:{port}{counts.PATH}", data=b"nonsense")).status == 400
        assert self.asked == []

    async def test_while_kafka_is_away_nobody_is_heard(self, monkeypatch: pytest.MonkeyPatch) -> None:
        async def away(*_: object) -> int:
            raise KafkaConnectionError

        monkeypatch.setattr(counts, "read_whole", away)
        async with counts.counts_of(settings()) as collect:
            assert await collect(Ask(10, 12)) == []


class TestPolicies:
    def test_what_jobs_do_is_counted_and_what_devices_or_memory_do_is_not(self) -> None:
        for policy in compiler.load_all("").values():
            found = statistics.counted(policy)
            kept = policy.never_stored("usage_statistic") is None
            assert found == {one.name for one in policy.operations if kept and one.runs is Place.SERVER}
            assert bool(found) is (policy.app not in {"background-removal-ai", "batchpix"})  # in memory only

    def test_each_kind_of_cell_is_there_in_every_hour(self) -> None:
        policies = compiler.load_all("").values()
        kinds = cells.universe(policies)
        assert len(kinds) == len(set(kinds)) == 4 * sum(len(statistics.counted(policy)) for policy in policies)
        assert {kind.outcome for kind in kinds} == {"succeeded", "failed", "cancelled", "expired"}

    def test_an_app_whose_policy_is_silent_or_forbids_it_is_not_counted(self) -> None:
        policy = compiler.load("genzo")
        silent = msgspec.structs.replace(
            policy, promises=tuple(one for one in policy.promises if one.data_class != "usage_statistic")
        )
        assert statistics.counted(silent) == frozenset()
        assert math.isnan(statistics.kept_s(silent))
        assert cells.universe([silent]) == ()

    def test_the_topic_keeps_counts_for_as_long_as_all_policies_let_it(self) -> None:
        (topic,) = (one for one in topic_plan.topics_of(settings()) if one.name == "metrics.v1")
        assert (topic.partitioned, topic.config["cleanup.policy"], topic.config["retention.ms"]) == (
            False,
            "delete",
            "-1",
        )
        policy = compiler.load("genzo")
        a_year = tuple(
            msgspec.structs.replace(one, clocks=("collected",), at_most=durations.span("365 d"))
            if one.data_class == "usage_statistic"
            else one
            for one in policy.promises
        )
        strict = msgspec.structs.replace(policy, promises=a_year)
        shortest_s = statistics.shortest_s([policy, strict])
        (topic,) = (one for one in topics.plan(1, 1, shortest_s) if one.name == "metrics.v1")
        assert topic.config["retention.ms"] == str(365 * 86_400 * 1000)


class TestCells:
    def test_the_published_schema_is_that_of_the_code(self) -> None:
        assert json.loads(SCHEMA.read_text()) == cells.schema()

    def test_a_cell_reads_as_it_was_written_also_with_a_field_that_came_later(self) -> None:
        cell = a_cell()
        assert cells.decode(cell.encode()) == cell
        assert cells.decode(cell.encode()[:-1] + b',"later":1}') == cell
        old = b'{"app":"genzo","operation":"ai_dance","outcome":"succeeded","hour":"2024-10-04T00:00:00Z","count":102'
        assert cells.decode(old + b',"partitions":1,"of":2}') == cell
        with pytest.raises(Undecodable, match=r"expected a published cell in metrics\.v1"):
            cells.decode(b"{}")
        with pytest.raises(Undecodable):
            cells.decode(a_cell(count=49).encode())

    def test_the_margin_is_the_noises(self) -> None:
        assert 2 * tail(half_width() + 1) <= 0.05 < 2 * tail(half_width())


class TestTail:
    @pytest.fixture
    def tail_of(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., str]:
        """What `mayfly metrics tail` prints of a topic with three cells."""
        (tmp_path / "settings.json").write_bytes(msgspec.json.encode(settings(kafka="broker")))
        monkeypatch.setenv("MAYFLY_SETTINGS", str(tmp_path / "settings.json"))

        async def read(kafka: str, topic: str, apply: Any, *_: object) -> int:
            assert (kafka, topic) == ("broker", "metrics.v1")
            for n, app in enumerate(("genzo", "talentedi", "genzo")):
                apply(b"", a_cell(480_000 + n, app).encode())
            apply(b"", None)
            return 3

        monkeypatch.setattr(cli_metrics, "read_whole", read)
        monkeypatch.setattr(cli_metrics, "follow", read)

        def run(*words: str) -> str:
            found = CliRunner().invoke(
                cli_metrics.app, ["tail", *words], catch_exceptions=False, env={"COLUMNS": "120"}
            )
            assert found.exit_code == 0
            return found.stdout

        return run

    def test_lines_for_programs(self, tail_of: Callable[..., str]) -> None:
        assert [json.loads(line)["app"] for line in tail_of("--json").splitlines()] == ["genzo", "talentedi", "genzo"]
        assert len(tail_of("--json", "--app", "genzo").splitlines()) == 2
        assert json.loads(tail_of("--json", "-n", "1"))["hour"] == "2024-10-04T02:00:00Z"
        assert len(tail_of("--json", "-n", "0").splitlines()) == len(tail_of("--follow").splitlines()) == 3

    def test_a_table_for_people(self, tail_of: Callable[..., str]) -> None:
        shown = tail_of()
        assert "nothing below 102 is published" in shown
        assert shown.count("1 of 2") == 3

    def test_the_schema(self) -> None:
        assert json.loads(CliRunner().invoke(cli_metrics.app, ["schema"]).stdout) == cells.schema()
