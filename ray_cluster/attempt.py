"""One attempt at a task: fetch, open, run, seal, store, wipe. Plaintext lives in this process's heap, nowhere else."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Executor
from contextlib import ExitStack, aclosing
from typing import Any, ClassVar

import msgspec

from ray_cluster.engines import dead_stack, registry
from ray_cluster.engines.interface import Engine, IsCancelled, Report, Result
from ray_cluster.leases import Piece, Task
from stream.errors import BadRequest, LostLease, MayflyError, StoreUnavailable
from stream.events.bus import Outcome, OutputFacts
from stream.vault.courier import Courier
from stream.vault.envelope import Recipient
from stream.vault.purposes import lease_info, params_info, stream_name
from stream.vault.secret import Key, Plaintext
from stream.vault.stream_seal import Sealer, open_, sealed_size

FETCHED = 0.05
"""Share of an attempt that fetching is taken to be; storing is the same."""

_SLICE_BYTES = 1 << 20
_INLINE_BYTES = 1 << 20  # up to here, opening costs the event loop less than a thread's hand-over and 1 ms


class BadTask(BadRequest):
    """A task that no engine of this pool can run."""

    kind: ClassVar[str] = "bad-task"


class Revoked(LostLease):
    """The owner took the lease back."""

    kind: ClassVar[str] = "cancelled"


async def attempt(
    task: Task,
    recipient: Recipient,
    *,
    engine: Engine,
    courier: Courier,
    thread: Executor,
    report: Report,
    cancelled: IsCancelled,
    computed: Callable[[], None],
) -> Outcome:
    """Do `task`; how it ended. Every key and every plaintext buffer is overwritten before this returns.

    `engine` runs on `thread`, and `report` and `cancelled` are called from there too; `computed` is called when only
    storing is left. Never raises: a failure is an outcome, named by the error's stable kind or its class, never by
    its text.
    """
    began = time.monotonic()
    try:
        with ExitStack() as wipes:
            outcome = await _Attempt(task, recipient, courier, cancelled, wipes).do(engine, thread, report, computed)
    except Exception as error:  # noqa: BLE001 - whatever an engine or a codec throws ends this attempt, not the actor
        outcome = failure(error, revoked=cancelled())
    return msgspec.structs.replace(outcome, seconds=time.monotonic() - began, wiped=True)


def failure(error: Exception, *, revoked: bool) -> Outcome:
    """The outcome that `error` stands for."""
    if revoked and isinstance(error, LostLease):
        return Outcome("cancelled", reason=error.kind)
    if isinstance(error, MayflyError):
        lasting = not isinstance(error, (StoreUnavailable, LostLease))
        return Outcome("failed", kind="permanent" if lasting else "transient", reason=error.kind)
    name = type(error).__name__
    if isinstance(error, MemoryError) or name == "OutOfMemoryError":  # torch has its own, which is no MemoryError
        return Outcome("failed", kind="resource", reason=name)
    transient = isinstance(error, (OSError, TimeoutError))
    return Outcome("failed", kind="transient" if transient else "permanent", reason=name)


def _smaller(task: Task) -> dict[str, Any]:
    """What the task's profile changes in its parameters. Raises BadTask."""
    if not task.profile:
        return {}
    row = registry.OPERATIONS.get(task.operation)
    if row is None or task.profile not in row.profiles:
        raise BadTask(f"expected a profile of {task.operation}, got another: has its registry row changed?")
    return row.smaller


class _Attempt:
    def __init__(
        self, task: Task, recipient: Recipient, courier: Courier, cancelled: IsCancelled, wipes: ExitStack
    ) -> None:
        self._task = task
        self._recipient = recipient
        self._courier = courier
        self._cancelled = cancelled
        self._wipes = wipes

    async def do(self, engine: Engine, thread: Executor, report: Report, computed: Callable[[], None]) -> Outcome:
        task = self._task
        if len(task.outputs) != 1:
            raise BadTask(f"expected one output for {task.operation}, got {len(task.outputs)}")
        report("fetch", 0.0)
        sealed = self._recipient.open_bytes(task.sealed_params, params_info(task.app, fence=task.fence))
        params = msgspec.json.decode(sealed, type=dict[str, Any]) | _smaller(task)
        inputs = [await self._fetch(piece) for piece in task.inputs]

        def run() -> tuple[Result, float]:
            self._check()
            began = time.monotonic()
            try:
                made = engine.run(
                    [plaintext.view for plaintext in inputs],
                    params,
                    seed=task.seed,
                    report=lambda stage, fraction: report(stage, FETCHED + (1 - 2 * FETCHED) * fraction),
                    cancelled=self._cancelled,
                )
            finally:
                dead_stack.wipe()
            return made, time.monotonic() - began

        result, engine_s = await asyncio.get_running_loop().run_in_executor(thread, run)
        media = Plaintext(result.media)
        self._wipes.callback(media.wipe)
        for plaintext in inputs:
            plaintext.wipe()
        report("store", 1 - FETCHED)
        computed()
        (output,) = task.outputs
        await self._store(output, media)
        made = OutputFacts(
            output.role, len(media), result.media_type, width=result.width, height=result.height, frames=result.frames
        )
        facts = {name: float(value) for name, value in result.facts.items()}
        return Outcome("succeeded", outputs=(made,), facts=facts, engine_s=engine_s)

    async def _fetch(self, piece: Piece) -> Plaintext:
        key = self._key(piece)
        sealed = bytearray()
        async with aclosing(self._courier.get_stream(piece.url)) as chunks:
            async for chunk in chunks:
                self._check()
                sealed += chunk
        name = stream_name(piece.asset)
        if len(sealed) <= _INLINE_BYTES:
            plaintext = open_(key, name, self._task.app, sealed)
        else:
            plaintext = await asyncio.to_thread(open_, key, name, self._task.app, sealed)
        self._wipes.callback(plaintext.wipe)
        return plaintext

    async def _store(self, piece: Piece, media: Plaintext) -> None:
        sealer = Sealer(self._key(piece), stream_name(piece.asset), self._task.app)
        self._wipes.callback(sealer.wipe)

        async def chunks() -> AsyncIterator[bytes]:
            yield sealer.header()
            for at in range(0, len(media), _SLICE_BYTES):
                self._check()
                yield sealer.update(media.view[at : at + _SLICE_BYTES])
            yield sealer.final()

        await self._courier.put_stream(piece.url, sealed_size(len(media)), chunks())

    def _key(self, piece: Piece) -> Key:
        task = self._task
        info = lease_info(piece.asset, task.app, fence=task.fence, role=piece.role)
        key = self._recipient.open_key(piece.sealed_key, info)
        self._wipes.callback(key.wipe)
        return key

    def _check(self) -> None:
        if self._cancelled():
            raise Revoked("expected to hold the lease to its end, its owner took it back")
