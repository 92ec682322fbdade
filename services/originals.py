"""The originals of parked events: read from their topic when an operator asks for one, and kept nowhere."""

from __future__ import annotations

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from stream import topics
from stream.agents.api_operator import Original
from stream.errors import StoreUnavailable

_POLL_MS = 500


async def find(bootstrap: str, partition: int, name: str) -> Original | None:
    """The event of this name (topic/offset), if its partition of `parked` still holds it. Raises StoreUnavailable."""
    tp = TopicPartition(topics.PARKED, partition)
    try:
        async with AIOKafkaConsumer(
            bootstrap_servers=bootstrap, isolation_level="read_committed", enable_auto_commit=False
        ) as reader:
            reader.assign([tp])
            begins, ends = await reader.beginning_offsets([tp]), await reader.end_offsets([tp])
            reader.seek(tp, begins[tp])  # seek_to_beginning would lose against aiokafka's own reset
            while await reader.position(tp) < ends[tp]:
                for record in (await reader.getmany(tp, timeout_ms=_POLL_MS)).get(tp, ()):
                    if ("origin", name.encode()) in record.headers:
                        return Original(record.key or b"", record.value or b"")
    except KafkaError as error:
        raise StoreUnavailable(f"expected to read the topic `parked`, got {type(error).__name__}: try again") from None
    return None
