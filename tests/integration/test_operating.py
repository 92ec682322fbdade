"""What an operator does by hand, with the real commands on the real system."""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

import httpx
import pytest
import pytest_asyncio
from aiokafka import AIOKafkaProducer
from prometheus_client.parser import text_string_to_metric_families
from typer.testing import CliRunner

from services import cli, operator
from services.gateway import tenant_topic
from services.gateway.tenants import Limits
from services.local.running import Running
from services.local.system import SETTINGS_FILE, SYSTEM_FILE, System
from stream import topics
from stream.events.bus import GenerateRequested, bus
from tests.integration.client import APP, Client, asset_of, eventually, records, worker_metrics, worker_texts
from tests.labels import BOUNDS

pytestmark = pytest.mark.stack


@pytest_asyncio.fixture(scope="module")
async def client(system: System) -> AsyncIterator[Client]:
    async with Client(system, *await system.tenant(APP)) as client:
        yield client


@pytest.fixture
def mayfly(system: System, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A command on this system; what it prints as JSON."""
    ports = json.loads((system.folder / SYSTEM_FILE).read_text())["workers"]
    monkeypatch.setenv("MAYFLY_SETTINGS", str(system.folder / SETTINGS_FILE))
    monkeypatch.setattr(operator, "running", lambda: Running(system.url, ports))

    async def run(*words: str) -> Any:
        result = await asyncio.to_thread(CliRunner().invoke, cli.app, [*words, "--json"], catch_exceptions=False)
        assert result.exit_code == 0, result.output
        return json.loads(result.stdout)

    return run


async def put(system: System, topic: str, partition: int, value: bytes) -> int:
    """An event by hand; its offset."""
    async with AIOKafkaProducer(bootstrap_servers=system.settings.kafka, enable_idempotence=True) as producer:
        sent = await producer.send_and_wait(topic, value, key=b"by hand", partition=partition)
        return int(sent.offset)


class TestJobs:
    async def test_a_running_job_is_cancelled_and_begun_anew(self, client: Client, mayfly: Any) -> None:
        begun = await client.begin(params={"steps": 2000, "step_s": 0.02})
        job = begun["id"]
        await client.job_when(job, lambda view: view["state"] == "leased")
        listed = await mayfly("jobs", "ls", "--state", "leased", "--tenant", client.tenant)
        assert [line["id"] for line in listed["jobs"]] == [job]
        assert listed["jobs"][0]["actor"].startswith("engine-noop-")
        ended = await mayfly("jobs", "cancel", job)
        assert (ended["state"], ended["reason"]) == ("cancelled", "cancelled-by-operator")
        view = await client.job(job)
        assert (view["state"], view["reason"]) == ("cancelled", "cancelled-by-operator")
        assert await client.status_of(asset_of(begun, "input")["id"]) == 200  # its user chose to keep it
        assert (await mayfly("jobs", "ls", "--tenant", client.tenant))["jobs"] == []
        again = await mayfly("jobs", "retry", job)
        assert again["state"] in {"queued", "leased"}
        await client.job_when(job, lambda view: view["state"] == "leased")
        assert (await mayfly("jobs", "show", job))["no_retry"][0] == "job-not-ended"
        assert (await mayfly("jobs", "cancel", job))["fence"] == 2

    async def test_a_failed_job_is_done_again_from_its_beginning(self, client: Client, mayfly: Any) -> None:
        job = (await client.begin(params={"fail": True}))["id"]
        assert (await client.ended(job))["state"] == "failed"
        first = (await mayfly("jobs", "show", job))["job"]
        await mayfly("jobs", "retry", job)

        async def anew() -> Any:
            line = (await mayfly("jobs", "show", job))["job"]
            return line if line["state"] == "failed" else None

        second = await eventually(anew)
        assert second["fence"] == first["fence"] * 2  # all its attempts once more
        assert second["attempts"] == first["attempts"]

    async def test_what_went_with_its_job_is_named_as_the_reason(self, client: Client, mayfly: Any) -> None:
        job = (await client.begin(params={"fail": True}, choice="discard"))["id"]
        assert (await client.ended(job))["state"] == "failed"
        assert (await mayfly("jobs", "show", job))["no_retry"][0] == "inputs-gone"


async def limited(system: System, **limits: Any) -> Client:
    """A tenant with limits, that the gateway knows of."""
    tenant, key = await tenant_topic.add(system.settings.kafka, (APP,), Limits(**limits))
    client = Client(system, tenant.id, key)

    async def known() -> bool:
        return (await client.get(f"/v1/{APP}/jobs/none")).status_code != 401

    await eventually(known)
    return client


class TestAdmission:
    async def test_a_tenants_jobs_are_limited_over_all_owners_and_nobody_elses(self, client: Client) -> None:
        before = (await worker_metrics(client.system))["mayfly_admission_refused_total", "interactive", "too-many-jobs"]
        async with aclosing(await limited(client.system, jobs=3)) as small:
            subjects = [small.place(partition) for partition in range(3)]  # of both workers
            begun = [await small.submit(subject) for subject in subjects]
            assert [answer.status_code for answer in begun] == [201] * 3

            async def refused() -> Any:  # once the last of them has been heard of by the other worker
                answer = await small.submit(small.place(3))
                if answer.status_code == 429:
                    return answer
                begun.append(answer)
                return None

            answer = await eventually(refused)
            assert answer.json()["type"] == "urn:mayfly:problem:too-many-jobs"
            assert int(answer.headers["retry-after"]) >= 1
            assert (await client.done())["state"] == "succeeded"
            ids = [answer.json()["id"] for answer in begun]
            assert {(await small.job(job))["queue_position"] >= 0 for job in ids} == {True}
            for job in ids:
                assert (await small.delete(f"/v1/{APP}/jobs/{job}")).status_code == 202

            async def let_in() -> bool:
                return (await small.submit(small.place(3))).status_code == 201

            await eventually(let_in)
        after = (await worker_metrics(client.system))["mayfly_admission_refused_total", "interactive", "too-many-jobs"]
        assert after > before


class TestMetrics:
    async def test_every_label_that_was_ever_used_is_bounded(self, client: Client) -> None:
        await client.done(lane="batch")
        async with httpx.AsyncClient() as http:
            texts = [(await http.get(f"{client.system.url}/metrics")).text, *await worker_texts(client.system)]
        families = [family for text in texts for family in text_string_to_metric_families(text)]
        ours = [sample for family in families if family.name.startswith("mayfly") for sample in family.samples]
        odd = {
            (sample.name, label, value)
            for sample in ours
            for label, value in sample.labels.items()
            if label != "le" and not BOUNDS[label][1](value)
        }
        assert odd == set()
        told = {sample.name for sample in ours}
        pools = {sample.labels["pool"] for sample in ours if sample.name == "mayfly_pool_desired"}
        assert pools >= {"noop"}
        assert "mayfly_compaction_lag_seconds" in told
        assert {sample.value for sample in ours if sample.name == "mayfly_scheduler_silent"} == {0.0}
        assert sum(s.value for s in ours if s.name == "mayfly_partitions_owned") == client.system.settings.partitions
        waits = [s.value for s in ours if s.name == "mayfly_lane_wait_seconds_count" and s.labels["lane"] == "batch"]
        assert sum(waits) >= 1
        ends = {s.labels["end"] for s in ours if s.name == "mayfly_leases_ended_total" and s.value}
        assert ends >= {"useful", "cancelled"}
        late = [s.value for s in ours if s.name == "mayfly_erasure_slack_seconds_bucket" and s.labels["le"] == "0.0"]
        assert late
        assert not any(late)


class TestParked:
    async def test_an_event_is_replayed_once_and_meets_its_agent(self, client: Client, mayfly: Any) -> None:
        system = client.system
        value = bus.encode(
            GenerateRequested(job=f"job_{secrets.token_hex(8)}", at=0.0), b"sealed " + secrets.token_bytes(8)
        )
        offset = await put(system, topics.UPLOAD, 1, value)  # no such event belongs there
        name = f"1/{topics.UPLOAD}/{offset}"

        async def of_mine() -> Any:
            lines = (await mayfly("parked", "ls", "--topic", topics.UPLOAD))["parked"]
            return [f"{line['partition']}/{line['name']}" for line in lines if line["partition"] == 1]

        async def parked() -> bool:
            return name in await of_mine()

        await eventually(parked)
        shown = await mayfly("parked", "show", name)
        assert (shown["parked"]["reason"], shown["event"]) == ("unexpected-event", "generate.requested")
        assert shown["sealed_bytes"] == 15
        assert b"sealed" not in json.dumps(shown).encode().replace(b"sealed_bytes", b"")
        before = (await worker_metrics(system))["mayfly_operator_actions_total", "replay"]
        assert "again" not in await mayfly("parked", "replay", name)

        async def anew() -> Any:  # it is as unexpected as ever: its agent has parked it under its new offset
            return next((other for other in await of_mine() if int(other.rpartition("/")[2]) > offset), None)

        other = await eventually(anew)
        assert (await mayfly("parked", "replay", name))["again"] is True
        found = [record for record in await records(system.settings.kafka, topics.UPLOAD) if record.value == value]
        assert [f"1/upload/{record.offset}" for record in found] == [name, other]
        assert {record.key for record in found} == {b"by hand"}
        assert (await worker_metrics(system))["mayfly_operator_actions_total", "replay"] == before + 1
        for each in (name, other):
            await mayfly("parked", "drop", each)
        assert not {name, other} & set(await of_mine())
        await client.done(client.place(1))  # and the partition goes on
