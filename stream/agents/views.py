"""What a tenant is shown of a job and its assets."""

from __future__ import annotations

from collections.abc import Mapping

from stream.agents import api, items
from stream.agents.book import Asset, Job
from stream.agents.estate import Estate
from stream.events.rows import AssetState, JobState
from stream.policies import ages
from stream.policies.words import promised

_DONE = 1.0
_WAITS = frozenset({JobState.AWAITING, JobState.QUEUED})
_SHOWN = frozenset({AssetState.PENDING, AssetState.STORED})


def asset_view(estate: Estate, asset: Asset) -> api.AssetView:
    """An asset whose key lives; its salt opens its receipt later."""
    assert asset.body is not None
    head, body = asset.head, asset.body
    return api.AssetView(
        id=asset.id,
        role=head.role,
        n=head.n,
        state=head.state.value,
        data_class=head.data_class,
        clause=head.clause,
        promised=promised(estate.policy(head.app), head.data_class, choice=body.choice, has_face=body.has_face),
        ceiling=head.ceiling,
        due=head.due,
        leaf=head.leaf.hex(),
        salt=body.salt.hex(),
        receipt=f"/v1/receipts/{estate.partition}/{head.leaf.hex()}",
        media_type=body.media_type,
        size_bytes=body.size_bytes,
        on_return=head.on_return,
    )


def state_of(estate: Estate, job: Job) -> JobState:
    """Its state as it may be told: an end is announced once the keys that die by it are dead (R7)."""
    ended = job.head.state.ended and estate.ledger.erasing(job.id.encode())
    return JobState.ENDING if ended else job.head.state


def job_view(estate: Estate, job: Job) -> api.JobView:
    """A job as it is now, with the engine's last word on it."""
    head, state = job.head, state_of(estate, job)
    progress = estate.watch.progress(job.id, head.fence) if head.state is JobState.LEASED else None
    place = estate.dispatcher.places.get(job.id) if head.state is JobState.QUEUED else None
    if place is None and head.state in _WAITS:  # for inputs, a next try, or the scheduler's first word of it
        place = estate.tools.crowd.place(job)
    found = {asset.id: asset for asset in estate.book.assets_of(job)}
    return api.JobView(
        id=job.id,
        state=state.value,
        stage=head.stage.value,
        seq=estate.watch.seq(job.id),
        created_at=head.created_at,
        ended_at=head.ended_at,
        progress=_DONE if state is JobState.SUCCEEDED else progress.fraction if progress else 0.0,
        step=progress.step if progress else "",
        eta_s=place.eta_s if place else None,
        queue_position=place.position if place else None,
        reason=head.reason,
        assets=tuple(
            asset_view(estate, asset)
            for asset in found.values()
            if asset.head.state in _SHOWN and asset.body is not None  # else its bucket was dropped a moment ago
        ),
        now=estate.now(),
        advice=_advice(estate, job),
        profile=job.body.profile if job.body is not None else "",
        items=item_views(estate, job, state, found),
    )


def item_views(estate: Estate, job: Job, state: JobState, found: Mapping[str, Asset]) -> tuple[api.ItemView, ...]:
    """What has become of each item; of a content-free job, those that gave nothing. `found`: its assets, by id."""
    refused, body = job.head.refused, job.body
    operation = estate.policy(job.head.app).operation(body.operation) if body is not None else None
    if body is None or operation is None:
        return tuple(api.ItemView(n, JobState.FAILED.value, reason) for n, reason in sorted(refused.items()))
    results: dict[int, str] = {}
    if state is JobState.SUCCEEDED:
        results = {found[asset_id].head.n: asset_id for asset_id in body.results if asset_id in found}
    views: list[api.ItemView] = []
    for item in items.of(operation, body):
        if item.n in refused:
            views.append(api.ItemView(item.n, JobState.FAILED.value, refused[item.n]))
            continue
        there = state is JobState.AWAITING and all(_is_there(found.get(body.inputs[n])) for n in item.inputs)
        own = JobState.QUEUED if there else state
        reason = job.head.reason if own is JobState.FAILED else ""
        views.append(api.ItemView(item.n, own.value, reason, results.get(item.n, "")))
    return tuple(views)


def _is_there(asset: Asset | None) -> bool:
    return asset is not None and asset.head.state is AssetState.STORED


def _advice(estate: Estate, job: Job) -> str:
    """`guardian` where the text recommends one for somebody of the subject's age."""
    age = estate.policy(job.head.app).age
    subject = estate.book.subject(job.body.subject) if age is not None and job.body is not None else None
    return "guardian" if subject is not None and ages.advised(age, subject.body.age) else ""
