"""Ids: who may know of one, where it belongs, and that nothing else passes for one."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream.ids import RANDOM_BYTES, Kind, Mint, UnknownId, digest, entry_of

SECRET = bytes(range(32))
MINT = Mint(SECRET, 4)
TEXTS = st.text(max_size=40)


@given(kind=st.sampled_from(Kind), tenant=TEXTS, partition=st.integers(0, 3))
def test_its_tenant_finds_the_partition(kind: Kind, tenant: str, partition: int) -> None:
    text = MINT.mint(kind, tenant, partition)
    assert text.startswith(f"{kind.value}_")
    assert MINT.check(kind, tenant, text) == partition == MINT.partition_of(text)
    assert len(entry_of(text)) == RANDOM_BYTES


@given(tenant=TEXTS, other=TEXTS)
def test_another_tenant_learns_nothing(tenant: str, other: str) -> None:
    text = MINT.mint(Kind.JOB, tenant, 1)
    if other != tenant:
        with pytest.raises(UnknownId):
            MINT.check(Kind.JOB, other, text)


def test_an_id_of_one_kind_is_none_of_another() -> None:
    text = MINT.mint(Kind.JOB, "t", 0)
    with pytest.raises(UnknownId):
        MINT.check(Kind.ASSET, "t", text)
    with pytest.raises(UnknownId):
        MINT.check(Kind.ASSET, "t", text.replace("job_", "ast_"))


@given(text=st.text(max_size=60))
def test_what_was_never_given_out_is_unknown(text: str) -> None:
    with pytest.raises(UnknownId):
        MINT.check(Kind.JOB, "t", text)


def test_every_character_counts_and_there_is_one_spelling() -> None:
    text = MINT.mint(Kind.ASSET, "t", 2)
    for at in range(len("ast_"), len(text)):
        changed = text[:at] + ("a" if text[at] != "a" else "b") + text[at + 1 :]
        with pytest.raises(UnknownId):
            MINT.check(Kind.ASSET, "t", changed)
    for other in (text.upper(), text + "=", text + "a", " " + text):
        with pytest.raises(UnknownId):
            MINT.check(Kind.ASSET, "t", other)


def test_another_secret_opens_nothing_and_places_elsewhere() -> None:
    other = Mint(bytes(32), 4)
    with pytest.raises(UnknownId):
        other.check(Kind.JOB, "t", MINT.mint(Kind.JOB, "t", 0))
    subjects = [f"s{n}" for n in range(64)]
    assert [MINT.place("t", s) for s in subjects] != [other.place("t", s) for s in subjects]


def test_subjects_spread_over_all_partitions_and_stay_there() -> None:
    placed = [MINT.place("t", f"s{n}") for n in range(400)]
    assert placed == [MINT.place("t", f"s{n}") for n in range(400)]
    assert all(60 <= placed.count(p) <= 140 for p in range(4))


@given(left=st.lists(TEXTS, max_size=4), right=st.lists(TEXTS, max_size=4))
def test_no_two_lists_of_parts_share_a_digest(left: list[str], right: list[str]) -> None:
    assert (digest(*left) == digest(*right)) == (left == right)


def test_a_mint_hides_its_secret() -> None:
    assert SECRET.hex() not in repr(MINT)
    assert "partitions=4" in repr(MINT)
