"""A worker: Faust's agents, the estates it owns, the owner API for gateways, and one conversation with Ray.

python -m services.worker --port N        (settings from MAYFLY_SETTINGS)
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import functools
import json
import logging
import os
import secrets
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import faust
import msgspec
import uvloop

from ray_cluster.client import Cluster
from ray_cluster.engines import registry
from ray_cluster.engines.diffusion import models as big_models
from services import approvers, compaction, memory, originals, policies_followed, register, render_api
from services.clock_topic import follow_clock
from services.costs import LearntCosts
from services.counts import counts_of
from services.owner_api import OwnerServer, revoke_at
from services.pool_settings import cluster_config
from services.post import post
from services.roots import claim_of, root_stores
from services.settings import Settings, load
from services.topic_plan import retained_s
from stream import topics
from stream.agents import (
    admission,
    collector,
    crowd,
    ending,
    incidents,
    jobs,
    repromise,
    retention,
    rights,
    signing,
)
from stream.agents.admission import MAX_WAIT_S
from stream.agents.app import make_app
from stream.agents.closing import Closer
from stream.agents.dispatch import Dispatcher
from stream.agents.estate import Estate, Rules, Tools
from stream.agents.estates import Estates
from stream.agents.flow import Decide, Flow
from stream.agents.grants import Grants
from stream.agents.publishing import PARTITION, Collect, Publisher
from stream.agents.slices import Slices
from stream.agents.sweeper import Sweeper
from stream.audit.log import Entry, Log
from stream.audit.signer import open_signer
from stream.clock import Clock, DemoClock, RealClock
from stream.events.bus import (
    DetectCompleted,
    DetectRequested,
    Event,
    ExpireCompleted,
    ExpireDue,
    GenerateCompleted,
    GenerateRequested,
    UploadReceived,
)
from stream.events.rows import Owner, rows
from stream.ids import Mint
from stream.known import Known
from stream.ledger import Change, Ledger
from stream.metrics import worker as metrics
from stream.policies import compiler
from stream.policies.announcements import Announcement
from stream.policies.calendar import Holidays
from stream.vault.custody import S3Custody
from stream.vault.pages import KeyPages
from stream.vault.resident import MemoryUnsafe
from stream.vault.rootstore import RootStore

log = logging.getLogger(__name__)

STOP_S = 10.0

AGENTS: dict[str, dict[type[Event], Decide]] = {
    topics.UPLOAD: {UploadReceived: jobs.upload_received},
    topics.DETECT: {DetectRequested: jobs.detect_requested, DetectCompleted: jobs.attempt_completed},
    topics.GENERATE: {GenerateRequested: jobs.generate_requested, GenerateCompleted: jobs.attempt_completed},
    topics.EXPIRE: {ExpireDue: retention.expire_due, ExpireCompleted: retention.expire_completed},
}


@dataclass(slots=True)
class Wiring:
    """What a worker's parts have in common."""

    settings: Settings
    address: str
    tools: Tools
    roots: Callable[[int], RootStore]
    call_gateway: Callable[[str, str], Any]
    collect: Collect
    dispatcher: Dispatcher | None = None
    known: Known = field(default_factory=lambda: Known(topics.written()))


def rules_of(settings: Settings) -> Rules:
    """The settings that an owner decides by."""
    return Rules(**{name: getattr(settings, name) for name in Rules.__dataclass_fields__ if hasattr(settings, name)})


async def open_estate(wiring: Wiring, partition: int, on_lost: Callable[..., None]) -> Estate:
    """Fence, replay, index; announce; let what is overdue die; only then serve."""
    with collector.paused():
        return await _open_estate(wiring, partition, on_lost)


async def _open_estate(wiring: Wiring, partition: int, on_lost: Callable[..., None]) -> Estate:
    settings, tools = wiring.settings, wiring.tools
    state = Path(settings.state_dir)
    pages = KeyPages(partition, wiring.roots(partition), grace_s=settings.root_store_grace_s)
    ledger = Ledger(
        partition,
        pages,
        bootstrap=settings.kafka,
        known=wiring.known,
        window_s=settings.group_window_s,
        on_lost=on_lost,
        observe=tools.clock.observe,
    )
    began = time.monotonic()
    replay = await ledger.open()
    signer = open_signer(state / "signing")
    audit = Log(partition, signer)
    slices = Slices()
    for leaf in replay.audit:
        if slices.over():
            await asyncio.sleep(0)
        audit.replay(msgspec.msgpack.decode(leaf, type=Entry))
    estate = Estate(ledger, pages, audit, tools)
    try:
        estate.grants = Grants(
            wiring.call_gateway,
            ttl_s=settings.grant_ttl_s,
            wait_s=settings.revoke_wait_s,
            real_time=tools.real_time,
        )
        if replay.records:
            estate.grants.taken_over()
        assert wiring.dispatcher is not None
        estate.dispatcher = wiring.dispatcher
        estate.closer = Closer(estate, wiring.dispatcher, estate.grants)
        estate.sweeper = Sweeper(estate)
        await estate.book.rebuild()
        if unnamed := estate.book.unnamed():
            log.warning("estate %d: %d keys that no row names die now", partition, len(unnamed))
            await estate.commit(Change(erase=unnamed))
        owner = rows.encode(Owner(address=wiring.address, epoch=int(tools.real_time() * 1000)))
        opening = Change(owners=(b"%d" % partition, owner))
        await estate.commit(opening.also(signing.name_key(estate, signer) or Change()))
        estate.certifier.resume()
        await retention.open_with(estate)
    except BaseException:
        await estate.close()
        raise
    estate.spawn(estate.book.open_rest(), "book", vital=True)
    estate.spawn(estate.sweeper.run(), "sweeper", vital=True)
    estate.spawn(retention.run(estate), "retention", vital=True)
    estate.spawn(rights.run(estate), "rights")
    estate.spawn(ending.run(estate), "ending", vital=True)
    if estate.partition == incidents.PARTITION:
        estate.spawn(incidents.run(estate), "incidents")
    estate.spawn(repromise.run(estate), "promises", vital=True)
    estate.spawn(signing.follow(estate, lambda: open_signer(state / "signing")), "signing")
    if partition == PARTITION:
        estate.spawn(Publisher(estate, wiring.collect).run(), "statistics")
    metrics.TAKEOVERS.inc()
    metrics.TAKEOVER_S.observe(time.monotonic() - began)
    log.info("estate %d: %d records, %d rows", partition, replay.records, len(ledger))
    return estate


def clock_of(settings: Settings) -> Clock:
    """Real, unless this is a demo's."""
    return DemoClock() if settings.demo_clock else RealClock()


@contextlib.asynccontextmanager
async def wired(settings: Settings, port: int) -> AsyncIterator[tuple[faust.App, Estates, OwnerServer, Wiring]]:
    """All parts of a worker, connected to everything but the Kafka group."""
    data_dir = Path(settings.state_dir) / "faust" / str(os.getpid())
    data_dir.mkdir(parents=True, exist_ok=True)
    os.environ[big_models.VARIABLE] = settings.diffusion_models
    registry.take_big_models()
    if settings.commercial:
        registry.refuse_non_commercial(registry.OPERATIONS.values())
    unsafe = memory.checked(settings)
    log.warning("root store %s", claim_of(settings))
    if not settings.labels_dir:
        log.warning("results are not signed: expected the setting labels_dir to name a folder with a key")
    clock = clock_of(settings)
    custody = S3Custody(settings.s3_url, settings.s3_access_key, settings.s3_secret_key, settings.bucket)
    async with custody, contextlib.AsyncExitStack() as stack:
        await custody.ensure_bucket()
        if isinstance(clock, DemoClock):
            await stack.enter_async_context(follow_clock(settings.kafka, clock))
        lines = await stack.enter_async_context(register.followed(settings.kafka))
        policies = compiler.load_all(settings.policies_extra, now=clock.now())
        tools = Tools(
            clock=clock,
            mint=Mint(bytes.fromhex(settings.secret), settings.partitions),
            policies=policies,
            available={name: row.params for name, row in registry.OPERATIONS.items() if name != "detect"},
            profiles={name: row.profiles for name, row in registry.OPERATIONS.items()},
            custody=custody,
            rules=replace(
                rules_of(settings),
                parked_retention_s=retained_s(settings.parked_retention_s, policies.values()),
            ),
            real_time=time.time,
            end=lambda: os.kill(os.getpid(), signal.SIGTERM),
            post=await stack.enter_async_context(post(settings)),
            calendar=Holidays(settings.holiday_country, settings.time_zone),
            approvers=lambda: approvers.registered(settings.approvers_path),
            announced=lambda: tuple(lines.of(Announcement).values()),
            original=functools.partial(originals.find, settings.kafka),
            crowd=crowd.Crowd(admission.Limits(MAX_WAIT_S | settings.max_wait_s, settings.max_waiting)),
        )
        for policy in tools.policies.values():
            if policy.residency is not None and policy.residency.region != settings.region:
                log.warning("%s is not served here: its data stay in %s", policy.app, policy.residency.region)
        cluster = Cluster(cluster_config(settings))
        stack.push_async_callback(cluster.close)
        keeping = cluster.keep(settings.ray_address, token_path=settings.ray_token_path, gone=metrics.RAY_GONE.inc)
        _beside(stack, keeping, "ray")
        wiring = Wiring(
            settings=settings,
            address=f"127.0.0.1:{port}",
            tools=tools,
            roots=stack.enter_context(root_stores(settings)),
            call_gateway=await stack.enter_async_context(revoke_at(settings.tls_dir, settings.internal_token)),
            collect=await stack.enter_async_context(counts_of(settings)),
        )
        app = make_app(topics.GROUP, bootstrap=settings.kafka, partitions=settings.partitions, data_dir=data_dir)
        estates = Estates(app, topics.EVENTS, lambda partition, on_lost: open_estate(wiring, partition, on_lost))
        costs = LearntCosts()
        wiring.dispatcher = Dispatcher(
            cluster,
            f"worker-{secrets.token_hex(8)}",
            owner=lambda job_id: estates.of(tools.mint.partition_of(job_id)),
            pool=lambda operation: registry.row(operation).pool,
            cost_s=costs.cost_s,
            learn=costs.learn,
        )
        tools.crowd.predict = wiring.dispatcher.predicted
        estates.on_opened.append(Estate.count_jobs)
        estates.on_opened.append(wiring.dispatcher.resume)
        estates.on_revoked.append(wiring.dispatcher.revoked)
        rendering = await stack.enter_async_context(render_api.opened(cluster, tools, costs, unsafe, _fatal))
        flow = Flow(estates, on_parked=metrics.parked)
        for topic, decisions in AGENTS.items():
            _agent(app, flow, topic, decisions)
        server = OwnerServer(
            estates,
            cluster.pools,
            port=port,
            tls_dir=settings.tls_dir,
            token=settings.internal_token,
            operate=cluster.operate,
            counts=lambda ask: tools.tallies.shares(ask, tools.clock.now()),
            render=rendering.serve,
        )
        await server.start()
        stack.push_async_callback(server.stop)
        stack.push_async_callback(rendering.close)
        stack.push_async_callback(estates.close)
        _beside(stack, crowd.keep(tools.crowd, cluster, wiring.address), "standing")
        _beside(stack, compaction.watch(settings.kafka, estates.owned), "compaction", vital=False)
        _beside(stack, policies_followed.follow(settings.policies_extra, tools), "policies", vital=False)
        _beside(stack, wiring.dispatcher.run(), "dispatcher")
        yield app, estates, server, wiring


def _agent(app: faust.App, flow: Flow, topic: str, decisions: dict[type[Event], Decide]) -> None:
    # Raw bytes: what cannot be decoded then reaches us, and is parked, instead of being dropped by Faust.
    source = app.topic(topic, value_serializer="raw", value_type=bytes, key_serializer="raw", key_type=bytes)

    async def run(stream: Any) -> None:
        try:
            async for event in stream.noack().events():
                await flow.add(event, decisions)
        except Exception:  # a decision never gets here: this is our own machinery, and without it no event moves
            log.critical("agent %s died: the worker ends, a supervisor restarts it", topic, exc_info=True)
            os.kill(os.getpid(), signal.SIGTERM)
            raise

    app.agent(source, name=topic)(run)


def _beside(
    stack: contextlib.AsyncExitStack, work: Coroutine[Any, Any, None], name: str, *, vital: bool = True
) -> None:
    """Run until the stack closes. `vital`: without it this process must not go on."""
    task = asyncio.create_task(work, name=name)
    if vital:
        task.add_done_callback(_fatal)
    stack.callback(task.cancel)


def _fatal(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        log.critical("%s died: the worker ends, a supervisor restarts it", task.get_name(), exc_info=error)
        os.kill(os.getpid(), signal.SIGTERM)


async def serve(settings: Settings, port: int) -> None:
    """Until SIGTERM or SIGINT."""
    loop, stop = asyncio.get_running_loop(), asyncio.Event()
    async with wired(settings, port) as (app, estates, _, _):
        for number in (signal.SIGTERM, signal.SIGINT):  # after Ray, which sets its own
            loop.add_signal_handler(number, stop.set)
        app.finalize()
        starting = asyncio.create_task(app.start(), name="faust")
        stopping = asyncio.create_task(stop.wait(), name="stop")
        await asyncio.wait({starting, stopping}, return_when=asyncio.FIRST_COMPLETED)
        if starting.done():
            starting.result()
        crashed = asyncio.create_task(app.wait_until_stopped(), name="faust-crashed")
        await asyncio.wait({crashed, stopping}, return_when=asyncio.FIRST_COMPLETED)
        for task in (crashed, stopping, starting):
            task.cancel()
        await estates.close()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(app.stop(), STOP_S)


def main() -> None:
    """Parse, configure, serve."""
    parser = argparse.ArgumentParser(prog="python -m services.worker")
    parser.add_argument("--port", type=int, required=True)
    port = parser.parse_args().port
    settings = load()
    logging.basicConfig(
        level=settings.log_level.upper(),
        stream=sys.stderr,
        format=json.dumps({"t": "%(asctime)s", "level": "%(levelname)s", "where": "%(name)s", "what": "%(message)s"}),
    )
    for noisy in ("aiokafka", "faust", "mode", "ray"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())
    try:
        asyncio.run(serve(settings, port))
    except MemoryUnsafe as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
