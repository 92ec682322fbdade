"""Everything that is held of a subject, as JSON that a machine reads, sealed to whoever asked for it.

What is listed is what the rows say: who they are to their tenant, consents, jobs, media (by id: their bytes are fetched
as always, while they live), records. How it is opened: `mayfly export open`.
"""

from __future__ import annotations

from typing import Any

import msgspec
import rfc8785

from stream.agents import records
from stream.agents.estate import Estate
from stream.agents.views import asset_view, job_view
from stream.ids import Kind
from stream.policies.vocabulary import DataClass
from stream.vault.envelope import seal_bytes

FORMAT = "mayfly/export/1"


def sealed(estate: Estate, subject_id: str, public_key: bytes, info: bytes) -> bytes:
    """The export, for the holder of `public_key` alone. Raises NotARecipient."""
    return seal_bytes(rfc8785.dumps(plain(collect(estate, subject_id))), public_key, info)


def collect(estate: Estate, subject_id: str) -> dict[str, Any]:
    """All of it, as plain values."""
    subject = estate.book.subject(subject_id)
    found: dict[str, Any] = {"format": FORMAT, "at": estate.now(), "jobs": [], "media": [], "records": []}
    if subject is not None:
        found["app"] = subject.head.app
        found["policy"] = estate.policy(subject.head.app).hash
        found["subject"] = msgspec.to_builtins(subject.body) | {"since": subject.head.created_at}
    for row_id in sorted(estate.book.of_subject.get(subject_id, ())):
        if row_id.startswith(Kind.JOB.value) and (job := estate.book.job(row_id)) is not None:
            asked = msgspec.to_builtins(job.body) if job.body is not None else {}
            kept = ("operation", "choice", "params", "facts")
            found["jobs"].append(
                msgspec.to_builtins(job_view(estate, job)) | {key: asked[key] for key in kept if key in asked}
            )
        asset = estate.book.asset(row_id) if row_id.startswith(Kind.ASSET.value) else None
        if asset is None or asset.body is None:
            continue
        if records.is_record(asset):
            if asset.head.data_class == DataClass.LOGIN_SECRET:
                continue  # it opens an account, and says nothing about anybody
            said = msgspec.to_builtins(records.value(asset))
            found["records"].append({"class": asset.head.data_class, "gone_by": asset.head.ceiling, "says": said})
        else:
            found["media"].append(msgspec.to_builtins(asset_view(estate, asset)))
    return found


def plain(value: Any) -> Any:
    """I-JSON: no infinities, and bytes as text."""
    if isinstance(value, dict):
        return {str(key): plain(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(each) for each in value]
    if isinstance(value, float) and value in (float("inf"), float("-inf")):
        return None
    return value
