"""The Celery side: fetch, open, copy, seal, store, say so. `celery -A benchmarks.celery_peer.tasks worker`.

BROKER names the Redis to use.
"""

from __future__ import annotations

import functools
import os

import redis
import urllib3
from celery import Celery  # type: ignore[import-untyped]

from stream.vault.purposes import stream_name
from stream.vault.secret import Key
from stream.vault.stream_seal import open_, seal

BROKER = os.environ.get("BROKER", "redis://127.0.0.1:6379/0")
APP = "testapp"
DONE = "done"
VISIBILITY_S = 10

app = Celery("peer", broker=BROKER)
app.conf.update(
    task_acks_late=True,
    task_reject_on_worker_lost=True,
    task_ignore_result=True,  # the result is in S3, and that it is there is written below
    worker_prefetch_multiplier=4,
    worker_send_task_events=False,
    broker_transport_options={"visibility_timeout": VISIBILITY_S},
    broker_connection_retry_on_startup=True,
)


@functools.cache
def _http() -> urllib3.PoolManager:
    return urllib3.PoolManager(retries=False, timeout=10.0)


@functools.cache
def _redis() -> redis.Redis:
    return redis.Redis.from_url(BROKER)


@app.task(autoretry_for=(Exception,), retry_backoff=1, max_retries=5)  # type: ignore[untyped-decorator]
def noop(job: str, source: dict[str, str], result: dict[str, str]) -> None:
    """Copy the sealed input into a sealed result. `source`, `result`: asset, URL and data key (hex)."""
    sealed = _http().request("GET", source["url"]).data
    plain = open_(Key(bytearray.fromhex(source["key"])), stream_name(source["asset"]), APP, sealed)
    out = seal(Key(bytearray.fromhex(result["key"])), stream_name(result["asset"]), APP, bytes(plain.view))
    answer = _http().request("PUT", result["url"], body=bytes(out))
    if answer.status != 200:
        raise RuntimeError(f"expected the store to take it, got {answer.status}")
    pipe = _redis().pipeline()
    pipe.incr(f"committed:{job}")
    pipe.publish(DONE, job)
    pipe.execute()
