import hashlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.gateway import bodies
from services.gateway.bodies import ConsentBody, SubmitBody
from services.gateway.errors import BadBody

SUBMIT = {"subject": "ann", "operation": "stylization", "inputs": [{}]}


def submit(**changes):
    return bodies.decode(json.dumps(SUBMIT | changes).encode(), SubmitBody)


def test_slots_are_uploads_or_saved_assets():
    told = submit(inputs=[{}, {"asset": "ast_x"}, {"role": "garment"}])
    assert [(slot.asset, slot.role) for slot in told.slots()] == [("", ""), ("ast_x", ""), ("", "garment")]


@given(st.text(min_size=1, max_size=40))
def test_no_error_repeats_what_was_sent(secret):
    text = f"zq{secret}zq"
    for body in (
        {"granted": text, "version": "1"},
        {"granted": True, "version": "1", text: 1},
        {"granted": True, "version": f" {text}"},
        {text: {text: text}},
        [text],
        text,
    ):
        with pytest.raises(BadBody) as caught:
            bodies.decode(json.dumps(body).encode(), ConsentBody)
        assert text not in str(caught.value)


def test_a_wrong_field_is_named():
    with pytest.raises(BadBody, match=r"\$\.granted"):
        bodies.decode(b'{"granted":"yes","version":"1"}', ConsentBody)
    with pytest.raises(BadBody, match="expected only granted, version"):
        bodies.decode(b'{"granted":true,"version":"1","more":1}', ConsentBody)


@pytest.mark.parametrize(
    "params",
    [b'{"n":1e400}', b'{"n":9007199254740993}', b'{"s":"\\ud800"}', b'{"n":NaN}', b'{"a":' * 5000],
)
def test_params_are_i_json(params):
    body = b'{"subject":"s","operation":"o","inputs":[{}],"params":' + params + b"}"
    with pytest.raises(BadBody):
        bodies.canonical(bodies.decode(body, SubmitBody).params)


def test_params_have_one_spelling():
    one, two = submit(params={"b": 1.0, "a": "é"}), submit(params={"a": "é", "b": 1})
    assert bodies.canonical(one.params) == bodies.canonical(two.params) == '{"a":"é","b":1}'.encode()


def test_every_part_of_a_request_is_in_its_fingerprint():
    variants = [
        submit(),
        submit(subject="bob"),
        submit(operation="ai_dance"),
        submit(choice="save"),
        submit(inputs=[{}, {}]),
        submit(inputs=[{}, {"role": "garment"}]),
        submit(inputs=[{"asset": "ast_x"}]),
        submit(params={"a": 1}),
        submit(lane="batch"),
    ]
    prints = {bodies.fingerprint(told, bodies.canonical(told.params)) for told in variants}
    assert len(prints) == len(variants)
    assert bodies.fingerprint(submit(), b"{}") == bodies.fingerprint(submit(lane="interactive"), b"{}")
    assert {len(one) for one in prints} == {hashlib.sha256().digest_size}
