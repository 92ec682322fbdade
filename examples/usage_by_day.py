"""An analyst's consumer of `metrics.v1`: users by day, app, operation and outcome, as CSV, with the noise's margin.

    python examples/usage_by_day.py --kafka HOST:PORT

It needs aiokafka and nothing of Mayfly. What it knows is in docs/metrics.md: values are JSON, each with the scale of
its noise; noise of different cells is independent, so margins add as squares; a user who comes in several hours is in
several cells, so a day's sum counts users by hour and not different users; what is not there was below the threshold.
"""

from __future__ import annotations

import argparse
import asyncio
import csv
import json
import math
import sys
from collections import defaultdict
from dataclasses import dataclass

from aiokafka import AIOKafkaConsumer, TopicPartition

TOPIC = TopicPartition("metrics.v1", 0)
SIGMAS = 1.96  # 19 of 20


@dataclass
class Day:
    """What one line of the table adds up."""

    count: int = 0
    variance: float = 0.0
    hours: int = 0
    partial: int = 0  # hours of which not all partitions were heard

    def add(self, cell: dict[str, float]) -> None:
        """One published cell."""
        alpha = math.exp(-1 / cell["scale"])
        self.count += int(cell["count"])
        self.variance += 2 * alpha / (1 - alpha) ** 2
        self.hours += 1
        self.partial += cell["partitions"] < cell["of"]

    @property
    def margin(self) -> int:
        """Of the noise, in 19 of 20 cases."""
        return math.ceil(SIGMAS * math.sqrt(self.variance))


async def read(kafka: str) -> dict[tuple[str, ...], Day]:
    """Everything that is published so far."""
    days: defaultdict[tuple[str, ...], Day] = defaultdict(Day)
    consumer = AIOKafkaConsumer(
        bootstrap_servers=kafka,
        isolation_level="read_committed",  # what a crash left half-published is no publication
        enable_auto_commit=False,
        auto_offset_reset="earliest",
    )
    async with consumer:
        consumer.assign([TOPIC])
        end = (await consumer.end_offsets([TOPIC]))[TOPIC]
        while await consumer.position(TOPIC) < end:
            for record in (await consumer.getmany(TOPIC, timeout_ms=500)).get(TOPIC, ()):
                cell = json.loads(record.value)
                days[cell["hour"][:10], cell["app"], cell["operation"], cell["outcome"]].add(cell)
    return days


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--kafka", required=True, help="HOST:PORT of a broker")
    days = asyncio.run(read(parser.parse_args().kafka))
    table = csv.writer(sys.stdout)
    table.writerow(("day", "app", "operation", "outcome", "users_by_hour", "margin", "hours", "hours_partly_heard"))
    for labels, day in sorted(days.items()):
        table.writerow((*labels, day.count, day.margin, day.hours, day.partial))


if __name__ == "__main__":
    main()
