"""For any sequence of events nothing outlives its earliest ceiling, and nothing with a floor dies before it."""

import csv
import io
import json
import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream.policies import compiler, deadlines
from stream.policies.calendar import DAY_S, add_months
from stream.policies.simulate import MADE, BadEvents, Event, read, run
from stream.policies.vocabulary import Clock, DataClass, birth

POLICIES = compiler.load_all("")
EXAMPLES = Path(__file__).parents[1] / "policies" / "events"
T0 = 1_764_201_600.0

times = st.floats(min_value=T0, max_value=T0 + 400 * DAY_S)
happenings = st.lists(
    st.one_of(
        st.builds(
            Event,
            at=times,
            event=st.just(MADE),
            thing=st.sampled_from("abc"),
            data_class=st.sampled_from(DataClass),
            choice=st.sampled_from(["", "save", "discard"]),
            face=st.sampled_from([True, False, None]),
        ),
        st.builds(Event, at=times, event=st.sampled_from(Clock), thing=st.sampled_from(["", "a", "b", "c"])),
    ),
    max_size=12,
)


@pytest.mark.parametrize("app", POLICIES)
@given(happenings)
def test_nothing_outlives_its_earliest_ceiling_nor_dies_before_its_floor(app, events):
    policy = POLICIES[app]
    for life in run(policy, events):
        made = min((one for one in events if one.event == MADE and one.thing == life.thing), key=lambda one: one.at)
        if life.refused:
            assert policy.never_stored(life.data_class) or not policy.promises_of(life.data_class) or life.refused
            continue
        assert life.floor <= life.gone_at
        assert life.due <= life.gone_at
        born = {birth(life.data_class): made.at}
        first = deadlines.ceiling(policy, made.data_class, choice=made.choice, has_face=made.face, clocks=born).at
        assert life.gone_at <= max(first, life.floor)
        for row in policy.promises_of(life.data_class):  # whichever of its clocks came while it lived
            if not row.when.holds(made.choice or "none", face=made.face is not False) or Clock.PROCESSING_FAILED in [
                one.event for one in events
            ]:
                continue
            for one in events:
                if one.event in row.clocks and one.thing == life.thing and made.at <= one.at < life.gone_at:
                    bound = deadlines.ceiling(
                        policy,
                        made.data_class,
                        choice=made.choice,
                        has_face=made.face,
                        clocks={**born, Clock(one.event): min(one.at, born.get(Clock(one.event), math.inf))},
                    ).at
                    assert life.gone_at <= max(bound, life.floor)


def test_a_log_outlives_the_account_and_not_its_six_months():
    events = [
        Event(T0, MADE, "log", "network_security_log"),
        Event(T0, MADE, "account", "account_profile"),
        Event(T0 + DAY_S, Clock.ACCOUNT_CANCELLED),
        Event(T0 + DAY_S, Clock.SERVICE_TERMINATED),
    ]
    log, account = run(POLICIES["talentedi"], events)
    assert log.floor == add_months(T0, 6) <= log.due <= log.gone_at == add_months(T0, 6) + DAY_S
    assert account.gone_at == T0 + 11 * DAY_S


def test_what_is_in_memory_only_is_told_so():
    (life,) = run(POLICIES["batchpix"], [Event(T0, MADE, "face", "face_image")])
    assert "ram_only" in life.refused


@pytest.mark.parametrize("app", POLICIES)
def test_the_examples_say_what_the_texts_say(app):
    lives = {life.thing: life for life in run(POLICIES[app], read((EXAMPLES / f"{app}.csv").read_text()))}
    start = min(life.made_at for life in lives.values())
    hours = {name: (life.gone_at - start) / 3600 if not life.refused else None for name, life in lives.items()}
    assert (
        hours
        == {
            "genzo": {"portrait": 1.0, "keepsake": 72.0, "landscape": math.inf, "account": 24 * 16.0},
            "talentedi": {"selfie": 1.0, "effect": 241.0, "log": (add_months(start, 6) + DAY_S - start) / 3600},
            "background-removal-ai": {"photo": None, "account": 24 * 12.0},
            "batchpix": {"photo": None, "feedback": 24 * 30.0},
            "perfect-me": {"crop": 0.5, "failed": 24.0, "result": 360.5, "case": 24 * 90.0},
        }[app]
    )


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("at,event\n1,maed\n", "line 2: expected made or a clock, got 'maed'; did you mean 'made'"),
        ("at,event\nsoon,made\n", "line 2: expected the columns"),
        ("at,event,thing,class\n1,made,a,face_imag\n", "did you mean 'face_image'"),
        ("at,event,thing,class,choice\n1,made,a,face_image,sav\n", "did you mean 'save'"),
        ("at,event,thing,class,choice,face\n1,made,a,face_image,,maybe\n", "expected face to be yes, no or empty"),
        ("when\n1\n", "expected the columns"),
        ('{"at": 1, "event": "maed"}', "line 1: expected made or a clock"),
        ('{"at": 1, "event": "made", "thing": "a", "class": "exif"}\n[1]', "line 2: expected an object"),
    ],
)
def test_events_that_cannot_be(text, said):
    with pytest.raises(BadEvents, match=said):
        read(text)


@pytest.mark.parametrize("app", POLICIES)
def test_lines_of_json_say_the_same(app):
    text = (EXAMPLES / f"{app}.csv").read_text()
    lines = "\n".join(json.dumps(row) for row in csv.DictReader(io.StringIO(text)))
    assert read(lines) == read(text)
