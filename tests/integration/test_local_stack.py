"""The embedded stack serves, in the way that the rest of the system relies on."""

from __future__ import annotations

import asyncio
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
from services.local.children import StackBusy
from services.local.endpoints import Endpoints
from services.local.ray_head import ray_env
from services.local.stack import LocalStack

pytestmark = pytest.mark.stack


async def test_a_transaction_commits_and_is_read(stack: LocalStack) -> None:
    topic, address = f"t-{secrets.token_hex(4)}", stack.endpoints.kafka
    admin = AIOKafkaAdminClient(bootstrap_servers=address)
    await admin.start()
    try:
        await admin.create_topics([NewTopic(topic, 1, 1)])
    finally:
        await admin.close()
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
    served = s3.S3(ends.s3_url, ends.s3_access_key, ends.s3_secret_key)
    assert await asyncio.to_thread(s3.client(served).bucket_exists, ends.bucket)
    stranger = s3.client(served, secret_key="wrong")
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


DRIVER = """
import ray, sys
ray.init(address=sys.argv[1], log_to_driver=False)
@ray.remote
def probe():
    import os, stream
    return os.environ["GLIBC_TUNABLES"] + " " + os.environ["PYTHONMALLOC"]
print(ray.get(probe.remote()))
"""


async def _drive(address: str, env: dict[str, str]) -> tuple[int, str]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", DRIVER, address, env=os.environ | env, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    out, _ = await asyncio.wait_for(process.communicate(), 60)
    return process.returncode or 0, out.decode().strip()


async def test_ray_runs_our_code_for_holders_of_the_token(ray_stack: Endpoints, tmp_path: Path) -> None:
    code, out = await _drive(ray_stack.ray_address, ray_env(ray_stack.ray_token_path))
    assert (code, out) == (0, "glibc.malloc.perturb=165 malloc")
    assert Path(ray_stack.ray_token_path).stat().st_mode & 0o077 == 0

    wrong = tmp_path / "token"
    wrong.write_text(secrets.token_hex(32))
    code, out = await _drive(ray_stack.ray_address, ray_env(str(wrong)))
    assert code != 0
    assert out == ""
