"""Rows and events on the wire: what was written once is read for ever, and nothing else is."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream.events.bus import DetectCompleted, UploadReceived, bus
from stream.events.codec import Undecodable
from stream.events.rows import AssetHead, AssetState, JobHead, JobState, Offsets, Owner, Parked, Stage, rows

# Bytes as this version wrote them: they must decode in every later one (fields are added, never changed).
OLD_JOB = (
    "0192"
    + msgspec.msgpack.encode(
        {"type": "job", "app": "genzo", "state": "queued", "created_at": 1.5, "due": 9.0, "page": b"p", "fence": 2}
    ).hex()
    + msgspec.msgpack.encode(b"sealed").hex()
)
OLD_UPLOAD = (
    "0192"
    + msgspec.msgpack.encode({"type": "upload.received", "job": "job_a", "asset": "ast_b", "at": 2.25}).hex()
    + "c400"
)


def test_old_rows_are_still_read() -> None:
    head, sealed = rows.decode(bytes.fromhex(OLD_JOB))
    assert head == JobHead(app="genzo", state=JobState.QUEUED, created_at=1.5, due=9.0, page=b"p", fence=2)
    assert sealed == b"sealed"
    assert bus.decode(bytes.fromhex(OLD_UPLOAD)) == (UploadReceived(job="job_a", asset="ast_b", at=2.25), b"")


def test_fields_of_a_later_version_do_not_stop_this_one() -> None:
    later = msgspec.msgpack.encode(({"type": "owner", "address": "a:1", "epoch": 3, "colour": "red"}, b""))
    assert rows.decode(b"\x01" + later)[0] == Owner(address="a:1", epoch=3)


@pytest.mark.parametrize(
    "header",
    [
        JobHead(app="a", state=JobState.LEASED, created_at=1.0, due=2.0, stage=Stage.GENERATE, actor="engine-x-1"),
        AssetHead(
            app="a",
            data_class="face_image",
            state=AssetState.DEAD,
            job="j",
            role="input",
            n=0,
            object="o",
            page=b"p",
            created_at=1.0,
            ceiling=5.0,
            due=4.0,
            clause="c",
            leaf=b"l" * 32,
            receipt=7,
        ),
        Parked(topic="upload", offset=4, reason="undecodable", at=1.0, due=2.0),
        Offsets(next={"upload": 3}),
    ],
)
def test_what_is_written_is_read(header: JobHead | AssetHead | Parked | Offsets) -> None:
    assert rows.decode(rows.encode(header, b"body")) == (header, b"body")


@given(value=st.binary(max_size=200))
def test_anything_else_is_undecodable_and_never_quoted(value: bytes) -> None:
    for codec in (rows, bus):
        with pytest.raises(Undecodable) as caught:
            codec.decode(value)
        if len(value) > 8:
            assert value.hex() not in str(caught.value)


@pytest.mark.parametrize("value", [None, b"", b"\x02" + bus.encode(UploadReceived("j", "a", 1.0))[1:]])
def test_nothing_and_another_version_are_undecodable(value: bytes | None) -> None:
    with pytest.raises(Undecodable, match="version"):
        bus.decode(value)


def test_a_row_is_no_event() -> None:
    with pytest.raises(Undecodable):
        bus.decode(rows.encode(Offsets(next={})))
    with pytest.raises(Undecodable):
        rows.decode(bus.encode(DetectCompleted(job="j", fence=1, at=1.0)))


@pytest.mark.parametrize("state", JobState)
def test_four_states_are_ends(state: JobState) -> None:
    assert state.ended == (state.value in {"succeeded", "failed", "cancelled", "expired"})
