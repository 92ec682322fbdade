"""Clips of people: one person followed, edited frame by frame, calmly; what is not theirs stays; sound is kept."""

from __future__ import annotations

import itertools
from typing import Any

import cv2
import numpy as np
import pytest

from ray_cluster.engines import people_clip, registry
from ray_cluster.engines.errors import Cancelled, NoPerson
from ray_cluster.engines.follow import PATIENCE, Follow
from ray_cluster.engines.interface import Engine
from ray_cluster.engines.people import Sight
from ray_cluster.engines.steady import Steady
from tests.clips import clip, pan, read
from tests.unit.photos import moved, portrait, run

PARAMS: dict[str, dict[str, Any]] = {"fashion": {"style": "breton"}, "body": {"width": -1.0}}
VIEW = (320, 352)
HEAD = (slice(20, 110), slice(125, 205))
"""Rows and columns of the head in each view."""


def views(count: int, step: float = 0.0) -> list[np.ndarray]:
    photo = cv2.resize(portrait(), (400, 400), interpolation=cv2.INTER_AREA)
    return pan(photo, count, VIEW, step=step, noise=4)


@pytest.fixture(scope="module", params=PARAMS)
def engine(request: pytest.FixtureRequest) -> Engine:
    made = registry.build(request.param)
    made.load()
    return made


def params_of(engine: Engine) -> dict[str, Any]:
    return PARAMS[type(engine).__name__.lower()]


def test_a_person_is_edited_in_every_frame_and_their_head_and_the_sound_stay(engine: Engine) -> None:
    sent = clip(views(5, step=2), sound="aac")
    before, _ = read(sent)
    result = run(engine, [sent], **params_of(engine))
    after, sounds = read(result.media)
    assert (result.media_type, result.frames, len(after)) == ("video/mp4", 5, 5)
    assert sounds
    for old, new in zip(before, after, strict=True):
        assert new.shape == old.shape
        assert moved(old[110:], new[110:]) > 4
        assert moved(old[HEAD], new[HEAD]) < 4.5  # sensor noise, coded twice


def test_a_clip_flickers_less_than_its_frames_edited_one_by_one(engine: Engine) -> None:
    assert isinstance(engine, people_clip.PeopleClips)
    frames = views(5)
    wanted = engine.params(**params_of(engine))
    alone = [engine.edit([engine.find(frame, None)], wanted, seed=0, step=lambda _: None) for frame in frames]
    follow, steady, calm = Follow(), Steady(), []
    for frame in frames:
        sight = follow.sight(engine.find(frame, None), steady.watch(frame))
        made = engine.edit_frame(sight, wanted, follow, seed=0, step=lambda _: None)
        calm.append(follow.calm(frame, made, engine.kept))
    changed = np.abs(alone[0].astype(int) - frames[0]).max(2) > 12

    def flicker(drawn: list[np.ndarray]) -> float:
        return float(np.mean([np.abs(a.astype(int) - b)[changed].mean() for a, b in itertools.pairwise(drawn)]))

    assert flicker(calm) < 0.5 * flicker(alone)


def test_frames_without_anybody_stay_and_a_clip_without_anybody_is_refused(engine: Engine) -> None:
    empty = [np.full((*VIEW[::-1], 3), 120, np.uint8)] * 2
    with pytest.raises(NoPerson):
        run(engine, [clip(empty)], **params_of(engine))
    some = views(2)
    after, _ = read(run(engine, [clip([*empty, *some])], **params_of(engine)).media)
    assert moved(after[0], empty[0]) < 3
    assert moved(after[3][110:], some[1][110:]) > 4


def test_a_clip_is_left_at_the_next_frame(engine: Engine) -> None:
    drawn: list[float] = []
    with pytest.raises(Cancelled):
        engine.run(
            [clip(views(3))],
            params_of(engine),
            seed=0,
            report=lambda stage, part: drawn.append(part) if stage == "draw" else None,
            cancelled=lambda: len(drawn) > 1,
        )
    assert len(drawn) == 2


def test_who_is_followed_stays_the_one_although_somebody_larger_comes_and_is_missed_for_a_while() -> None:
    engine: Any = registry.build("body")
    (frame,) = views(1)
    follow, steady = Follow(), Steady()
    sight = engine.find(frame, None)
    first = follow.sight(sight, steady.watch(frame)).body().copy()
    far = sight.bodies[0] + np.array([400, 0, 0, 0], np.float32)
    crowd = Sight(
        frame,
        sight.meshes,
        (far, sight.bodies[0]),
        type(sight.found)(sight.found.width, sight.found.height, sight.found.faces, sight.found.poses * 2),
    )
    again = follow.sight(crowd, steady.watch(frame))
    assert len(again.bodies) == 1
    assert np.abs(again.body() - first)[:, :2].max() < 8
    nobody = Sight(frame, (), (), type(sight.found)(sight.found.width, sight.found.height, (), ()))
    for _ in range(PATIENCE):
        held = follow.sight(nobody, steady.watch(frame))
        assert np.abs(held.body() - first)[:, :2].max() < 8
    assert follow.sight(nobody, steady.watch(frame)) is nobody
