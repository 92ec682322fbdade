"""A subject's consent ledger and age band: what was said is kept, what no longer stands ends what rests on it.

Both lie in the subject's row, sealed under the subject's key, and die with the subject: classes `consent_record` and
`guardian_consent`. The rules are in `stream.policies.consents`.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from stream.agents import api, assets, jobs, records
from stream.agents.book import Asset, Job, Subject
from stream.agents.estate import Estate
from stream.audit.receipts import Cause
from stream.events.rows import AssetState, JobState, SubjectBody
from stream.events.rows import Consent as Entry
from stream.ids import Kind
from stream.ledger import Change
from stream.policies import ages
from stream.policies import consents as rules
from stream.policies.model import Policy
from stream.policies.refusals import AgeNotAsked, UnknownAgeBand
from stream.policies.vocabulary import Clock

Rests = Callable[[tuple[str, ...]], bool]
"""Whether what needed these purposes rests on what no longer stands."""

_NOBODY = SubjectBody(tenant="", name="")
_GOING = frozenset({AssetState.HIDDEN, AssetState.DEAD})


async def put(estate: Estate, ask: api.PutConsent) -> api.ConsentView:
    """Record a grant or a withdrawal. A withdrawal ends what runs on it, and erases what the policy says (G8)."""
    policy = estate.policy(ask.app)
    if not ask.granted:
        await estate.book.complete()
    known = _find(estate, ask)
    body = known.body if known is not None else _NOBODY
    ledger = rules.ledger_of(body)
    said = Entry(
        purpose=ask.purpose,
        version=ask.version,
        granted=ask.granted,
        at=estate.now(),
        how=ask.how.value,
        proof=ask.proof,
        guardian=ask.guardian,
    )
    new = rules.entry(policy, said, band=body.age)
    if (same := rules.repeats(ledger, new)) is not None:
        await estate.ledger.barrier()  # what it repeats may still be in flight
        return consent_view(same)
    ledger = rules.add(ledger, new)
    change = Change()
    who = jobs.subject(estate, change, tenant=ask.tenant, app=ask.app, name=ask.subject)
    _keep(estate, change, who, ledger, who.body.age)
    if not ask.granted:
        stop(estate, change, policy, who.id, lambda purposes: ask.purpose in purposes)
    await estate.commit(change)
    return consent_view(new)


async def get(estate: Estate, ask: api.GetConsents) -> api.ConsentsView:
    """What stands, what is to be asked, and all that was ever said. Of an unknown subject nothing was."""
    policy, known = estate.policy(ask.app), _find(estate, ask)
    body = known.body if known is not None else _NOBODY
    ledger = rules.ledger_of(body)
    await estate.ledger.barrier()  # nothing is told that a crash could take back
    return api.ConsentsView(
        standing=tuple(consent_view(one) for one in rules.standing(policy, ledger, band=body.age)),
        ask=_asks(policy, ledger, body.age),
        history=tuple(consent_view(one) for one in ledger),
        age=body.age,
        guardian=_guardian(policy, body.age),
    )


async def put_age(estate: Estate, ask: api.PutAge) -> api.AgeView:
    """Record a band. One that shows that a consent was not the right person's ends what rests on it."""
    policy = estate.policy(ask.app)
    if policy.age is None:
        raise AgeNotAsked(f"{ask.app} asks no age: send none")
    if ages.find(policy.age, ask.band) is None:
        listed = ", ".join(one.name for one in ages.bands(policy.age))
        raise UnknownAgeBand(f"expected one of {listed}", policy.age.clause)
    await estate.book.complete()
    change = Change()
    who = jobs.subject(estate, change, tenant=ask.tenant, app=ask.app, name=ask.subject)
    ledger, before = rules.ledger_of(who.body), who.body.age
    if before == ask.band:
        await estate.ledger.barrier()
    else:
        _keep(estate, change, who, ledger, ask.band)
        stood = {one.purpose for one in rules.standing(policy, ledger, band=before)}
        lost = stood - {one.purpose for one in rules.standing(policy, ledger, band=ask.band)}
        closed = ages.guarded(policy.age, ask.band)
        stop(
            estate, change, policy, who.id, lambda purposes: (closed and not purposes) or not lost.isdisjoint(purposes)
        )
        await estate.commit(change)
    return api.AgeView(band=ask.band, guardian=_guardian(policy, ask.band), ask=_asks(policy, ledger, ask.band))


async def get_texts(estate: Estate, ask: api.GetTexts) -> api.TextsView:
    """Word for word, so that a client shows what is agreed to."""
    policy = estate.policy(ask.app)
    return api.TextsView(
        app=policy.app,
        policy=policy.hash,
        texts=tuple(
            api.TextView(
                purpose=one.purpose,
                version=one.version,
                text=one.text,
                sha256=rules.digest(one.text),
                clause=one.clause,
                needed_by=tuple(op.name.value for op in policy.operations if one.purpose in op.consents),
            )
            for one in policy.consents
        ),
        ages=tuple(one.name for one in ages.bands(policy.age)),
    )


def withdraw(estate: Estate, change: Change, who: Subject, purpose: str) -> list[Asset]:
    """Write a withdrawal that a request for it asks for, and return what goes with it."""
    policy, ledger = estate.policy(who.head.app), rules.ledger_of(who.body)
    version = next((one.version for one in reversed(ledger) if one.purpose == purpose and one.granted), "")
    said = Entry(purpose, version, granted=False, at=estate.now(), how=rules.How.RIGHTS_REQUEST.value)
    new = rules.entry(policy, said, band=who.body.age)
    if rules.repeats(ledger, new) is None:
        _keep(estate, change, who, rules.add(ledger, new), who.body.age)
    return stop(estate, change, policy, who.id, lambda purposes: purpose in purposes)


def standing(policy: Policy, subject: Subject | None) -> rules.Standing:
    """(purpose, version) of what stands for this subject; nothing for one that is not known."""
    body = subject.body if subject is not None else _NOBODY
    return rules.versions(rules.standing(policy, rules.ledger_of(body), band=body.age))


def consent_view(one: Entry) -> api.ConsentView:
    """An entry as its tenant may see it."""
    return msgspec.convert(one, api.ConsentView, from_attributes=True)


def stop(estate: Estate, change: Change, policy: Policy, subject_id: str, rests: Rests) -> list[Asset]:
    """Cancel the subject's jobs that rest on what no longer stands; let go what the policy says goes then. Returns it.

    Which classes go, and when, is the promises' matter: those that count from `consent_withdrawn`. What other purposes
    brought in stays, and other jobs go on.
    """
    rows = sorted(estate.book.of_subject.get(subject_id, ()))
    found = [job for row_id in rows if row_id.startswith(Kind.JOB.value) and (job := estate.book.job(row_id))]
    ending = {job.id: job for job in found if not job.head.state.ended and rests(_needs(policy, job))}
    held = [asset for row_id in rows if row_id.startswith(Kind.ASSET.value) and (asset := estate.book.asset(row_id))]
    going = [asset for asset in records.erasable(estate, held) if _goes(estate, change, policy, asset, rests)]
    assets.hide(estate, change, [one for one in going if one.head.job in ending], Cause.CONSENT_WITHDRAWN)
    assets.retire(estate, change, [one for one in going if one.head.job not in ending], Cause.CONSENT_WITHDRAWN)
    for job in ending.values():
        jobs.begin_end(estate, change, job, JobState.CANCELLED, cause=Cause.CONSENT_WITHDRAWN, everything=False)
    return going


def _goes(estate: Estate, change: Change, policy: Policy, asset: Asset, rests: Rests) -> bool:
    """Whether it goes now; where its promise gives it a while, that shorter deadline is written."""
    binding = policy.binding(asset.head.created_at)
    rows = (row for one in binding for row in one.promises_of(asset.head.data_class))
    counted = any(Clock.CONSENT_WITHDRAWN in row.clocks for row in rows)
    if not counted or asset.body is None or asset.head.state in _GOING or not rests(_under(estate, policy, asset)):
        return False
    clocks = {Clock.CONSENT_WITHDRAWN: estate.now()}
    if assets.immediately(estate, asset, clocks):
        return True
    if records.is_record(asset):
        records.start(estate, change, asset, Clock.CONSENT_WITHDRAWN, estate.now())
    else:
        estate.book.put_asset(change, assets.reckon(estate, asset, clocks))
    return False


def _needs(policy: Policy, job: Job) -> tuple[str, ...]:
    """The purposes that a job needs: what was written down, what its operation asks today, or, unknown, every one."""
    if job.body is None:
        return _any(policy)
    if job.body.consents is not None:
        return job.body.consents
    operation = policy.operation(job.body.operation)
    return _any(policy) if operation is None else operation.consents


def _under(estate: Estate, policy: Policy, asset: Asset) -> tuple[str, ...]:
    """The purposes under which an asset was collected or made; of a record of which nothing is known, every one."""
    if asset.body is not None and asset.body.consents is not None:
        return asset.body.consents
    if records.is_record(asset):
        return tuple(one.purpose for one in policy.consents)
    job = estate.book.job(asset.head.job)
    return _any(policy) if job is None else _needs(policy, job)


def _any(policy: Policy) -> tuple[str, ...]:
    """Every purpose that an operation needs."""
    return tuple({purpose: None for one in policy.operations for purpose in one.consents})


def _keep(estate: Estate, change: Change, who: Subject, ledger: tuple[Entry, ...], age: str) -> None:
    body = msgspec.structs.replace(who.body, consents={}, history=ledger, age=age)
    estate.book.put_subject(change, Subject(who.id, who.head, body))


def _find(estate: Estate, ask: api.PutConsent | api.GetConsents) -> Subject | None:
    known = estate.book.subjects.get((ask.tenant, ask.app, ask.subject))
    return estate.book.subject(known) if known is not None else None


def _asks(policy: Policy, ledger: tuple[Entry, ...], band: str) -> tuple[api.AskView, ...]:
    found = rules.asks(policy, ledger, band=band)
    return tuple(api.AskView(one.text.purpose, one.text.version, one.why.value) for one in found)


def _guardian(policy: Policy, band: str) -> str:
    if ages.guarded(policy.age, band):
        return "needed"
    return "advised" if ages.advised(policy.age, band) else ""
