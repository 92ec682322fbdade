"""The embedded stack serves, in the way that the rest of the system relies on."""

from __future__ import annotations

import asyncio
import io
import os
import secrets
import subprocess
import sys
from pathlib import Path

import minio
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import UnknownTopicOrPartitionError

from services.local import s3
from services.local.children import ChildFailed, StackBusy, read_records
from services.local.endpoints import Endpoints
from services.local.processes import members
from services.local.ray_head import ray_env
from services.local.stack import LocalStack
from stream.vault import hygiene

pytestmark = pytest.mark.stack


async def _create(address: str, topic: str) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=address)
    await admin.start()
    try:
        await admin.create_topics([NewTopic(topic, 1, 1)])
    finally:
        await admin.close()


async def _topics(address: str) -> list[str]:
    admin = AIOKafkaAdminClient(bootstrap_servers=address)
    await admin.start()
    try:
        return await admin.list_topics()
    finally:
        await admin.close()


def _s3(stack: LocalStack) -> minio.Minio:
    ends = stack.endpoints
    return s3.client(s3.S3(ends.s3_url, ends.s3_access_key, ends.s3_secret_key))


async def test_a_transaction_commits_and_is_read(stack: LocalStack) -> None:
    topic, address = f"t-{secrets.token_hex(4)}", stack.endpoints.kafka
    await _create(address, topic)
    async with AIOKafkaProducer(bootstrap_servers=address, transactional_id=topic) as producer:
        async with producer.transaction():
            await producer.send_and_wait(topic, b"kept", partition=0)
        await producer.begin_transaction()
        await producer.send_and_wait(topic, b"dropped", partition=0)
        await producer.abort_transaction()
        async with producer.transaction():
            await producer.send_and_wait(topic, b"last", partition=0)
    async with AIOKafkaConsumer(bootstrap_servers=address, isolation_level="read_committed") as consumer:
        consumer.assign([TopicPartition(topic, 0)])
        await consumer.seek_to_beginning()
        assert [(await consumer.getone()).value for _ in range(2)] == [b"kept", b"last"]


async def test_no_topic_is_made_by_accident(stack: LocalStack) -> None:
    async with AIOKafkaProducer(bootstrap_servers=stack.endpoints.kafka, request_timeout_ms=500) as producer:
        with pytest.raises(UnknownTopicOrPartitionError):
            await producer.send_and_wait("never-created", b"")


async def test_a_wrong_secret_opens_nothing(stack: LocalStack) -> None:
    ends = stack.endpoints
    assert await asyncio.to_thread(_s3(stack).bucket_exists, ends.bucket)
    stranger = s3.client(s3.S3(ends.s3_url, ends.s3_access_key, "wrong"))
    with pytest.raises(minio.error.S3Error):
        await asyncio.to_thread(stranger.list_buckets)


async def test_secrets_lie_only_where_their_owner_reads(stack: LocalStack) -> None:
    assert Endpoints.load(stack.run_dir) == stack.endpoints
    for name in ("endpoints.json", "s3.json"):
        assert (stack.run_dir / name).stat().st_mode & 0o077 == 0
    assert stack.endpoints.s3_secret_key not in repr(stack.endpoints)


async def test_one_stack_per_folder(stack: LocalStack) -> None:
    with pytest.raises(StackBusy, match="choose another MAYFLY_HOME"):
        async with LocalStack(stack.run_dir):
            pass


ASKER = """
import sys
from ray._raylet import GcsClient
print(len(GcsClient(address=sys.argv[1]).get_all_node_info()))
"""

DRIVER = """
import ray, sys
ray.init(address=sys.argv[1], log_to_driver=False)
@ray.remote
def probe():
    import os, stream
    return os.environ["GLIBC_TUNABLES"] + " " + os.environ["PYTHONMALLOC"]
print(ray.get(probe.remote()))
"""


async def _run(program: str, address: str, env: dict[str, str]) -> tuple[int, str]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", program, address, env=os.environ | env, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    out, _ = await asyncio.wait_for(process.communicate(), 60)
    return process.returncode or 0, out.decode().strip()


async def test_ray_runs_our_code_for_holders_of_the_token(ray_stack: Endpoints, tmp_path: Path) -> None:
    code, out = await _run(DRIVER, ray_stack.ray_address, ray_env(ray_stack.ray_token_path))
    assert (code, out) == (0, " ".join(hygiene.ENVIRONMENT[name] for name in ("GLIBC_TUNABLES", "PYTHONMALLOC")))
    assert Path(ray_stack.ray_token_path).stat().st_mode & 0o077 == 0

    for token, expected in ((ray_stack.ray_token_path, 0), (str(_wrong_token(tmp_path)), 1)):
        code, out = await _run(ASKER, ray_stack.ray_address, ray_env(token))
        assert code == expected
        assert out == ("1" if expected == 0 else "")


def _wrong_token(folder: Path) -> Path:
    path = folder / "token"
    path.write_text(secrets.token_hex(32))
    return path


async def test_data_survive_when_they_are_wanted_and_only_then(tmp_path: Path) -> None:
    async with LocalStack(tmp_path) as first, AIOKafkaProducer(bootstrap_servers=first.endpoints.kafka) as producer:
        await _create(first.endpoints.kafka, "kept")
        await producer.send_and_wait("kept", b"value")
        await asyncio.to_thread(_s3(first).put_object, first.endpoints.bucket, "kept", io.BytesIO(b"value"), 5)
    async with LocalStack(tmp_path, keep=True) as second:
        async with AIOKafkaConsumer(bootstrap_servers=second.endpoints.kafka) as consumer:
            consumer.assign([TopicPartition("kept", 0)])
            await consumer.seek_to_beginning()
            assert (await consumer.getone()).value == b"value"
        await asyncio.to_thread(_s3(second).stat_object, second.endpoints.bucket, "kept")
        assert second.endpoints.s3_secret_key != first.endpoints.s3_secret_key
    async with LocalStack(tmp_path) as third:
        assert "kept" not in await _topics(third.endpoints.kafka)
        assert not await asyncio.to_thread(lambda: list(_s3(third).list_objects(third.endpoints.bucket)))


async def test_a_cancelled_boot_leaves_nothing(tmp_path: Path) -> None:
    stack = LocalStack(tmp_path, ray_cpus=1)
    boot = asyncio.create_task(stack.__aenter__())
    while not {"ray", "s3"} <= {child.name for child in read_records(tmp_path)}:
        await asyncio.sleep(0.01)
    left = read_records(tmp_path)
    boot.cancel()
    with pytest.raises(asyncio.CancelledError):
        await boot
    assert not any(members(child) for child in left)
    assert read_records(tmp_path) == []
    assert not (tmp_path / "endpoints.json").exists()
    assert not stack.ram.exists()


async def test_a_child_that_dies_at_boot_takes_the_rest_along(tmp_path: Path) -> None:
    (tmp_path / "kafka").mkdir()
    (tmp_path / "kafka" / "meta.properties").write_text("version=0\n")  # the broker reads it and gives up
    with pytest.raises(ChildFailed, match=r"^expected kafka to run, but it ended with exit code 1; its last words: \S"):
        async with LocalStack(tmp_path, keep=True):
            pass
    assert read_records(tmp_path) == []
