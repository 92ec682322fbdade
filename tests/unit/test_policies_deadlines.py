"""Deadlines: nothing outlives its earliest ceiling, and we act before it."""

import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from stream.errors import BrokenPromise
from stream.policies.compiler import compile_policy, load, load_all
from stream.policies.deadlines import (
    NEVER,
    RETURNED_WITHIN_S,
    NoPromise,
    binding,
    bucket_width_s,
    ceiling,
    deadline,
    event_lifetime_s,
    max_lifetime_s,
)
from stream.policies.vocabulary import Bound, Clock, DataClass

GENZO = load("genzo")
TEXT = (Path(__file__).parents[1] / "policies" / "testapp.toml").read_bytes()
TESTAPP = compile_policy(TEXT, "testapp.toml", for_tests=True)

T0 = 1_750_000_000.25
H72 = 72 * 3600
UPLOADED = {Clock.UPLOAD_RECEIVED: T0}
ENDED = {**UPLOADED, Clock.JOB_ENDED: T0 + 100}

times = st.floats(min_value=1e9, max_value=4e9)
choices = st.sampled_from(["save", "discard", "none", ""])
faces = st.sampled_from([True, False, None])
some_clocks = st.dictionaries(st.sampled_from(Clock), times, max_size=6)
kept = st.sampled_from(
    ["upload_image", "face_image", "face_feature", "intermediate", "result_image", "result_video", "processing_record"]
)


def at(data_class, choice="", clocks=UPLOADED, has_face=None):
    return ceiling(GENZO, data_class, choice=choice, has_face=has_face, clocks=clocks).at


@pytest.mark.parametrize("choice", ["save", "discard", "none", ""])
@pytest.mark.parametrize(
    "data_class", ["upload_image", "face_image", "face_feature", "result_image", "processing_record"]
)
def test_whatever_was_chosen_an_unexamined_picture_and_its_kin_go_72_h_after_upload(data_class, choice):
    assert at(data_class, choice) == T0 + H72


def test_unsaved_inputs_and_their_features_go_with_the_job():
    for data_class in ("upload_image", "face_image", "face_feature", "intermediate"):
        for choice in ("discard", ""):
            for face in (True, False, None):
                assert at(data_class, choice, ENDED, face) == T0 + 100


def test_saved_inputs_stay_72_h_from_upload_not_from_use():
    again = {**ENDED, Clock.JOB_ENDED: T0 + 50_000}
    assert at("upload_image", "save", again) == T0 + H72
    assert at("face_image", "save", again) == T0 + H72


def test_a_saved_picture_found_to_hold_no_face_stays_until_its_user_ends_it():
    of = ceiling(GENZO, "upload_image", choice="save", has_face=False, clocks=ENDED)
    assert of.at == math.inf
    assert of.promise.at_most is Bound.USER_CHOICE
    assert deadline(of).bucket == NEVER
    assert deadline(of).due == math.inf
    assert at("upload_image", "save", {**ENDED, Clock.DELETION_REQUESTED: T0 + 7}, has_face=False) == T0 + 7


def test_an_unsaved_result_waits_for_its_return_but_not_long():
    of = ceiling(GENZO, "result_image", choice="", has_face=True, clocks=UPLOADED)
    assert of.on_return
    assert of.at == T0 + H72
    ended = ceiling(GENZO, "result_image", choice="", has_face=True, clocks=ENDED)
    assert ended.on_return
    assert ended.at == T0 + 100 + RETURNED_WITHIN_S
    returned = {**ENDED, Clock.RESULT_RETURNED: T0 + 130}
    assert at("result_image", "", returned) == T0 + 130
    assert ceiling(GENZO, "result_image", choice="", has_face=None, clocks=ENDED, returned_within_s=5).at == T0 + 105


def test_a_result_never_outlives_the_face_that_went_in():
    late = {**UPLOADED, Clock.JOB_ENDED: T0 + H72 - 10}
    of = ceiling(GENZO, "result_video", choice="", has_face=None, clocks=late)
    assert of.at == T0 + H72
    assert of.on_return
    assert at("result_video", "save", late) == T0 + H72
    assert not ceiling(GENZO, "result_video", choice="save", has_face=None, clocks=late).on_return


@pytest.mark.parametrize("clock", [Clock.DELETION_REQUESTED, Clock.ACCOUNT_CANCELLED, Clock.CONSENT_WITHDRAWN])
@given(data_class=kept, choice=choices, has_face=faces)
def test_the_user_can_end_anything_at_once(clock, data_class, choice, has_face):
    assert at(data_class, choice, {**UPLOADED, clock: T0 + 1}, has_face) == T0 + 1


def test_an_early_ceiling_knows_what_may_come_sooner():
    of = ceiling(GENZO, "upload_image", choice="discard", has_face=None, clocks=UPLOADED)
    assert of.clause == "000 §4.1 Facial Data"
    assert any(one.at_most is Bound.IMMEDIATELY and Clock.GENERATION_COMPLETED in one.clocks for one in of.awaits)


@pytest.mark.parametrize("data_class", ["usage_event", "search_keyword"])
def test_what_has_no_promise_or_lives_in_memory_only_is_never_stored(data_class):
    with pytest.raises(NoPromise) as caught:
        at(data_class)
    assert isinstance(caught.value, BrokenPromise)
    assert caught.value.kind == "no-promise"


def test_consents_stay_with_the_account():
    assert at("consent_record") == math.inf
    assert at("consent_record", clocks={Clock.ACCOUNT_CANCELLED: T0}) == T0


def test_bucket_widths_are_a_256th_of_the_lifetime_and_at_least_a_minute():
    assert bucket_width_s(GENZO, "upload_image") == H72 // 256 == 1012
    assert bucket_width_s(GENZO, "consent_record") == 60
    assert bucket_width_s(TESTAPP, "upload_image") == 60
    assert max_lifetime_s(GENZO, "result_image") == H72
    assert max_lifetime_s(GENZO, "consent_record") is None
    assert event_lifetime_s(GENZO) == 24 * 3600
    assert event_lifetime_s(TESTAPP) == 3600


def test_testapp_keeps_its_short_promises():
    def of(data_class, choice, clocks):
        return ceiling(TESTAPP, data_class, choice=choice, has_face=None, clocks=clocks)

    assert of("upload_image", "discard", ENDED).at == T0 + 100
    assert of("upload_image", "save", ENDED).at == T0 + 3600
    assert of("result_image", "save", ENDED).at == T0 + 3600
    assert of("result_image", "", {**ENDED, Clock.RESULT_RETURNED: T0 + 101}).at == T0 + 101


@given(data_class=kept, choice=choices, has_face=faces, clocks=some_clocks)
def test_nothing_outlives_any_promise_that_applies(data_class, choice, has_face, clocks):
    of = ceiling(GENZO, data_class, choice=choice, has_face=has_face, clocks=clocks)
    for one in GENZO.promises_of(data_class):
        choice_holds = not one.when.choice or (choice or "none") in one.when.choice
        face_holds = one.when.face is None or one.when.face == (has_face is not False)
        if choice_holds and face_holds:
            after_s = one.at_most if isinstance(one.at_most, int) else 0
            for clock in one.clocks:
                assert of.at <= clocks.get(clock, math.inf) + after_s


@given(data_class=kept, choice=choices, has_face=faces, clocks=some_clocks, extra=some_clocks)
def test_news_never_lengthens_a_promise(data_class, choice, has_face, clocks, extra):
    more = {**extra, **clocks}
    assert at(data_class, choice, more, has_face) <= at(data_class, choice, clocks, has_face)


@given(data_class=kept, choice=choices, clocks=some_clocks)
def test_not_knowing_is_as_strict_as_knowing_of_a_face(data_class, choice, clocks):
    assert at(data_class, choice, clocks) == at(data_class, choice, clocks, has_face=True)
    assert at(data_class, choice, clocks) <= at(data_class, choice, clocks, has_face=False)


@given(upload=times, lead_s=st.floats(min_value=0, max_value=3600), width_s=st.integers(1, 100_000))
def test_we_act_a_lead_before_the_ceiling_and_less_than_a_bucket_too_early(upload, lead_s, width_s):
    of = ceiling(GENZO, "upload_image", choice="save", has_face=None, clocks={Clock.UPLOAD_RECEIVED: upload})
    got = deadline(of, lead_s=lead_s, width_s=width_s)
    assert got.due <= of.at - lead_s
    assert got.due > of.at - lead_s - width_s - 1
    assert got.due % width_s == 0
    assert got.ceiling == of.at
    assert got.clause == of.clause


@given(first=times, second=times, width_s=st.integers(1, 100_000))
def test_due_and_bucket_follow_the_ceiling(first, second, width_s):
    def of(upload):
        clocks = {Clock.UPLOAD_RECEIVED: upload}
        return deadline(ceiling(GENZO, "face_feature", choice="save", has_face=None, clocks=clocks), width_s=width_s)

    early, late = of(min(first, second)), of(max(first, second))
    assert early.due <= late.due
    assert early.bucket <= late.bucket < NEVER
    assert (early.bucket == late.bucket) == (early.due == late.due)


def test_every_class_a_job_brings_into_being_has_a_page_from_the_start():
    for policy in (GENZO, TESTAPP):
        for operation in policy.operations:
            for data_class in (*operation.classes, DataClass.PROCESSING_RECORD):
                for choice in ("save", "discard", ""):
                    of = ceiling(policy, data_class, choice=choice, has_face=None, clocks=UPLOADED)
                    assert T0 < deadline(of, width_s=bucket_width_s(policy, data_class)).due < of.at


APPS = list(load_all("").values())
circumstances = st.fixed_dictionaries({"choice": choices, "has_face": faces, "clocks": some_clocks})


@given(st.sampled_from(APPS), st.sampled_from(APPS), st.sampled_from(DataClass), circumstances)
def test_no_successor_lengthens_a_life(old, new, data_class, known):
    after = replace(new, since=T0, follows=old)
    try:
        then = ceiling(new, data_class, **known)
    except NoPromise:
        with pytest.raises(NoPromise):
            binding(after, data_class, collected_at=T0 - 1, **known)
        return
    try:
        before = ceiling(old, data_class, **known).at
    except NoPromise:
        before = math.inf  # nothing of the kind was stored
    assert binding(after, data_class, collected_at=T0 - 1, **known).at == min(before, then.at)
    assert binding(after, data_class, collected_at=T0, **known).at == then.at
