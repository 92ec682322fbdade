"""Whatever is sent, a clip is read or refused by name, and parameters fit or are refused by name."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ray_cluster.engines import samples_path
from ray_cluster.engines.clip import Clip, Sound
from ray_cluster.engines.cutout import CutoutParams
from ray_cluster.engines.decode import decode
from ray_cluster.engines.enhance import EnhanceParams
from ray_cluster.engines.errors import BadParams
from ray_cluster.engines.interface import parse
from ray_cluster.engines.stylization import AnimeParams, StylizationParams
from stream.errors import BadRequest
from tests.clips import clip, pan

PARAMS = (StylizationParams, AnimeParams, CutoutParams, EnhanceParams)
CLIPS = [
    clip(pan(decode(samples_path("portrait.jpg").read_bytes()), 6, (64, 48), noise=5), kind=kind, sound=sound)
    for kind, sound in (("mp4", "aac"), ("matroska", "flac"), ("mov", ""))
]
NAMES = sorted({name for kind in PARAMS for name in kind.__struct_fields__} | {"size", ""})
VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.lists(st.integers(), max_size=2),
    st.sampled_from(["png", "jpeg", "oil", "blur", "#00ff00", "#00ff00 ", "auto", "", "ÿ" * 9]),
)


@pytest.mark.parametrize("kind", PARAMS)
@settings(deadline=None)
@given(params=st.dictionaries(st.sampled_from(NAMES), VALUES, max_size=4))
def test_parameters_fit_or_are_refused(kind: type, params: dict) -> None:
    with contextlib.suppress(BadParams):
        assert isinstance(parse(params, kind), kind)


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_a_damaged_clip_is_read_or_refused(data: st.DataObject) -> None:
    media = bytearray(data.draw(st.sampled_from(CLIPS)))
    for at in data.draw(st.lists(st.integers(0, len(media) - 1), min_size=1, max_size=12)):
        media[at] = data.draw(st.integers(0, 255))
    if data.draw(st.booleans()):
        del media[data.draw(st.integers(0, len(media))) :]
    sound = Sound.of(bytes(media))
    if sound is not None:
        assert sound.packets > 0
    with contextlib.suppress(BadRequest), Clip(bytes(media), max_pixels=1_000_000) as found:
        frames = list(found.frames())
        assert len(frames) == found.shape.frames
        assert all(frame.ndim == 3 for frame in frames)
