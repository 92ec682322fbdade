"""For any sequence of requests nothing irreversible happens before who asks is verified, and no due date moves."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream.errors import BadRequest
from stream.events.records import RequestState
from stream.policies import compiler, rights
from stream.policies.calendar import DAY_S, Holidays
from stream.policies.obligations import RightName
from stream.policies.vocabulary import DataClass

POLICIES = compiler.load_all("")
CHINA = Holidays()
T0 = 1_764_201_600.0

some_rights = st.sampled_from([right for policy in POLICIES.values() for right in policy.rights])
steps = st.lists(st.sampled_from(["verify", "complete", "refuse", "refuse without a ground"]), max_size=8)


def step(request, name, now):
    if name == "verify":
        return rights.verify(request, "email_code", now)
    if name == "complete":
        return rights.complete(request, now, "done")
    return rights.refuse(request, now, "" if name.endswith("ground") else "001 §5 2)")


@settings(deadline=None)  # the first look at a year reads its calendar
@given(some_rights, st.floats(min_value=T0, max_value=T0 + 300 * DAY_S), steps)
def test_any_sequence(right, at, names):
    request = rights.receive(right, at, CHINA)
    due, shown = request.due, request.shown_due
    assert at <= due <= shown
    verified = not right.identity
    for n, name in enumerate(names):
        ended = request.state.ended
        try:
            request = step(request, name, at + n)
        except BadRequest:
            assert ended or name in {"verify", "complete", "refuse without a ground"}
        else:
            assert not ended, "what was answered is answered"
            verified = verified or name == "verify"
        if rights.may_act(request) or request.state is RequestState.COMPLETED:
            assert verified
        assert (request.due, request.shown_due) == (due, shown)
    if request.state is RequestState.REFUSED:
        assert request.ground


@settings(deadline=None)  # the first look at a year reads its calendar
@given(some_rights, st.floats(min_value=T0, max_value=T0 + 300 * DAY_S))
def test_what_is_due_within_working_days_is_done_within_as_many_days(right, at):
    request = rights.receive(right, at, CHINA)
    if right.within is not None and right.within.working_days:
        assert request.due == at + right.within.working_days * DAY_S <= request.shown_due


@pytest.mark.parametrize(
    ("app", "name", "days"),
    [
        ("genzo", "cancel_account", 15),
        ("talentedi", "complaint", 10),
        ("talentedi", "cancel_account", 10),
        ("background-removal-ai", "delete", 10),
        ("perfect-me", "question", 10),
        ("batchpix", "question", 30),
    ],
)
def test_windows_of_the_texts(app, name, days):
    request = rights.receive(rights.right_of(POLICIES[app], name), T0, CHINA)
    assert request.due == T0 + days * DAY_S


def test_who_cancels_at_talentedi_is_asked_who_they_are_first():
    request = rights.receive(POLICIES["talentedi"].right("cancel_account"), T0, CHINA)
    assert request.state is RequestState.PENDING
    with pytest.raises(rights.IdentityUnproven):
        rights.complete(request, T0)
    assert rights.may_act(rights.verify(request, "email_code", T0))


def test_a_right_that_nobody_gives():
    with pytest.raises(rights.UnknownRight, match="did you mean 'delete'"):
        rights.right_of(POLICIES["genzo"], "delet")
    with pytest.raises(rights.UnknownRight, match="expected a right that batchpix gives: question"):
        rights.right_of(POLICIES["batchpix"], "delete")


def test_classes_of_requests():
    assert rights.class_of(RightName.COMPLAINT) == DataClass.COMPLAINT
    assert rights.class_of(RightName.QUESTION) == DataClass.SUPPORT_TICKET
    assert rights.class_of(RightName.DELETE) == DataClass.RIGHTS_REQUEST
