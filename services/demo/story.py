"""The main job, in order, as app Genzo's backend would live it, and the proof of each promise."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any, ClassVar, Final, TypeVar

import msgspec
from rich.console import Console
from rich.progress import Progress

from services.demo import progress
from services.demo.client import Client
from services.demo.erasure import Erasure, broken
from services.demo.media import EXTENSIONS, length_of
from services.demo.report import Result
from services.demo.terms import Ends, Terms, terms_of
from services.demo.witness import Witness
from services.local.system import System
from services.span import span
from stream.agents.api import AssetView, JobView
from stream.audit.receipt_file import ReceiptFile, verify
from stream.audit.receipts import Absent
from stream.errors import BadRequest, MayflyError
from stream.events.rows import JobState
from stream.policies.model import Policy
from stream.vault.rootstore import number_of

SUBJECT: Final = "demo-user"
PURPOSE: Final = "face_processing"
BEFORE_S: Final = 5.0  # "just before": enough for a busy machine to ask before the moment has passed
PROOF_S: Final = 60.0  # far above the seconds that it takes
POLL_S: Final = 0.1
MS: Final = 1000

T = TypeVar("T")


class JobFailed(BadRequest):
    """A job of the demo did not succeed, so there is nothing to show."""

    kind: ClassVar[str] = "job-failed"


@dataclass(slots=True)
class Tracked:
    """One asset, as last shown to the client, and what was seen of it since."""

    name: str
    choice: str
    uploaded_at: float
    view: AssetView
    terms: Terms | None = None  # known once its job has ended
    readable_before: bool = True
    answer_after: int = 0


class Story:
    """`broken` gathers a sentence for each promise that was not kept. Any step may raise a MayflyError."""

    def __init__(
        self,
        system: System,
        client: Client,
        witness: Witness,
        policy: Policy,
        *,
        photo: bytes,
        out: Path,
        console: Console,
    ) -> None:
        self.results: list[Result] = []
        self.erasures: list[Erasure] = []
        self.broken: list[str] = []
        self._system, self._client, self._witness, self._policy = system, client, witness, policy
        self._photo, self._out, self._console = photo, out, console
        self._assets: dict[str, Tracked] = {}
        self._jobs: list[str] = []

    async def live(self) -> None:
        """Consent, three jobs, and every promise to its end."""
        await self._consent()
        self._title("Three jobs")
        with progress.bars(self._console) as bars:
            first = await self._job(bars, "stylization", "save")
            await self._job(bars, "ai_dance", "save", asset=self._input_of(first).view.id)
            last = await self._job(bars, "stylization", "discard")
        self._say(f"results are in {self._out}")
        self._title("What goes at once")
        await self._gone_with(last)
        self._title("What goes in time")
        await self._all_due()
        await self._all_erased()

    # -- the jobs ------------------------------------------------------------------------------------------------

    async def _consent(self) -> None:
        self._title("Consent")
        known = self._policy.consent(PURPOSE)
        assert known is not None
        await self._client.consent(SUBJECT, PURPOSE, known.version)
        self._say(f"{PURPOSE.replace('_', ' ')}, version {known.version}: {known.clause}, {known.reading}")

    async def _job(self, bars: Progress, operation: str, choice: str, *, asset: str = "") -> JobView:
        """Submit, upload, follow to the end, and fetch what it made."""
        began = time.monotonic()
        view = await self._client.submit(SUBJECT, operation, choice, asset=asset)
        self._jobs.append(view.id)
        title = f"{operation} ({choice})"
        bar = bars.add_task(f"{title:<21}", total=1.0, doing=progress.doing(view))
        if not asset:
            view = await self._client.upload(view.id, self._photo)
        self._track(view, operation, choice, source=asset)
        photo = self._input_of(view)
        photo.readable_before = await self._client.head(photo.view.id) == HTTPStatus.OK
        async with aclosing(self._client.follow(view.id)) as views:  # type: ignore[type-var]
            async for view in views:
                bars.update(bar, completed=progress.fraction(view), doing=progress.doing(view))
                self._track(view, operation, choice, source=asset)
        await self._settle_terms(view)
        if JobState(view.state) is not JobState.SUCCEEDED:
            raise JobFailed(f"expected {title} to succeed, it {view.state}: {view.reason}")
        took_s = time.monotonic() - began
        for made in (each for each in view.assets if each.role == "result"):
            await self._fetch(made, operation, choice, took_s)
        return view

    def _track(self, view: JobView, operation: str, choice: str, *, source: str) -> None:
        uploaded_at = self._assets[source].uploaded_at if source else view.created_at
        for asset in view.assets:
            if asset.id in self._assets:
                self._assets[asset.id].view = asset
            else:
                name = {"input": "photo", "feature": "face features"}.get(asset.role, operation)
                self._assets[asset.id] = Tracked(f"{name} ({choice})", choice, uploaded_at, asset)

    async def _settle_terms(self, view: JobView) -> None:
        """The job's end has just been announced: what goes with it must answer 410 now."""
        for asset in self._assets.values():
            if asset.terms is None:
                asset.terms = terms_of(
                    self._policy,
                    asset.view,
                    choice=asset.choice,
                    uploaded_at=asset.uploaded_at,
                    ended_at=view.ended_at,
                    returned_within_s=self._system.settings.returned_max_s,
                )
                if asset.terms.ends is Ends.JOB:
                    asset.answer_after = await self._client.head(asset.view.id)

    async def _fetch(self, made: AssetView, operation: str, choice: str, took_s: float) -> None:
        asset = self._assets[made.id]
        asset.readable_before = await self._client.head(made.id) == HTTPStatus.OK
        media = await self._client.get(made.id)
        if media.status != HTTPStatus.OK:
            raise JobFailed(f"expected the result of {operation}, got {media.status}")
        length = length_of(media.body, media.media_type)
        file = self._out / f"{len(self.results) + 1}-{operation}.{EXTENSIONS.get(media.media_type, 'bin')}"
        file.write_bytes(media.body)
        self.results.append(
            Result(
                operation=operation,
                choice=choice,
                file=str(file),
                frames=length.frames,
                seconds=length.seconds,
                sha256=hashlib.sha256(media.body).hexdigest(),
                took_s=took_s,
            )
        )
        if asset.terms is not None and asset.terms.ends is Ends.RETURN:
            asset.answer_after = (await self._client.get(made.id)).status

    # -- the promises --------------------------------------------------------------------------------------------

    async def _gone_with(self, job: JobView) -> None:
        """What was promised to go with the job's end, or once returned."""
        gone = self._waiting(Ends.JOB, Ends.RETURN)
        for found in await self._prove(gone):
            if found.ends is Ends.JOB:
                early_ms = (job.ended_at - found.unreadable_at) * MS
                told = f"unreadable {early_ms:.0f} ms before its job's end was announced"
            else:
                told = "returned once"
            self._say(f"{found.name}: {told}; now it answers {found.answer_after}")

    async def _all_due(self) -> None:
        """From one due moment to the next, until nothing that has one is left."""
        while (due := await self._next_due()) is not None:
            leaving = [each for each in self._waiting(Ends.DEADLINE) if each.view.due <= due]
            await self._system.advance_to(due - BEFORE_S)
            keys = await self._keys()
            for asset in leaving:
                asset.readable_before = await self._client.head(asset.view.id) == HTTPStatus.OK
            await self._system.advance_to(due)
            for asset in leaving:
                asset.answer_after = await self._client.head(asset.view.id)
            await self._prove(leaving)
            if await until(lambda due=due: self._passed(due), PROOF_S) is None:  # type: ignore[misc]
                self.broken.append(f"expected all that was due at {due:.0f} to be done with, something is not")
                break
            if (left := await self._keys()) > keys - len(leaving):
                self.broken.append(f"expected at least {len(leaving)} keys fewer than {keys}, {left} are left")
            names = ", ".join(asset.name for asset in leaving) or "what is left of jobs"
            self._say(f"after {span(due - time.time())}: {names}; keys: {keys} before, {left} after")
            if leaving and all(asset.readable_before for asset in leaving):
                answers = ", ".join(str(answer) for answer in sorted({asset.answer_after for asset in leaving}))
                self._say(f"  readable {BEFORE_S:.0f} s before (HEAD 200), at the moment itself not (HEAD {answers})")
        self.broken += [f"{each.name}: expected it to come due, it never did" for each in self._waiting(*Ends)]
        for job in self._jobs:
            if (status := await self._client.job_status(job)) != HTTPStatus.GONE:
                self.broken.append(f"expected the record of a job to be gone, its page answers {status}")

    async def _all_erased(self) -> None:
        """What no clock ends, the subject does: consents go when the account goes."""
        await self._client.erase_subject(SUBJECT)
        if await until(self._nothing_left, PROOF_S) is None:
            rows, keys = self._witness.rows(), await self._keys()
            self.broken.append(f"expected nothing of an erased subject, {rows} rows and {keys} keys are left")
        else:
            self._say("the user leaves: no row, no key and no object is left")

    async def _prove(self, assets: list[Tracked]) -> list[Erasure]:
        """Receipts first: they come when all is done. Then look behind the API."""
        receipts = await asyncio.gather(*map(self._receipt, assets))
        await self._witness.settle()
        objects = await self._witness.objects()
        erasures = [await self._erasure(asset, *of, objects) for asset, of in zip(assets, receipts, strict=True)]
        self.erasures += erasures
        self.broken += [sentence for each in erasures for sentence in broken(each)]
        return erasures

    async def _receipt(self, asset: Tracked) -> tuple[str, bytes, str]:
        """(path, file, why it does not prove the erasure)."""

        async def complete() -> bytes | None:
            file = await self._client.receipt(asset.view.receipt)
            whole = file is not None and msgspec.json.decode(file, type=ReceiptFile).absent is not None
            return file if whole else None

        file = await until(complete, PROOF_S)
        if file is None:
            return "", b"", f"none that states absence came within {PROOF_S:.0f} s"
        path = self._out / "receipts" / f"{asset.view.id}.json"
        path.write_bytes(file)
        try:
            verify(file, asset.view.id, asset.view.salt)
        except MayflyError as error:
            return str(path), b"", str(error)
        return str(path), file, ""

    async def _erasure(self, asset: Tracked, path: str, file: bytes, unproven: str, objects: set[str]) -> Erasure:
        terms, view = asset.terms, asset.view
        assert terms is not None
        found = Erasure(
            asset=view.id,
            salt=view.salt,
            name=asset.name,
            data_class=view.data_class,
            ends=terms.ends,
            promised=terms.promised,
            clause=terms.clause,
            ceiling=terms.ceiling,
            due=view.due,
            receipt=path,
            unproven=unproven,
            readable_before=asset.readable_before,
            answer_after=asset.answer_after,
            object_left=self._witness.objects_of.get(view.id, "") in objects,
            tombstoned=self._witness.tombstoned(view.id),
        )
        if unproven:
            return found
        proof = verify(file, view.id, view.salt)
        hidden_at = proof.receipt.t_hidden_ms / MS
        version = number_of(proof.receipt.root_version)
        return msgspec.structs.replace(
            found,
            due=view.due if terms.ends is Ends.DEADLINE else hidden_at,  # an event's moment is the commit that hides
            hidden_at=hidden_at,
            unreadable_at=proof.receipt.t_unreadable_ms / MS,
            gone_at=_gone_ms(proof.absent) / MS,
            older_root_left=await self._witness.oldest_root(proof.receipt.partition) < version,
        )

    # -- what to wait for ----------------------------------------------------------------------------------------

    def _waiting(self, *ends: Ends) -> list[Tracked]:
        proven = {each.asset for each in self.erasures}
        return [
            each
            for each in self._assets.values()
            if each.terms and each.terms.ends in ends and each.view.id not in proven
        ]

    def _input_of(self, job: JobView) -> Tracked:
        return next(self._assets[each.id] for each in job.assets if each.role == "input")

    async def _estates(self) -> list[dict[str, Any]]:
        """Every partition's; its owner may be changing just now."""

        async def all_of_them() -> list[dict[str, Any]] | None:
            found = await self._system.estates()
            return found if len(found) == self._system.settings.partitions else None

        return await until(all_of_them, PROOF_S) or []

    async def _keys(self) -> int:
        return sum(estate["keys"] for estate in await self._estates())

    async def _next_due(self) -> float | None:
        return min((due for estate in await self._estates() if (due := estate["next_due"]) is not None), default=None)

    async def _passed(self, due: float) -> bool | None:
        next_due = await self._next_due()
        return True if next_due is None or next_due > due else None

    async def _nothing_left(self) -> bool | None:
        await self._witness.settle()
        left = self._witness.rows() or await self._keys() or await self._witness.objects()
        return None if left else True

    # -- words ---------------------------------------------------------------------------------------------------

    def _title(self, words: str) -> None:
        self._console.print(f"\n[bold]{words}[/]")

    def _say(self, words: str) -> None:
        self._console.print(f"  {words}", highlight=False, soft_wrap=True)


async def until(check: Callable[[], Awaitable[T | None]], timeout_s: float) -> T | None:
    """What `check` finds, as soon as it finds anything; None after `timeout_s`."""
    end = time.monotonic() + timeout_s
    while (found := await check()) is None and time.monotonic() < end:  # noqa: ASYNC110 - others' state: no event tells
        await asyncio.sleep(POLL_S)
    return found


def _gone_ms(absent: Absent | None) -> int:
    return absent.t_gone_ms if absent is not None else 0
