"""The register: what is shared with whom, what is announced, and what must be said of it by when."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import msgspec
import pytest
from typer.testing import CliRunner

from services import cli_disclose, cli_incident, cli_notices, cli_sharing, register, unanswered
from services.register import Register, UnknownEntry
from stream.agents.api_cases import DisclosureView
from stream.agents.api_incidents import IncidentView, NoticeView
from stream.events.records import Incident, IncidentState
from stream.policies import announcements, compiler, sharing
from stream.policies.announcements import Announcement, NotAnnounced, NotPending
from stream.policies.calendar import DAY_S, Holidays
from stream.policies.model import Consent
from stream.policies.notices import NoNotice, TooSoon
from stream.policies.obligations import Occasion, Purpose, PurposeRule, Use
from stream.policies.sharing import Shared, SharingRefused
from tests.unit.settled import settled

POLICIES = compiler.load_all("")
CHINA = Holidays()
NOW = 1.8e9


def day(ahead: int) -> str:
    return time.strftime("%Y-%m-%d", time.gmtime(time.time() + ahead * DAY_S))


def run(app: Any, *words: str) -> str:
    result = CliRunner(env={"COLUMNS": "200"}).invoke(app, words, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


@pytest.fixture
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Register:
    """A register without Kafka, whose records are those that Kafka would have."""
    settled(tmp_path, monkeypatch)
    kept = Register()

    async def load(_bootstrap: str) -> Register:
        return kept

    async def write(_bootstrap: str, entry: register.Entry | None, name: str = "") -> str:
        name = name or f"line-{len(kept.entries)}"
        kept.apply(name.encode(), None if entry is None else msgspec.json.encode(entry))
        return name

    monkeypatch.setattr(register, "load", load)
    monkeypatch.setattr(register, "write", write)
    monkeypatch.setattr(cli_incident, "everything", lambda _known: ())
    monkeypatch.setattr(cli_disclose, "everything", lambda _known: ([], []))
    return kept


def generous() -> Any:
    """Talentedi's policy, had somebody filled its list and written the text to agree to."""
    policy = POLICIES["talentedi"]
    rule = policy.sharing
    assert rule is not None
    return msgspec.structs.replace(
        policy,
        sharing=msgspec.structs.replace(rule, recipients=("acme",)),
        consents=(*policy.consents, Consent(sharing.CONSENT, "1", "I agree.", "x")),
        purposes=(*policy.purposes, PurposeRule(Purpose.PROMOTION, Use.CONSENT, "x", of=("search_keyword",))),
    )


class TestSharing:
    @pytest.mark.parametrize("app", sorted(POLICIES))
    def test_as_published_nothing_can_be_registered(self, kept: Register, app: str) -> None:
        words = (app, "--to", "acme", "--class", "account_profile", "--purpose", "other")
        clause = POLICIES[app].sharing.clause
        for verb, more in (("check", ()), ("register", ("--ground", "a contract"))):
            with pytest.raises(SharingRefused) as refused:
                run(cli_sharing.app, verb, *words, *more)
            assert clause in str(refused.value)
        assert kept.entries == {}

    def test_what_identifies_nobody_is_registered_listed_and_ended(self, kept: Register) -> None:
        words = (
            "genzo",
            "--to",
            "a faculty",
            "--class",
            "usage_statistic",
            "--purpose",
            "statistics",
            "--anonymous",
        )
        assert "000 §" in run(cli_sharing.app, "check", *words)
        name = run(cli_sharing.app, "register", *words, "--ground", "a contract").strip()
        assert kept.find(name, Shared).anonymous
        assert "a faculty" in run(cli_sharing.app, "ls")
        (line,) = json.loads(run(cli_sharing.app, "ls", "--json"))
        assert (line["id"], line["classes"], line["ground"]) == (name, ["usage_statistic"], "a contract")
        run(cli_sharing.app, "end", name)
        assert kept.entries == {}
        with pytest.raises(UnknownEntry):
            run(cli_sharing.app, "end", name)

    def test_a_listed_recipient_needs_text_purpose_and_ground(self) -> None:
        policy, fields = generous(), {"ground": "consent", "now": NOW, "anonymous": False}
        found = sharing.register(policy, "acme", Purpose.PROMOTION, ("search_keyword",), **fields)
        assert found.clause == policy.sharing.clause
        for recipient, purpose, classes, ground in (
            ("acme", Purpose.TRAINING, ("search_keyword",), "consent"),
            ("acme", Purpose.PROMOTION, ("search_keyword", "result_image"), "consent"),
            ("acme", Purpose.PROMOTION, ("search_keyword",), ""),
            ("acme", Purpose.PROMOTION, (), "consent"),
            ("another", Purpose.PROMOTION, ("search_keyword",), "consent"),
        ):
            with pytest.raises(SharingRefused):
                sharing.register(policy, recipient, purpose, classes, **fields | {"ground": ground})
        silent = msgspec.structs.replace(policy, consents=())
        with pytest.raises(SharingRefused, match="no-consent"):
            sharing.register(silent, "acme", Purpose.PROMOTION, ("search_keyword",), **fields)


class TestAnnouncing:
    def test_a_services_end_is_told_first(self, kept: Register) -> None:
        with pytest.raises(TooSoon):
            run(cli_notices.app, "announce", "talentedi", "termination", "--effective", day(20))
        shown = run(cli_notices.app, "announce", "talentedi", "termination", "--effective", day(40))
        assert "stop collecting on" in shown
        ((name, made),) = kept.of(Announcement).items()
        (line,) = json.loads(run(cli_notices.app, "due", "--json"))["due"]
        assert (line["id"], line["of"], line["to"]) == (name, "termination", "users")
        assert line["by"] == made.effective - 30 * DAY_S
        assert name in run(cli_notices.app, "due")
        run(cli_notices.app, "told", name, "--to", "users")
        assert json.loads(run(cli_notices.app, "due", "--json")) == {"due": [], "unanswered": []}
        for audience in ("users", "public"):
            with pytest.raises(NotPending):
                run(cli_notices.app, "told", name, "--to", audience)

    @pytest.mark.parametrize("app", ["genzo", "background-removal-ai", "batchpix"])
    def test_who_never_transfers_announces_no_transfer(self, app: str) -> None:
        with pytest.raises(NotAnnounced, match="transfers nothing"):
            announcements.announce(POLICIES[app], Occasion.TRANSFER, NOW, NOW + 1e8, CHINA)

    def test_an_incident_is_not_announced_and_silence_is_said(self) -> None:
        with pytest.raises(NotAnnounced):
            announcements.announce(POLICIES["talentedi"], Occasion.INCIDENT, NOW, NOW + 1e8, CHINA)
        with pytest.raises(NoNotice):
            announcements.announce(POLICIES["genzo"], Occasion.TERMINATION, NOW, NOW + 1e8, CHINA)

    def test_each_audience_is_told_of_itself(self) -> None:
        policy = POLICIES["perfect-me"]
        made = announcements.announce(policy, Occasion.POLICY_CHANGE, NOW, NOW + 31 * DAY_S, CHINA)
        made = announcements.told(policy, made, CHINA, "public", NOW)
        assert [one.to for one in announcements.pending(policy, made, CHINA)] == ["users"]


def test_all_that_is_due_is_in_one_list_the_most_urgent_first(kept: Register, monkeypatch: pytest.MonkeyPatch) -> None:
    run(cli_notices.app, "announce", "genzo", "policy_change", "--effective", day(60))
    incident = Incident(1, IncidentState.CONFIRMED, ("talentedi",), (), NOW, NOW)
    notice = NoticeView("talentedi", "regulator", ("site",), 1.0, -5.0, "001 §5(7)")
    monkeypatch.setattr(cli_incident, "everything", lambda _known: (IncidentView("ast_1", NOW, incident, (notice,)),))
    views = [
        DisclosureView(case, "genzo", "a court", "legal_document", {}, NOW, NOW, tell=True, ground=ground)
        for case, ground in (("aa", ""), ("bb", "Act 7"))
    ]
    monkeypatch.setattr(cli_disclose, "everything", lambda _known: (views, []))
    found = json.loads(run(cli_notices.app, "due", "--json"))["due"]
    assert [(one["of"], one["to"]) for one in found] == [
        ("disclosure", "subject"),
        ("incident", "regulator"),
        ("policy_change", "public"),
        ("policy_change", "users"),
    ]
    assert "without delay" in run(cli_notices.app, "due")
    silent = [unanswered.Unanswered(2, "owner-away")]
    monkeypatch.setattr(cli_disclose, "everything", lambda _known: (views, silent))
    for words in (("due",), ("due", "--json")):
        half = CliRunner().invoke(cli_notices.app, words, catch_exceptions=False)
        assert half.exit_code == unanswered.EXIT
        assert "genzo" in half.stdout
        assert "partition 2 (owner-away)" in half.stderr
