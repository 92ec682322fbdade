"""The verdict: what may begin, what may not, in which order, and with which words."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream.errors import BadRequest
from stream.policies import refusals
from stream.policies.compiler import load
from stream.policies.obligations import Duty, DutyName
from stream.policies.refusals import Refusal, UnknownPurpose, WrongConsentVersion
from stream.policies.verdict import Granted, JobRequest, Quota, Refused, consent, decide
from stream.policies.vocabulary import Choice, OperationName, Place

GENZO = load("genzo")
VERSION = GENZO.consent("face_processing").version
CONSENTED = {("face_processing", VERSION)}
AVAILABLE = {"stylization": {"style", "strength"}, "ai_dance": {"dance"}}


def ask(operation="stylization", choice="save", n_inputs=1, params=(), **options):
    facts = {"consents": CONSENTED, "available": AVAILABLE, **options}
    return decide(facts.pop("policy", GENZO), JobRequest(operation, choice, n_inputs, frozenset(params)), **facts)


@pytest.mark.parametrize(("choice", "meant"), [("save", Choice.SAVE), ("discard", Choice.DISCARD), ("", Choice.NONE)])
def test_granted(choice, meant):
    got = ask(choice=choice, params=["style"], quota=Quota(2, 3))
    assert got == Granted(GENZO.operation("stylization"), meant, GENZO.hash, ("photo",))


@pytest.mark.parametrize(
    ("asked", "kind", "status", "said"),
    [
        ({"operation": "cutout"}, "operation-not-offered", 403, "stylization"),
        ({"operation": "ai_danc"}, "operation-not-offered", 403, "did you mean 'ai_dance'?"),
        ({"operation": "noop"}, "operation-not-offered", 403, "expected one of"),
        ({"operation": "face_swap"}, "operation-not-available", 501, "no engine"),
        ({"n_inputs": 2}, "wrong-inputs", 422, "photo (image); got 2"),
        ({"n_inputs": 0}, "wrong-inputs", 422, "expected 1"),
        ({"params": ["stile"]}, "unknown-params", 422, "did you mean 'style'?"),
        ({"choice": "keep"}, "bad-choice", 422, "save, discard, none"),
        ({"consents": ()}, "consent-missing", 403, "PUT /v1/genzo/subjects/{subject}/consents/face_processing"),
        ({"consents": {("face_processing", "0")}}, "consent-missing", 403, VERSION),
        ({"quota": Quota(3, 3, 2.5)}, "quota-exceeded", 429, "fewer than 3"),
    ],
)
def test_refused(asked, kind, status, said):
    got = ask(**asked)
    assert isinstance(got, Refused)
    assert (got.kind, got.status) == (kind, status)
    assert said in got.message
    assert got.clause.startswith("000 ") or kind == "quota-exceeded"


def test_a_full_quota_says_when_to_come_back():
    assert ask(quota=Quota(3, 3, 2.5)).retry_after_s == 2.5


def test_an_operation_of_the_device_is_refused_even_if_an_engine_is_here():
    here = msgspec.structs.replace(GENZO.operation("stylization"), runs=Place.DEVICE)
    got = ask(policy=msgspec.structs.replace(GENZO, operations=(here,)))
    assert (got.kind, got.status) == ("on-device-only", 403)


def test_an_app_that_gives_no_choice_takes_none():
    without = msgspec.structs.replace(GENZO, choices=())
    assert isinstance(ask(policy=without, choice=""), Granted)
    assert ask(policy=without, choice="save").kind == "bad-choice"


def test_a_picture_that_is_here_serves_again_unless_the_policy_has_each_sent_again():
    again = JobRequest("stylization", "save", 1, reuse=True)
    assert isinstance(decide(GENZO, again, consents=CONSENTED, available=AVAILABLE), Granted)
    duty = Duty(name=DutyName.NO_REUSE, clause="000 §9")
    got = decide(msgspec.structs.replace(GENZO, duties=(duty,)), again, consents=CONSENTED, available=AVAILABLE)
    assert isinstance(got, Refused)
    assert (got.kind, got.status, got.clause) == ("no-reuse", 422, "000 §9")


def test_the_order_is_policy_then_mistakes_then_consent_then_quota():
    wrong = {
        "operation": "face_swap",
        "n_inputs": 9,
        "params": ["x"],
        "choice": "keep",
        "consents": (),
        "quota": Quota(1, 1),
    }
    right = {"operation": "stylization", "n_inputs": 1, "params": (), "choice": "", "consents": CONSENTED}
    seen = []
    for name in ("operation", "n_inputs", "params", "choice", "consents"):
        seen.append(ask(**wrong).kind)
        wrong[name] = right[name]
    seen.append(ask(**wrong).kind)
    assert seen == [
        "operation-not-available",
        "wrong-inputs",
        "unknown-params",
        "bad-choice",
        "consent-missing",
        "quota-exceeded",
    ]


@given(
    operation=st.sampled_from(OperationName) | st.text(max_size=20),
    choice=st.sampled_from(["save", "discard", "none", ""]) | st.text(max_size=20),
    n_inputs=st.integers(-1, 3),
    params=st.frozensets(st.sampled_from(["style", "dance"]) | st.text(max_size=5), max_size=2),
)
def test_nothing_begins_without_consent_and_nothing_unforeseen_is_raised(operation, choice, n_inputs, params):
    request = JobRequest(operation, choice, n_inputs, params)
    assert isinstance(decide(GENZO, request, consents=(), available=AVAILABLE), Refused)
    got = decide(GENZO, request, consents=CONSENTED, available=AVAILABLE)
    if isinstance(got, Granted):
        assert got.operation.name in AVAILABLE
        assert params <= set(AVAILABLE[got.operation.name])


def test_kinds_are_stable_and_their_own():
    kinds = [one.kind for one in vars(refusals).values() if isinstance(one, type) and issubclass(one, Refusal)]
    assert len(kinds) == len(set(kinds))
    assert issubclass(Refusal, BadRequest)


def test_a_consent_is_to_the_text_in_force():
    assert consent(GENZO, "face_processing", VERSION, granted=True).clause.startswith("000 §2.1")
    with pytest.raises(WrongConsentVersion, match=VERSION):
        consent(GENZO, "face_processing", "0", granted=True)
    with pytest.raises(UnknownPurpose, match="face_processing"):
        consent(GENZO, "face_procesing", VERSION, granted=True)


def test_nothing_stands_in_the_way_of_a_withdrawal():
    assert consent(GENZO, "face_processing", "0", granted=False).purpose == "face_processing"


def test_messages_repeat_no_values_a_caller_sent():
    secret = "Ada Lovelace"  # what a caller puts into a wrong field may be personal
    for asked in ({"operation": secret}, {"params": [secret]}, {"choice": secret}):
        assert secret not in ask(**asked).message
