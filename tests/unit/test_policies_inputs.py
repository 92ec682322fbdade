"""Which input of a request is what."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream.agents import items
from stream.events.rows import JobBody
from stream.policies import compiler
from stream.policies.inputs import assigned
from stream.policies.model import Input, Operation
from stream.policies.refusals import Refusal, TooManyItems, WrongInputs
from stream.policies.vocabulary import DataClass, MediaKind

GENZO = compiler.load_all("")["genzo"]
CLOTHES, SWAP = (next(one for one in GENZO.operations if one.name == name) for name in ("clothing_change", "face_swap"))
PHOTO = CLOTHES.inputs[0]
GARMENT = Input("garment", (MediaKind.IMAGE,), DataClass.UPLOAD_IMAGE, optional=True)
DRESS = msgspec.structs.replace(CLOTHES, inputs=(PHOTO, GARMENT))
OPTIONAL_SWAP = msgspec.structs.replace(SWAP, inputs=(*SWAP.inputs, GARMENT))


@pytest.mark.parametrize(
    ("operation", "asked", "roles"),
    [
        (DRESS, [""], ["photo"]),
        (DRESS, ["", "", ""], ["photo"] * 3),
        (DRESS, ["", "garment"], ["photo", "garment"]),
        (DRESS, ["garment", "photo", ""], ["garment", "photo", "photo"]),
        (SWAP, ["", ""], ["face", "target"]),
        (SWAP, ["target", ""], ["target", "face"]),
        (OPTIONAL_SWAP, ["garment", "", ""], ["garment", "face", "target"]),
    ],
)
def test_what_names_no_role_is_what_is_needed(operation: Operation, asked: list[str], roles: list[str]) -> None:
    assert assigned(operation, asked, max_items=8) == tuple(roles)


@pytest.mark.parametrize(
    ("operation", "asked", "says"),
    [
        (DRESS, [], "1 to 8 inputs"),
        (DRESS, ["garment"], "photo (image); and, if wanted, one each of garment (image)"),
        (DRESS, ["", "garment", "garment"], "one each"),
        (DRESS, ["", "garmnet"], "did you mean 'garment'?"),
        (SWAP, [""], "2 inputs"),
        (SWAP, ["", "", ""], "2 inputs"),
        (SWAP, ["face", "face"], "face (image), target (image); got 2"),
        (SWAP, ["garment", ""], "expected roles among face, target"),
    ],
)
def test_what_does_not_fit_is_refused(operation: Operation, asked: list[str], says: str) -> None:
    with pytest.raises(WrongInputs) as refused:
        assigned(operation, asked, max_items=8)
    assert says in str(refused.value)
    assert "garmnet" not in str(refused.value)


def test_items_have_a_limit_and_what_they_share_does_not_count() -> None:
    assert len(assigned(DRESS, [""] * 8 + ["garment"], max_items=8)) == 9
    with pytest.raises(TooManyItems, match="at most 8 items in one job, got 9"):
        assigned(DRESS, [""] * 9, max_items=8)
    with pytest.raises(WrongInputs, match="expected 1 inputs"):
        assigned(DRESS, [""] * 2, max_items=1)


@given(
    operation=st.sampled_from([DRESS, SWAP, OPTIONAL_SWAP, CLOTHES]),
    asked=st.lists(st.sampled_from(["", "photo", "garment", "face", "target", "hat"]), max_size=6),
    max_items=st.integers(1, 4),
)
def test_each_input_is_of_an_item_and_each_item_has_all_it_needs(
    operation: Operation, asked: list[str], max_items: int
) -> None:
    try:
        roles = assigned(operation, asked, max_items=max_items)
    except Refusal:
        return
    assert all(role in {"", given} for role, given in zip(asked, roles, strict=True))
    inputs = tuple(f"asset-{n}" for n in range(len(roles)))
    body = JobBody("t", "s", operation.name, b"{}", "", inputs, roles=roles)
    made = items.of(operation, body)
    assert 1 <= len(made) == items.count(operation, roles) <= max_items
    assert {n for item in made for n in item.inputs} == set(range(len(roles)))
    order = [one.role for one in operation.inputs]
    for item in made:
        of = [roles[n] for n in item.inputs]
        assert item.inputs[0] == item.n
        assert of == sorted(of, key=order.index)
        assert {one.role for one in operation.required} <= set(of)
        assert len(set(of)) == len(of)


def test_a_job_of_before_there_were_roles_has_those_of_its_operation() -> None:
    body = JobBody("t", "s", "face_swap", b"{}", "", ("a", "b"))
    assert items.roles(SWAP, body) == ("face", "target")
    assert items.of(SWAP, body) == (items.Item(0, (0, 1)),)
    assert items.roles(DRESS, JobBody("t", "s", "clothing_change", b"{}", "", ("a",))) == ("photo",)
