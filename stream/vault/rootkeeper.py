"""Keeps one partition's root store at hand, and knows whether it answers.

A root is wrapped before the commit that needs it is staged: an erasing commit finds a *spare*, a fresh key under a
version that nobody used, and so knows before it begins that it can be sealed. A spare that is never used is harmless.
What is to be destroyed is tried until it is. While nothing else is asked, the present root is unwrapped once a second:
that a store answers, and is still the one that holds it, is known before anything new is promised. One call is under
way at a time, however long it takes.
"""

from __future__ import annotations

import asyncio
import hmac
import logging
import os
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Final, TypeVar

from stream.metrics import roots as metrics
from stream.vault.rootstore import RootGone, RootStore, RootStoreUnavailable, Why, number_of, version_of

log = logging.getLogger(__name__)

T = TypeVar("T")

ROOT_BYTES: Final = 32
GRACE_S: Final = 300.0
LOOK_S: Final = 1.0
AGAIN_S: Final = 0.5
SLOW_S: Final = 2.0
"""A call that takes longer counts as unanswered, until it is answered."""


@dataclass(slots=True, frozen=True)
class Spare:
    """A root key that nobody used, and how the store wrapped it."""

    key: bytes = field(repr=False)
    wrapped: bytes


class RootKeeper:
    """`open`, then run `keep` for as long as the partition is owned; `close` ends it. `grace_s`: see `check`."""

    def __init__(
        self,
        partition: int,
        roots: RootStore,
        *,
        grace_s: float = GRACE_S,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.on_spare: Callable[[], None] = lambda: None
        self.why: Why | None = None
        """What keeps the store from answering; None: it answers."""
        self._partition, self._roots, self._grace_s, self._monotonic = partition, roots, grace_s, monotonic
        self._answered_at = monotonic()
        self._present = b""
        self._spare: Spare | None = None
        self._wanted = False
        self._destroying: list[tuple[bytes, asyncio.Future[None]]] = []
        self._wake, self._changed = asyncio.Event(), asyncio.Event()
        self._expired = False

    # -- for whoever asks ----------------------------------------------------------------------------------------

    @property
    def claim(self) -> str:
        """What the store promises of a destroyed version."""
        return self._roots.claim

    @property
    def silent_s(self) -> float:
        """Seconds since the store last answered."""
        return self._monotonic() - self._answered_at

    @property
    def expired(self) -> bool:
        """It has been silent for longer than reads go on without it."""
        return self.why is not None and self.silent_s > self._grace_s

    @property
    def has_spare(self) -> bool:
        """An erasing commit may begin."""
        return self._spare is not None

    async def ready(self, within_s: float) -> bool:
        """Have a spare made, and wait a moment for it: whether there is one. No wait where the store is silent."""
        if self._spare is None and not self._wanted:
            self._wanted = True
            self._wake.set()
        try:
            async with asyncio.timeout(within_s):
                while self._spare is None and self.why is None:
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            pass
        return self.has_spare

    def take(self) -> Spare:
        """The spare, for one attempt."""
        spare, self._spare = self._spare, None
        if spare is None:
            raise RootStoreUnavailable("expected a root to be wrapped before an erasing commit began, there was none")
        return spare

    def destroy_before(self, wrapped: bytes) -> asyncio.Future[None]:
        """`wrapped` is the present root now: done once every older version is destroyed, tried until it is."""
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._present = wrapped
        self._destroying.append((wrapped, done))
        self._wake.set()
        return done

    def destroyed(self) -> asyncio.Future[None]:
        """Done once all that was to be destroyed so far is."""
        if self._destroying:
            return self._destroying[-1][1]
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        done.set_result(None)
        return done

    # -- life ----------------------------------------------------------------------------------------------------

    async def open(self, wrapped: bytes) -> bytes:
        """The present root's key (empty: there is none yet), older roots destroyed.

        Waits `grace_s` for a store that does not answer, then raises RootStoreUnavailable. Raises RootGone.
        """
        key = await self._patiently(lambda: self._roots.unwrap(wrapped)) if wrapped else b""
        if wrapped:
            await self._patiently(lambda: self._roots.destroy_before(wrapped))
            self._present = wrapped
        return key

    async def used(self) -> bool:
        """See RootStore; as patient as `open`."""
        return await self._patiently(self._roots.used)

    async def keep(self) -> None:
        """Until cancelled. What a store raises is counted and tried again; anything else comes out."""
        while True:
            calling = asyncio.ensure_future(self._next())
            try:
                while not (await asyncio.wait({calling}, timeout=SLOW_S))[0]:
                    self._unanswered(Why.SILENT)
                calling.result()
            except RootStoreUnavailable as error:
                self._unanswered(error.why)
            except RootGone:  # the store that answers is not the one that held the present root, or lost it
                self._spare = None
                self._unanswered(Why.WRONG)
            else:
                self._answered()
            finally:
                calling.cancel()
            metrics.SILENT_S.labels(self._partition).set(self.silent_s)
            if self.why is None and (self._destroying or self._wanted):
                continue
            self._wake.clear()
            try:
                async with asyncio.timeout(LOOK_S if self.why is None else AGAIN_S):
                    await self._wake.wait()
            except TimeoutError:
                continue

    def close(self) -> None:
        """Forget the spare; nobody waits for anything any more."""
        self._spare = None
        for _, done in self._destroying:
            done.cancel()
        self._destroying.clear()
        metrics.forget(self._partition)

    # -- inside --------------------------------------------------------------------------------------------------

    async def _next(self) -> None:
        """The most urgent call."""
        if self._destroying:
            wanted = list(self._destroying)
            newest, _ = wanted[-1]
            await self._roots.unwrap(newest)  # another store would have nothing to destroy, and say that it is done
            await self._roots.destroy_before(newest)
            for _, done in wanted:
                if not done.done():
                    done.set_result(None)
            del self._destroying[: len(wanted)]
        elif self._wanted:
            self._spare = await self._wrap()
            self._wanted = False
            self.on_spare()
        elif self._present:
            await self._roots.unwrap(self._present)
        else:
            await self._roots.used()

    async def _wrap(self) -> Spare:
        """Checked before anything depends on it: the store holds the present root, its versions only grow, and it
        opens what it wrapped. Another one would destroy nothing of what the right one keeps.
        """
        if self._present:
            await self._roots.unwrap(self._present)
        key = os.urandom(ROOT_BYTES)
        wrapped = await self._roots.wrap(key)
        if number_of(version_of(wrapped)) <= number_of(version_of(self._present)):
            raise RootStoreUnavailable(
                f"expected a version after {version_of(self._present)}, got {version_of(wrapped)}: the root store was"
                " emptied, or brought back from a backup",
                Why.WRONG,
            )
        if not hmac.compare_digest(await self._roots.unwrap(wrapped), key):
            raise RootStoreUnavailable("expected the root store to open what it wrapped, got another key", Why.WRONG)
        return Spare(key, wrapped)

    async def _patiently(self, call: Callable[[], Awaitable[T]]) -> T:
        until = self._monotonic() + self._grace_s
        while True:
            try:
                found = await call()
            except RootStoreUnavailable as error:
                self._unanswered(error.why)
                if self._monotonic() >= until:
                    raise
                await asyncio.sleep(AGAIN_S)
            else:
                self._answered()
                return found

    def _answered(self) -> None:
        if self.why is not None:
            log.warning("partition %d: the root store answers again after %.1f s", self._partition, self.silent_s)
        self.why, self._expired, self._answered_at = None, False, self._monotonic()
        self._changed.set()

    def _unanswered(self, why: Why) -> None:
        metrics.FAILURES.labels(why).inc()
        metrics.SILENT_S.labels(self._partition).set(self.silent_s)
        if self.why is None:
            log.error(
                "partition %d: the root store does not answer (%s): erasures wait, nothing new is promised",
                self._partition,
                why,
            )
        self.why = why
        if self.expired and not self._expired:
            self._expired = True
            log.critical(
                "partition %d: the root store has been silent for %.0f s: nothing is read any more",
                self._partition,
                self.silent_s,
            )
        self._changed.set()
