"""The consent ledger: what stands, for whom, and that nothing is ever presumed."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream.events.rows import Consent as Entry
from stream.events.rows import SubjectBody
from stream.policies import ages, consents, verdict
from stream.policies.compiler import BadPolicy, compile_policy, load
from stream.policies.consents import Allowed, How, Why
from stream.policies.obligations import Age, Purpose
from stream.policies.refusals import (
    ConsentLedgerFull,
    GuardianNotAsked,
    UnknownPurpose,
    WrongConsentVersion,
    WrongRegion,
)
from stream.policies.verdict import Granted, JobRequest
from stream.policies.vocabulary import DataClass
from tests.unit.desk import POLICIES

NURSERY = compile_policy((POLICIES / "nursery.toml").read_bytes(), "nursery.toml", for_tests=True)
ISLAND = compile_policy((POLICIES / "island.toml").read_bytes(), "island.toml", for_tests=True)
GENZO = load("genzo")
FACES = NURSERY.consent("face_processing")
REQUEST = JobRequest("noop", "save", 1)
AVAILABLE = {"noop": (), "stylization": ()}
BANDS = ["", "under_14", "14_to_17", "adult", "under_13"]  # the last is no band of this policy


def said(purpose="face_processing", version="1", *, granted=True, guardian=False, at=1.0, text=FACES.text):
    digest = consents.digest(text) if granted else ""
    return Entry(purpose, version, granted=granted, at=at, how="app", guardian=guardian, text=digest)


def stands(*ledger, band="adult", policy=NURSERY):
    return {one.purpose for one in consents.standing(policy, ledger, band=band)}


def ask(*ledger, band="adult", operation="noop", policy=NURSERY, **more):
    standing = consents.versions(consents.standing(policy, ledger, band=band))
    asked = msgspec.structs.replace(REQUEST, operation=operation)
    return verdict.decide(policy, asked, consents=standing, available=AVAILABLE, age=band, **more)


class TestWhatStands:
    def test_the_last_word_counts(self):
        grant, withdrawal = said(), said(granted=False)
        assert stands() == set()
        assert stands(grant) == stands(withdrawal, grant) == {"face_processing"}
        assert stands(grant, withdrawal) == set()

    def test_a_consent_is_to_one_text(self):
        newer = msgspec.structs.replace(FACES, version="2")
        changed = msgspec.structs.replace(NURSERY, consents=(newer,))
        assert stands(said(), policy=changed) == set()
        assert stands(said(), said(version="2"), policy=changed) == {"face_processing"}
        assert stands(said(version="2"), said(), policy=changed) == set()

    def test_a_text_that_changed_under_its_version_is_another_text(self):
        quietly = msgspec.structs.replace(NURSERY, consents=(msgspec.structs.replace(FACES, text="Anything goes."),))
        assert stands(said(), policy=quietly) == set()
        old = msgspec.structs.replace(said(), text="")  # recorded before digests were
        assert stands(old, policy=quietly) == {"face_processing"}

    def test_a_purpose_has_its_own_consent(self):
        promotion = said("promotion", text=NURSERY.consent("promotion").text)
        assert stands(promotion) == {"promotion"}
        assert stands(promotion, said(), said("promotion", granted=False)) == {"face_processing"}

    def test_below_the_age_only_a_guardians_counts_and_above_it_only_ones_own(self):
        own, theirs = said(), said(guardian=True)
        for band, right, wrong in (("under_14", theirs, own), ("14_to_17", own, theirs), ("adult", own, theirs)):
            assert stands(right, band=band) == stands(right, wrong, band=band) == {"face_processing"}
            assert stands(wrong, band=band) == set()

    @pytest.mark.parametrize("guardian", [True, False])
    def test_either_may_withdraw(self, guardian):
        both = said(), said(guardian=True)
        for band in ("under_14", "adult"):
            assert stands(*both, said(granted=False, guardian=guardian), band=band) == set()

    @pytest.mark.parametrize(
        ("ledger", "band", "why"),
        [
            ([], "adult", Why.NEW),
            ([said(), said(granted=False)], "adult", Why.WITHDRAWN),
            ([said(version="0")], "adult", Why.CHANGED),
            ([said()], "under_14", Why.GUARDIAN),
            ([said(guardian=True), said(granted=False), said()], "under_14", Why.GUARDIAN),
            ([said(guardian=True)], "14_to_17", Why.OWN),
        ],
    )
    def test_what_is_to_be_asked_and_why(self, ledger, band, why):
        found = {one.text.purpose: one.why for one in consents.asks(NURSERY, ledger, band=band)}
        assert found == {"face_processing": why, "promotion": Why.NEW}

    def test_what_stands_is_not_asked(self):
        assert [one.text.purpose for one in consents.asks(NURSERY, [said()], band="adult")] == ["promotion"]


class TestWriting:
    def test_an_entry_names_text_and_policy(self):
        got = consents.entry(NURSERY, Entry("face_processing", "1", granted=True, at=2.0, how="app"), band="")
        assert (got.text, got.policy, got.how) == (consents.digest(FACES.text), NURSERY.hash, "app")
        gone = consents.entry(NURSERY, Entry("face_processing", "0", granted=False, at=2.0), band="")
        assert (gone.text, gone.policy) == ("", NURSERY.hash)

    @pytest.mark.parametrize(
        ("entry", "error"),
        [
            (said("training"), UnknownPurpose),  # a purpose that waits for consent, and has no text
            (said("training", granted=False), UnknownPurpose),
            (said(version="0"), WrongConsentVersion),
        ],
    )
    def test_what_nobody_can_agree_to(self, entry, error):
        with pytest.raises(error):
            consents.entry(NURSERY, entry, band="")

    def test_a_guardian_is_heard_only_where_one_may_be_needed(self):
        for band in ("", "under_14", "14_to_17"):
            assert consents.entry(NURSERY, said(guardian=True), band=band).guardian
        with pytest.raises(GuardianNotAsked, match="at their age"):
            consents.entry(NURSERY, said(guardian=True), band="adult")
        theirs = Entry("face_processing", "2025-1", granted=True, at=1.0, guardian=True)
        with pytest.raises(GuardianNotAsked, match="genzo"):
            consents.entry(GENZO, theirs, band="")
        assert not consents.entry(NURSERY, said(granted=False, guardian=True), band="adult").granted

    def test_a_repeated_word_is_one_entry(self):
        first, again = said(at=1.0), said(at=9.0)
        assert consents.repeats((first,), again) == first
        assert consents.repeats((first,), said(guardian=True)) is None
        assert consents.repeats((first, said(guardian=True)), again) == first
        assert consents.repeats((first, said(granted=False)), again) is None
        assert consents.repeats((first,), msgspec.structs.replace(again, proof="x")) is None
        assert consents.repeats((first,), said(granted=False)) is None
        gone = said(granted=False)
        assert consents.repeats((first, gone), said(granted=False, version="7", at=3.0)) == gone
        for guardian in (True, False):  # the other's grant must not hide behind an older withdrawal
            assert consents.repeats((gone, said()), said(granted=False, guardian=guardian)) is None
        assert consents.repeats((), said(granted=False)) is None  # a refusal, before anybody agreed, is one too

    def test_a_full_ledger_takes_withdrawals_only(self):
        full = tuple(said(version=str(n)) for n in range(consents.MAX_GRANTS))
        with pytest.raises(ConsentLedgerFull):
            consents.add(full, said())
        assert consents.add(full, said(granted=False))[-1] == said(granted=False)
        assert consents.add(full[1:], said()) == (*full[1:], said())

    def test_all_that_stood_is_withdrawn_at_once(self):
        ledger = (said(), said(guardian=True), said("promotion"), said("promotion", granted=False))
        got, count = consents.withdraw_all(ledger, at=7.0, how=How.RESTORE)
        assert count == 1
        assert got == (*ledger, Entry("face_processing", "1", granted=False, at=7.0, how="restore"))
        assert consents.withdraw_all(got, at=8.0, how=How.RESTORE) == (got, 0)


# Bytes as the first version wrote them: they must decode in every later one.
OLD_SUBJECT = (
    "83a674656e616e74a574656e5f61a46e616d65a7757365722d3137a8636f6e73656e747382a16284a7707572706f7365a162a776657273696f6e"
    "a132a76772616e746564c3a26174cb4004000000000000a16184a7707572706f7365a161a776657273696f6ea131a76772616e746564c2a26174"
    "cb400c000000000000"
)


def test_an_old_subject_has_a_ledger_too():
    body = msgspec.msgpack.decode(bytes.fromhex(OLD_SUBJECT), type=SubjectBody)
    assert (body.tenant, body.name, body.age, body.history) == ("ten_a", "user-17", "", ())
    first, second = consents.ledger_of(body)
    assert first == Entry("b", "2", granted=True, at=2.5)
    assert second == Entry("a", "1", granted=False, at=3.5)
    later = msgspec.structs.replace(body, history=(said(),))
    assert consents.ledger_of(later) == (first, second, said())


class TestAges:
    @pytest.mark.parametrize(
        ("age", "names"),
        [
            (None, []),
            (Age(14, "c"), ["under_14", "14_and_over"]),
            (Age(14, "c", advice_below=18), ["under_14", "14_to_17", "adult"]),
            (Age(18, "c"), ["under_18", "adult"]),
            (Age(0, "c", advice_below=16), ["under_16", "16_and_over"]),
        ],
    )
    def test_bands_follow_from_the_policy(self, age, names):
        assert [one.name for one in ages.bands(age)] == names

    @given(guardian=st.integers(1, 30), more=st.integers(0, 30), years=st.integers(0, 80))
    def test_every_age_is_in_one_band_and_is_treated_by_its_years(self, guardian, more, years):
        age = Age(guardian, "c", advice_below=guardian + more if more else 0)
        (band,) = [one for one in ages.bands(age) if one.low <= years and (not one.high or years < one.high)]
        assert ages.guarded(age, band.name) == (years < guardian)
        assert ages.advised(age, band.name) == (guardian <= years < age.advice_below)

    def test_an_unknown_band_needs_and_gets_no_guardian(self):
        for name in ("", "under_13"):
            assert not ages.guarded(NURSERY.age, name)
            assert not ages.advised(NURSERY.age, name)

    @pytest.mark.parametrize(
        ("wrong", "told"),
        [
            ("guardian_below = 0\nadvice_below = 0", "expected an age in years"),
            ("guardian_below = -1\nadvice_below = 18", "expected an age in years"),
            ("guardian_below = 14\nadvice_below = 14", "expected an age above guardian_below"),
        ],
    )
    def test_ages_that_say_nothing_do_not_compile(self, wrong, told):
        text = (POLICIES / "nursery.toml").read_text().replace("guardian_below = 14\nadvice_below = 18", wrong)
        with pytest.raises(BadPolicy, match=told) as caught:
            compile_policy(text.encode(), "nursery.toml", for_tests=True)
        assert "nursery.toml:" in str(caught.value)


class TestTheVerdict:
    def test_an_age_that_is_asked_for_must_be_known(self):
        for band in ("", "under_13"):
            got = ask(said(), band=band)
            assert (got.kind, got.status, got.clause) == ("age-unknown", 403, "test §8")
            assert "under_14, 14_to_17, adult" in got.message
        lenient = msgspec.structs.replace(NURSERY, age=msgspec.structs.replace(NURSERY.age, unknown=True))
        assert isinstance(ask(said(), band="", policy=lenient), Granted)

    def test_a_child_needs_a_guardian(self):
        got = ask(said(), band="under_14")
        assert (got.kind, got.status, got.clause) == ("guardian-consent-missing", 403, "test §8")
        assert '"guardian": true' in got.message
        assert isinstance(ask(said(guardian=True), band="under_14"), Granted)
        assert ask(said(guardian=True, version="0"), band="under_14").kind == "guardian-consent-missing"
        assert ask(band="14_to_17").kind == "consent-missing"

    def test_what_has_no_text_is_closed_to_children(self):
        """R14: nobody can have agreed to it for them."""
        assert ask(said(guardian=True), band="under_14", operation="stylization").kind == "guardian-consent-missing"
        assert isinstance(ask(band="14_to_17", operation="stylization"), Granted)

    def test_an_app_that_asks_no_age_asks_none(self):
        entry = Entry("face_processing", "2025-1", granted=True, at=1.0)
        standing = consents.versions(consents.standing(GENZO, [entry]))
        request = JobRequest("stylization", "save", 1)
        assert isinstance(verdict.decide(GENZO, request, consents=standing, available=AVAILABLE), Granted)

    @pytest.mark.parametrize("region", ["", "mainland", "Island"])
    def test_data_that_must_stay_elsewhere_are_not_taken(self, region):
        got = ask(said(), policy=ISLAND, region=region)
        assert (got.kind, got.status, got.clause) == ("wrong-region", 403, "test §9")
        with pytest.raises(WrongRegion):
            verdict.at_home(ISLAND, region)

    def test_at_home_all_is_well(self):
        assert isinstance(ask(said(), policy=ISLAND, region="island"), Granted)
        assert isinstance(ask(said(), region="mainland"), Granted)  # an app that does not care where it is

    def test_the_order_is_offer_region_mistakes_age_consent_quota(self):
        policy = msgspec.structs.replace(NURSERY, residency=ISLAND.residency)
        seen = []
        for region, operation, band, ledger in [
            ("", "cutout", "", ()),
            ("", "noop", "", ()),
            ("island", "noop", "", ()),
            ("island", "noop", "under_14", ()),
            ("island", "noop", "adult", ()),
            ("island", "noop", "adult", (said(),)),
        ]:
            quota = verdict.Quota(1, 1)
            seen.append(ask(*ledger, band=band, operation=operation, policy=policy, region=region, quota=quota).kind)
        assert seen == [
            "operation-not-offered",
            "wrong-region",
            "age-unknown",
            "guardian-consent-missing",
            "consent-missing",
            "quota-exceeded",
        ]


class TestMayUse:
    def use(self, purpose, data_class=DataClass.UPLOAD_IMAGE, *ledger, policy=NURSERY):
        standing = consents.versions(consents.standing(policy, ledger, band="adult"))
        return consents.may_use(policy, data_class, purpose, standing)

    def test_always_needs_nobodys_consent(self):
        assert self.use(Purpose.FUNCTION) == Allowed("test §1")

    def test_consent_is_to_this_very_purpose(self):
        assert self.use(Purpose.PROMOTION).kind == "consent-missing"
        assert self.use(Purpose.PROMOTION, DataClass.UPLOAD_IMAGE, said()).kind == "consent-missing"
        promotion = said("promotion", text=NURSERY.consent("promotion").text)
        assert self.use(Purpose.PROMOTION, DataClass.UPLOAD_IMAGE, promotion) == Allowed("test §3")
        gone = said("promotion", granted=False)
        assert self.use(Purpose.PROMOTION, DataClass.UPLOAD_IMAGE, promotion, gone).kind == "consent-missing"

    def test_without_a_text_there_is_nothing_to_agree_to(self):
        got = self.use(Purpose.TRAINING, DataClass.UPLOAD_IMAGE, said("training"))
        assert (got.kind, got.status, got.clause) == ("purpose-not-allowed", 403, "test §3")
        for purpose in (Purpose.PROMOTION, Purpose.OTHER):
            assert self.use(purpose, policy=GENZO).kind == "purpose-not-allowed"

    def test_what_no_rule_allows_is_not_allowed(self):
        assert self.use(Purpose.IMPROVEMENT).kind == "purpose-not-allowed"
        assert self.use(Purpose.TRAINING, policy=GENZO).kind == "purpose-not-allowed"
        assert self.use(Purpose.ACCOUNT_SECURITY, policy=GENZO).kind == "purpose-not-allowed"
        assert self.use(Purpose.ACCOUNT_SECURITY, DataClass.LOGIN_SECRET, policy=GENZO) == Allowed("000 §3 Security")

    def test_anonymous_means_what_identifies_nobody(self):
        assert isinstance(self.use(Purpose.STATISTICS, DataClass.USAGE_STATISTIC, policy=GENZO), Allowed)
        for data_class in (DataClass.UPLOAD_IMAGE, DataClass.USAGE_EVENT, DataClass.CART_ITEM):
            assert self.use(Purpose.STATISTICS, data_class, policy=GENZO).kind == "purpose-not-allowed"


words = st.builds(
    said,
    st.sampled_from(["face_processing", "promotion"]),
    st.sampled_from(["0", "1"]),
    granted=st.booleans(),
    guardian=st.booleans(),
    text=st.sampled_from([one.text for one in NURSERY.consents] + ["Something else."]),
)


@given(ledger=st.lists(words, max_size=12), band=st.sampled_from(BANDS))
def test_no_consent_is_presumed(ledger, band):
    """For any sequence: a job begins only if the last word on each needed consent is the right person's grant.

    Told word by word, as a person would who reads the ledger from its beginning.
    """
    agreed = {}  # (purpose, guardian) → the words last agreed to
    for word in ledger:
        if word.granted:
            agreed[word.purpose, word.guardian] = (word.version, word.text)
        else:
            agreed.pop((word.purpose, True), None)
            agreed.pop((word.purpose, False), None)
    counts = agreed.get(("face_processing", band == "under_14"))
    may = band in {"under_14", "14_to_17", "adult"} and counts == ("1", consents.digest(FACES.text))
    assert isinstance(ask(*ledger, band=band), Granted) == may


@given(ledger=st.lists(words, max_size=12), band=st.sampled_from(BANDS))
def test_every_text_stands_or_is_to_be_asked(ledger, band):
    standing = {one.purpose for one in consents.standing(NURSERY, ledger, band=band)}
    asked = {one.text.purpose for one in consents.asks(NURSERY, ledger, band=band)}
    assert standing.isdisjoint(asked)
    assert standing | asked == {"face_processing", "promotion"}


@given(ledger=st.lists(words, max_size=12), band=st.sampled_from(BANDS))
def test_after_a_withdrawal_of_all_nothing_stands(ledger, band):
    left, count = consents.withdraw_all(tuple(ledger), at=9.0, how=How.RESTORE)
    assert consents.standing(NURSERY, left, band=band) == ()
    assert count == len(left) - len(ledger)
