"""Every operation, every strange file: the right result or a named refusal, decoded in the child, whatever it is.

The rows come from the registry and the files from `tests/strange.py`, so a new one of either is covered by itself.
"""

from __future__ import annotations

import functools
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ray_cluster.engines import confine, errors, features, registry
from ray_cluster.engines.cell import Limits
from ray_cluster.engines.decode import decode
from ray_cluster.engines.interface import Engine, Result
from ray_cluster.engines.rows.row import Row
from ray_cluster.guard import Guard
from ray_cluster.labels import verify
from ray_cluster.labels.watermark import SMALLEST_SIDE_PX
from ray_cluster.leases import Piece, Task
from stream.errors import BadRequest
from tests.strange import Strange, hidden, jpeg, person, table

ROWS = {name: row for name, row in registry.OPERATIONS.items() if row.pool != "noop"}
QUICK: dict[str, dict[str, Any]] = {
    "stylization": {"look": "pencil"},
    "anime": {"longer_side": 64},
    "image_to_video": {"seconds": 2},
    "quality_enhance": {"longer_side": 128},
    "cutout": {"longer_side": 256},
    "background_removal": {"longer_side": 256},
}
"""Params that make an operation quick, where a table of pictures has to go through it."""
FILES = table()
CODINGS = tuple(name for name, one in FILES.items() if one.size == person().shape[1::-1] and not one.frames)
"""Files that are the same picture, written in other ways."""
TELLING = frozenset({"no face", "many faces", "one pixel", "huge", "alpha", "clip with sound", "too long"})
ABSENT = frozenset({"no-face", "no-person", "no-garment"})
NAMED = frozenset(
    error.kind for error in vars(errors).values() if isinstance(error, type) and issubclass(error, BadRequest)
)
IDLE_MB = 400
"""More than a child without a file takes."""


@pytest.fixture(scope="module", autouse=True)
def child() -> Iterator[None]:
    confine.turn_on()
    yield
    confine.turn_off()


@functools.cache
def engine(operation: str) -> Engine:
    made = registry.build(operation)
    made.load()
    return made


def run(row: Row, inputs: list[bytes], params: dict[str, Any] | None = None, *, bare: bool = False) -> Result:
    """As an actor does, with labels; or the engine alone."""
    task = Task("j", 1, "genzo", row.operation, 1, tuple(Piece("input", "a", "", b"") for _ in inputs), (), b"")
    runs = engine(row.operation) if bare else Guard().around(engine(row.operation), task)
    told: list[float] = []
    wanted = QUICK.get(row.operation, {}) if params is None else params
    made = runs.run(inputs, wanted, seed=5, report=lambda _, part: told.append(part), cancelled=lambda: False)
    assert told == sorted(told)
    assert told[-1] == 1.0
    return made


def peak_mb() -> float:
    """What the decoding child took at most."""
    assert confine._cell is not None
    status = Path(f"/proc/{confine._cell._child.pid}/status").read_text("ascii")
    return float(status.split("VmHWM:")[1].split()[0]) / 1024


def pairs() -> Iterator[Any]:
    """All operations with all files. What says little new is heavy: `pytest -m heavy`.

    Codings of one picture are the same to an operation, as `test_every_coding_of_a_picture_is_that_picture` shows, so
    each goes through every third one here. An operation that is another by name has only those; and U2-Net takes 1 s a
    picture whatever its size.
    """
    known: set[tuple[str, tuple[str, ...]]] = set()
    for turn, (operation, row) in enumerate(ROWS.items()):
        again, slow = (row.engine, row.params) in known, "u2netp.onnx" in row.models
        known.add((row.engine, row.params))
        for name, strange in FILES.items():
            heavy = (turn + CODINGS.index(name)) % 3 if name in CODINGS else strange.size and (again or slow)
            marks = [pytest.mark.heavy] if heavy and name not in TELLING else []
            yield pytest.param(operation, name, marks=marks, id=f"{operation}: {name}")


@pytest.mark.parametrize("name", CODINGS)
def test_every_coding_of_a_picture_is_that_picture(name: str) -> None:
    assert FILES[name].size is not None
    seen, wanted = decode(FILES[name].media), person()
    if "grey" in name:  # the shades of which are as good a picture
        wanted = cv2.cvtColor(cv2.cvtColor(wanted, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
    if name == "alpha":
        wanted = wanted.copy()
        wanted[:, :12] = 255
    assert seen.shape == wanted.shape
    assert np.abs(seen.astype(int) - wanted).mean() < 3


@pytest.mark.parametrize(("operation", "name"), [*pairs()])
def test_a_right_result_or_a_named_refusal(operation: str, name: str) -> None:
    row, strange = ROWS[operation], FILES[name]
    good = jpeg(person())
    for place in range(len(row.takes)):
        inputs = [strange.media if at == place else good for at in range(len(row.takes))]
        draws = row.takes[place] == "media" and bool(strange.frames)
        expected = strange.kinds if strange.size is None or draws else frozenset()
        shown = strange.size if place == len(row.takes) - 1 else person().shape[1::-1]
        try:
            made = run(row, inputs)
        except BadRequest as refusal:
            kinds = expected or (ABSENT if not strange.person else frozenset())
            assert refusal.kind in kinds, refusal  # noqa: PT017 - which one depends on the file
        else:
            assert not expected
            assert shown is not None
            fits(made, row, strange, shown, draws=draws)
    assert confine._cell is not None
    assert confine._cell.deaths == 0
    assert peak_mb() < IDLE_MB + (Limits().memory_bytes >> 20)


def fits(made: Result, row: Row, strange: Strange, shown: tuple[int, int], *, draws: bool) -> None:
    """Of the kind that the row says, as large as it says of itself, upright, whole, labelled."""
    media = bytes(made.media)
    if row.makes == "data":
        found = features.parse(media)
        assert (found.width, found.height) == shown
        assert not strange.person or found.faces
        return
    width, height = made.width, made.height
    if row.makes == "video" or draws:
        with av.open(io.BytesIO(media)) as container:
            frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
            assert bool(container.streams.audio) == (draws and strange.sound)
            rate = container.streams.video[0].average_rate
        assert len(frames) == made.frames
        assert not draws or made.frames == max(1, round(strange.frames * rate / strange.rate))
        assert width % 2 == height % 2 == 0
        picture = frames[0]
    else:
        assert made.frames == 1
        picture = decode(media)
    assert picture.shape == (height, width, 3)
    # Upright and its aspect kept, but for sides that cannot be shorter, and a frame that is laid around.
    if min(width, height) > 2 * SMALLEST_SIDE_PX:
        assert abs(np.log(width / height) - np.log(shown[0] / shown[1])) < 0.08
    if min(width, height) >= SMALLEST_SIDE_PX:
        assert verify.verify(media).labelled


@pytest.mark.parametrize("operation", ROWS)
def test_what_lies_under_clear_pixels_changes_nothing_and_a_seed_gives_the_same_bytes(operation: str) -> None:
    row = ROWS[operation]
    one, other = (run(row, [hidden(secret)] * len(row.takes), bare=True).media for secret in (0, 200))
    assert one == other


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=4), inner, max_size=2),
    max_leaves=3,
)


@pytest.mark.parametrize("operation", ROWS)
@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_any_value_of_any_parameter_is_taken_or_refused_by_name(operation: str, data: st.DataObject) -> None:
    row = ROWS[operation]
    tried = [value for params in (*row.variants.values(), row.smaller) for value in params.values()]
    values = ANYTHING | st.sampled_from(tried) if tried else ANYTHING
    wild = data.draw(st.dictionaries(st.sampled_from((*row.params, "size")), values, min_size=1, max_size=2))
    tiny = FILES["animated WebP"].media
    try:
        made = run(row, [tiny] * len(row.takes), QUICK.get(operation, {}) | wild)
    except BadRequest as refusal:
        assert refusal.kind in NAMED  # noqa: PT017
    else:
        assert made.media
