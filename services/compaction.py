"""Looks at the compacted topics of this worker's partitions now and then, for values that ought to be gone."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from stream import topics
from stream.metrics import compaction as metrics
from stream.metrics.compaction import RECORDS, Sample, Seen, lag_s

log = logging.getLogger(__name__)

EVERY_S = 120.0
LOOKED_AT = (topics.LEDGER, topics.KEYS)
_POLL_MS = 500


async def watch(bootstrap: str, owned: Callable[[], list[int]], *, every_s: float = EVERY_S) -> None:
    """Until cancelled; outlives failures of the broker, and counts them."""
    while True:
        try:
            async with AIOKafkaConsumer(
                bootstrap_servers=bootstrap, isolation_level="read_committed", enable_auto_commit=False
            ) as reader:
                for topic in LOOKED_AT:
                    lags = [
                        await lag_s(_sampled(reader, TopicPartition(topic, partition)), time.time())
                        for partition in owned()
                    ]
                    metrics.LAG_S.labels(topic).set(max(lags, default=0.0))
        except KafkaError as error:
            metrics.UNREAD.inc()
            log.info("compaction could not be looked at: %s", type(error).__name__)
        await asyncio.sleep(every_s)


def _sampled(reader: AIOKafkaConsumer, tp: TopicPartition) -> Sample:
    async def sample(moment: float) -> Sequence[Seen]:
        reader.assign([tp])
        found = (await reader.offsets_for_times({tp: int(moment * 1000)}))[tp]
        end = (await reader.end_offsets([tp]))[tp]
        if found is None or found.offset >= end:
            return ()
        reader.seek(tp, found.offset)
        records: list[Seen] = []
        while len(records) < RECORDS and await reader.position(tp) < end:
            batch = (await reader.getmany(tp, timeout_ms=_POLL_MS, max_records=RECORDS)).get(tp, ())
            records += [Seen(record.key or b"", record.timestamp / 1000) for record in batch]
        return records

    return sample
