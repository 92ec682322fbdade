"""Sharing, disclosure and transfer: what each published policy forbids is refused, and by which clause."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream.policies import compiler, disclosures, sharing
from stream.policies.disclosures import NoDisclosure, NotDisclosable, WrongDocument
from stream.policies.model import Policy
from stream.policies.obligations import Sharing, Transfer, Use
from stream.policies.sharing import CONSENT, Granted, Refused
from stream.policies.vocabulary import MEDIA, DataClass

POLICIES = compiler.load_all("")
SHARES = ("talentedi", "perfect-me")
NEVER = ("genzo", "background-removal-ai", "batchpix")
DATA_CLASSES = st.sampled_from(list(DataClass))
WORDS = st.sampled_from(["", "acme", "an advertiser", "our affiliate"])


def listing(app: str, *recipients: str) -> Policy:
    rule = POLICIES[app].sharing
    assert rule is not None
    return msgspec.structs.replace(POLICIES[app], sharing=msgspec.structs.replace(rule, recipients=recipients))


@given(app=st.sampled_from(NEVER), data_class=DATA_CLASSES, recipient=WORDS)
def test_where_all_sharing_is_forbidden_consent_changes_nothing(
    app: str, data_class: DataClass, recipient: str
) -> None:
    found = sharing.may(POLICIES[app], data_class, recipient, consents={CONSENT})
    assert isinstance(found, Refused)
    assert (found.kind, found.clause) == ("sharing-forbidden", POLICIES[app].sharing.clause)


@given(app=st.sampled_from(SHARES), data_class=DATA_CLASSES, recipient=WORDS)
def test_an_empty_list_lists_nobody(app: str, data_class: DataClass, recipient: str) -> None:
    found = sharing.may(POLICIES[app], data_class, recipient, consents={CONSENT})
    assert isinstance(found, Refused)
    assert found.kind == ("never-shared" if data_class in MEDIA else "not-a-recipient")


@given(app=st.sampled_from(SHARES), data_class=DATA_CLASSES)
def test_a_listed_recipient_gets_with_consent_what_is_never_media(app: str, data_class: DataClass) -> None:
    policy = listing(app, "acme")
    agreed = sharing.may(policy, data_class, "acme", consents={CONSENT})
    silent = sharing.may(policy, data_class, "acme")
    assert isinstance(silent, Refused)
    if data_class in MEDIA:
        assert (agreed, silent.kind) == (silent, "never-shared")
    else:
        assert agreed == Granted(policy.sharing.clause)
        assert silent.kind == "no-consent"
    assert isinstance(sharing.may(policy, data_class, "another", consents={CONSENT}), Refused)


@given(app=st.sampled_from(list(POLICIES)), data_class=DATA_CLASSES)
def test_only_what_the_policy_knows_as_anonymous_is_free_by_that_claim(app: str, data_class: DataClass) -> None:
    found = sharing.may(POLICIES[app], data_class, "anybody", anonymous=True)
    promises = POLICIES[app].promises_of(data_class)
    assert isinstance(found, Granted) == (bool(promises) and all(one.at_most == "no_limit" for one in promises))
    assert not (data_class in MEDIA and isinstance(found, Granted))


def test_statistics_are_free_everywhere_that_keeps_them() -> None:
    for app in ("genzo", "batchpix", "perfect-me", "talentedi"):
        assert isinstance(sharing.may(POLICIES[app], "usage_statistic", "anybody", anonymous=True), Granted), app
    assert isinstance(sharing.may(POLICIES["genzo"], "face_image", "anybody", anonymous=True), Refused)


def test_without_a_table_nothing_is_shared_and_anonymous_means_only_that() -> None:
    bare = msgspec.structs.replace(POLICIES["talentedi"], sharing=None)
    found = sharing.may(bare, "account_profile", "acme", consents={CONSENT})
    assert found == Refused("sharing-forbidden", "001 silent", "talentedi shares nothing with anybody")
    only = msgspec.structs.replace(bare, sharing=Sharing(use=Use.ANONYMOUS, clause="x", recipients=("acme",)))
    found = sharing.may(only, "account_profile", "acme", consents={CONSENT})
    assert isinstance(found, Refused)
    assert found.kind == "not-anonymous"


class TestTransfer:
    @given(app=st.sampled_from(NEVER), data_class=DATA_CLASSES)
    def test_never(self, app: str, data_class: DataClass) -> None:
        found = sharing.transfer(POLICIES[app], data_class, announced=True, opted_out=False, bound=True)
        assert isinstance(found, Refused)
        assert found.kind == "transfer-forbidden"

    @pytest.mark.parametrize(
        ("app", "announced", "opted_out", "bound", "kind"),
        [
            ("perfect-me", True, False, False, ""),
            ("perfect-me", True, True, False, "opted-out"),
            ("perfect-me", False, False, True, "not-announced"),
            ("talentedi", True, False, True, ""),
            ("talentedi", True, False, False, "not-bound"),
            ("talentedi", False, False, True, "not-announced"),
        ],
    )
    def test_bound_or_opted_out(self, app: str, announced: bool, opted_out: bool, bound: bool, kind: str) -> None:
        found = sharing.transfer(
            POLICIES[app], "account_profile", announced=announced, opted_out=opted_out, bound=bound
        )
        assert (found.kind if isinstance(found, Refused) else "") == kind

    @pytest.mark.parametrize("app", SHARES)
    @pytest.mark.parametrize("data_class", sorted(MEDIA))
    def test_media_never_go_along(self, app: str, data_class: str) -> None:
        found = sharing.transfer(POLICIES[app], data_class, announced=True, opted_out=False, bound=True)
        assert isinstance(found, Refused)
        assert found.kind == "never-shared"


class TestDisclosure:
    def test_batchpix_has_no_path_whatever_is_shown(self) -> None:
        with pytest.raises(NoDisclosure, match=r"batchpix discloses nothing \(003 §4\)"):
            disclosures.allowed(POLICIES["batchpix"], "court_order", ("result_image",))

    @pytest.mark.parametrize(
        ("app", "document"), [("talentedi", "legal_document"), ("genzo", "subpoena"), ("perfect-me", "court_order")]
    )
    def test_other_papers_open_nothing(self, app: str, document: str) -> None:
        with pytest.raises(WrongDocument):
            disclosures.allowed(POLICIES[app], document, ("account_profile",))

    @given(app=st.sampled_from(["genzo", "talentedi", "perfect-me", "background-removal-ai"]), data_class=DATA_CLASSES)
    def test_only_the_classes_of_the_policy(self, app: str, data_class: DataClass) -> None:
        rule = POLICIES[app].disclosure
        assert rule is not None
        if data_class in rule.of:
            assert disclosures.allowed(POLICIES[app], rule.documents[0], (data_class,)) == rule
        for classes in ((), *(() if data_class in rule.of else ((data_class,), (rule.of[0], data_class)))):
            with pytest.raises(NotDisclosable):
                disclosures.allowed(POLICIES[app], rule.documents[0], classes)


def test_every_rule_says_how_a_transfer_is_meant() -> None:
    assert {app: POLICIES[app].sharing.transfer for app in SHARES} == {
        "talentedi": Transfer.BOUND,
        "perfect-me": Transfer.OPT_OUT,
    }
