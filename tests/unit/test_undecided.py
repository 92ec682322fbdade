"""What is decided of a transaction that Kafka left undecided: as it was meant, and everywhere the same."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from stream.undecided import MARK_HEADER, Manifest, Undecided, decide, mark_of

OWNED = ("ledger", "keys", "audit", "upload")
BEFORE = Manifest(b"before", {"ledger": 2, "audit": 1, "owners": 1})


@st.composite
def transactions(draw: st.DrawFn) -> tuple[Manifest, bool, dict[str, str]]:
    """What it was to write; whether it was about to be committed; and of each partition, how far it came there."""
    others = draw(st.dictionaries(st.sampled_from((*OWNED[1:], "owners")), st.integers(1, 3)))
    manifest = Manifest(b"mine", {"ledger": draw(st.integers(1, 4)), **others})
    meant = draw(st.booleans())
    ends = ("undecided", "committed") if meant else ("missing", "undecided", "aborted")
    reached = {topic: draw(st.sampled_from(ends)) for topic in manifest.records if topic in OWNED}
    return manifest, meant, reached


def decided(manifest: Manifest, reached: dict[str, str]) -> dict[str, bool]:
    """As a ledger asks."""
    found = {
        topic: Undecided(manifest.records[topic], manifest.mark) for topic, how in reached.items() if how == "undecided"
    }
    return decide(
        found,
        owned=OWNED,
        ledger="ledger",
        manifest=manifest if "ledger" in found else None,
        last=manifest if reached["ledger"] == "committed" else BEFORE,
        committed={topic for topic, how in reached.items() if how == "committed"} if "ledger" in found else (),
    )


@given(transactions())
def test_it_ends_everywhere_as_it_was_meant(one: tuple[Manifest, bool, dict[str, str]]) -> None:
    manifest, meant, reached = one
    answer = decided(manifest, reached)
    assert set(answer) == {topic for topic, how in reached.items() if how == "undecided"}
    if meant:
        assert all(answer.values())
    elif {"missing", "aborted"} & set(reached.values()):
        assert not any(answer.values())
    else:  # whole, and nobody was told anything: all the same is all that can be asked
        assert len(set(answer.values())) <= 1


@given(transactions(), st.sampled_from(OWNED))
def test_a_record_too_few_is_no_transaction(one: tuple[Manifest, bool, dict[str, str]], short: str) -> None:
    manifest, _, _ = one
    found = {topic: Undecided(records, b"mine") for topic, records in manifest.records.items() if topic in OWNED}
    if short in found:
        found[short] = Undecided(found[short].records - 1, b"mine")
    answer = decide(found, owned=OWNED, ledger="ledger", manifest=manifest, last=BEFORE)
    assert set(answer.values()) == {short not in manifest.records}


def test_without_a_manifest_nothing_is_whole() -> None:
    found = {"ledger": Undecided(1, b"mine")}
    assert decide(found, owned=OWNED, ledger="ledger", manifest=None, last=None) == {"ledger": False}


def test_what_an_earlier_transaction_left_in_one_partition_is_its_own() -> None:
    """A second one began elsewhere before the first was decided everywhere: each goes its own way."""
    found = {"ledger": Undecided(1, b"mine"), "upload": Undecided(1, b"before")}
    assert decide(found, owned=OWNED, ledger="ledger", manifest=None, last=BEFORE) == {"ledger": False, "upload": True}


def test_a_mark_is_found_among_other_headers() -> None:
    assert mark_of((("origin", b"upload"), (MARK_HEADER, b"mine"))) == b"mine"
    assert mark_of(()) == b""
