"""Accounts: proven before they are kept, found without an index, and gone when their user leaves."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream.agents import api_accounts as asks
from stream.agents import records
from stream.agents.accounts import NoPost, NotSignedIn
from stream.agents.codes import SENDS, TRIES, Codes, Pending, TooManyTries, WrongCode, new
from stream.events.records import Profile, Secret
from stream.policies import accounts, compiler
from stream.policies.accounts import BadField, ChannelNotOffered, FieldMissing, FieldNotCollected, NoAccounts
from stream.policies.vocabulary import DataClass
from tests.unit.desk import TENANT, Desk
from tests.unit.test_records import verified_soon

APP, PASSWORD = "genzo", "a long password"
POLICIES = compiler.load_all("")


@pytest.fixture
async def desk(tmp_path: Path) -> Desk:
    from dataclasses import replace

    made = await Desk(tmp_path).open()
    made.sent = []  # type: ignore[attr-defined]

    async def post(channel: str, address: str, title: str, code: str) -> None:
        made.sent.append((channel, address, title, code))  # type: ignore[attr-defined]

    made.estate.tools = replace(made.estate.tools, post=post)
    return made


def handle(desk: Desk, address: str) -> str:
    return desk.estate.mint.login(TENANT, APP, accounts.normalised(address))


async def registered(desk: Desk, address: str = "ann@example.org", password: str = PASSWORD) -> asks.Session:
    name = handle(desk, address)
    ask = asks.Register(TENANT, APP, name, name, {"email": address}, password, "email")
    await verified_soon(desk, ask)
    code = desk.sent[-1][-1]  # type: ignore[attr-defined]
    return await verified_soon(desk, asks.Confirm(TENANT, APP, name, name, code, password))  # type: ignore[return-value]


async def login(desk: Desk, address: str = "ann@example.org", password: str = PASSWORD, name: str = "") -> asks.Session:
    mine = handle(desk, address)
    return await verified_soon(desk, asks.Login(TENANT, APP, name or mine, mine, password))  # type: ignore[return-value]


class TestRegistering:
    async def test_nothing_is_written_before_the_address_is_proven(self, desk: Desk) -> None:
        name = handle(desk, "Ann@Example.org")
        await verified_soon(
            desk, asks.Register(TENANT, APP, name, name, {"email": "Ann@Example.org"}, PASSWORD, "email")
        )
        assert not dict(desk.ledger.items())
        assert desk.sent[0][:3] == ("email", "ann@example.org", "Genzo")
        with pytest.raises(WrongCode):
            await verified_soon(desk, asks.Confirm(TENANT, APP, name, name, "x", PASSWORD))
        assert not dict(desk.ledger.items())
        session = await verified_soon(desk, asks.Confirm(TENANT, APP, name, name, desk.sent[0][-1], PASSWORD))
        assert session.subject == name
        with pytest.raises(WrongCode):  # a code is good once
            await verified_soon(desk, asks.Confirm(TENANT, APP, name, name, desk.sent[0][-1], PASSWORD))

    async def test_whoever_reads_the_code_of_a_strangers_registration_confirms_nothing(self, desk: Desk) -> None:
        name = handle(desk, "ann@example.org")
        for password in (PASSWORD, "a stranger's one"):  # the stranger's is the latest
            ask = asks.Register(TENANT, APP, name, name, {"email": "ann@example.org"}, password, "email")
            await verified_soon(desk, ask)
        latest = desk.sent[-1][-1]
        with pytest.raises(WrongCode):
            await verified_soon(desk, asks.Confirm(TENANT, APP, name, name, latest, PASSWORD))
        assert not dict(desk.ledger.items())
        assert (await registered(desk)).subject == name

    async def test_nothing_of_the_address_or_the_password_is_in_clear(self, desk: Desk) -> None:
        await registered(desk)
        rows = b"".join(key + value for key, value in desk.ledger.items())
        assert b"ann@" not in rows  # three letters alone are found in one of a few hundred random ids
        assert b"example" not in rows
        assert handle(desk, "ann@example.org").encode() not in rows
        kept = {a.head.data_class: records.value(a) for a in records.of(desk.estate, next(iter(desk.book.of_subject)))}
        assert kept[DataClass.ACCOUNT_PROFILE].fields == {"email": "ann@example.org"}
        assert kept[DataClass.LOGIN_SECRET].hash.startswith("$argon2id$v=19$m=19456,t=2,p=1$")
        assert PASSWORD not in kept[DataClass.LOGIN_SECRET].hash
        assert "ann@" not in repr(kept[DataClass.ACCOUNT_PROFILE])
        assert "argon" not in repr(kept[DataClass.LOGIN_SECRET])

    async def test_a_code_for_one_address_proves_no_other(self, desk: Desk) -> None:
        ann, bob = handle(desk, "ann@example.org"), handle(desk, "bob@example.org")
        await verified_soon(desk, asks.Register(TENANT, APP, bob, bob, {"email": "ann@example.org"}, PASSWORD, "email"))
        with pytest.raises(WrongCode):
            await verified_soon(desk, asks.Confirm(TENANT, APP, bob, bob, desk.sent[0][-1], PASSWORD))
        with pytest.raises(WrongCode):
            await verified_soon(desk, asks.Confirm(TENANT, APP, ann, ann, desk.sent[0][-1], PASSWORD))

    @pytest.mark.parametrize(
        ("app", "fields", "channel", "error"),
        [
            ("batchpix", {"email": "a@b.org"}, "email", NoAccounts),
            ("genzo", {"email": "a@b.org", "phone": "+8613800138000"}, "email", FieldNotCollected),
            ("genzo", {}, "email", FieldMissing),
            ("genzo", {"email": "nobody"}, "email", BadField),
            ("genzo", {"email": "a@b.org"}, "sms", ChannelNotOffered),
            ("perfect-me", {"email": "a@b.org", "date_of_birth": "yesterday"}, "email", BadField),
            ("perfect-me", {"email": "a@b.org"}, "sms", FieldMissing),
        ],
    )
    async def test_what_the_policy_does_not_name_is_not_taken(
        self, desk: Desk, app: str, fields: dict[str, str], channel: str, error: type[Exception]
    ) -> None:
        with pytest.raises(error) as said:
            await desk.ask(asks.Register(TENANT, app, "n", "n", fields, PASSWORD, channel))
        assert "a@b.org" not in str(said.value)
        assert not desk.sent

    async def test_without_a_post_nobody_registers(self, desk: Desk) -> None:
        from dataclasses import replace

        desk.estate.tools = replace(desk.estate.tools, post=None)
        with pytest.raises(NoPost):
            await verified_soon(desk, asks.Register(TENANT, APP, "n", "n", {"email": "a@b.org"}, PASSWORD, "email"))


class TestSigningIn:
    async def test_by_password_and_by_session(self, desk: Desk) -> None:
        await registered(desk)
        session = await login(desk)
        view = await desk.ask(asks.Centre(TENANT, APP, session.subject, session.secret))
        assert view.fields == {"email": "ann@example.org"}
        assert [one["class"] for one in view.held["records"]] == ["account_profile"]
        await desk.ask(asks.Logout(TENANT, APP, session.subject, session.secret))
        with pytest.raises(NotSignedIn):
            await desk.ask(asks.Centre(TENANT, APP, session.subject, session.secret))

    async def test_who_is_unknown_and_who_is_wrong_hear_the_same(self, desk: Desk) -> None:
        await registered(desk)
        said = []
        for address, password in (("ann@example.org", "another password"), ("bob@example.org", PASSWORD)):
            with pytest.raises(NotSignedIn) as refused:
                await login(desk, address, password)
            said.append(str(refused.value))
        assert said[0] == said[1]

    async def test_too_many_wrong_passwords_close_the_door_for_a_while(self, desk: Desk) -> None:
        await registered(desk)
        for _ in range(SENDS):
            with pytest.raises(NotSignedIn):
                await login(desk, password="another password")
        with pytest.raises(TooManyTries):
            await login(desk)
        desk.clock.moment += 3601
        assert (await login(desk)).subject

    async def test_a_stolen_session_guesses_no_more_passwords_than_a_stranger(self, desk: Desk) -> None:
        session = await registered(desk)
        for _ in range(SENDS):
            with pytest.raises(NotSignedIn):
                await verified_soon(desk, asks.Leave(TENANT, APP, session.subject, session.secret, "a wrong one"))
        with pytest.raises(TooManyTries):
            await verified_soon(desk, asks.Leave(TENANT, APP, session.subject, session.secret, PASSWORD))
        ask = asks.Amend(TENANT, APP, session.subject, session.secret, {}, "another password", PASSWORD)
        with pytest.raises(TooManyTries):
            await verified_soon(desk, ask)

    async def test_a_password_is_one_however_it_is_typed(self, desk: Desk) -> None:
        wide, plain = "\uff50\uff41\uff53\uff53word caf\u0065\u0301", "password caf\u00e9"
        session = await registered(desk, password=wide)
        for typed in (wide, plain):
            assert (await login(desk, password=typed)).subject == session.subject
        ask = asks.Amend(TENANT, APP, session.subject, session.secret, {}, "another password", wide)
        await verified_soon(desk, ask)
        view = await verified_soon(
            desk, asks.Leave(TENANT, APP, session.subject, session.secret, "another\u00a0password")
        )
        assert view.state == "completed"

    async def test_a_session_ends_by_itself(self, desk: Desk) -> None:
        session = await registered(desk)
        desk.clock.moment = session.until
        with pytest.raises(NotSignedIn):
            await desk.ask(asks.Centre(TENANT, APP, session.subject, session.secret))

    async def test_another_password_signs_everybody_else_out(self, desk: Desk) -> None:
        first = await registered(desk)
        second = await login(desk)
        with pytest.raises(NotSignedIn):
            await verified_soon(
                desk, asks.Amend(TENANT, APP, first.subject, first.secret, {}, "another password", "a wrong one")
            )
        await verified_soon(
            desk, asks.Amend(TENANT, APP, first.subject, first.secret, {}, "another password", PASSWORD)
        )
        await desk.ask(asks.Centre(TENANT, APP, first.subject, first.secret))
        with pytest.raises(NotSignedIn):
            await desk.ask(asks.Centre(TENANT, APP, second.subject, second.secret))
        with pytest.raises(NotSignedIn):
            await login(desk)
        assert (await login(desk, password="another password")).subject


class TestAnotherAddress:
    async def moved(self, desk: Desk) -> asks.Session:
        """As the gateway does it: the way there first, then the code."""
        session = await registered(desk)
        there = handle(desk, "ann@new.example")
        ask = asks.NewAddress(TENANT, APP, session.subject, session.secret, "email", "ann@new.example")
        await verified_soon(desk, ask)
        assert desk.sent[-1][1] == "ann@new.example"
        await desk.ask(asks.PutAlias(TENANT, APP, there, session.subject))
        with pytest.raises(NotSignedIn):  # not before it is proven
            await login(desk, "ann@new.example", name=session.subject)
        code = desk.sent[-1][-1]
        for only_look in (True, False):
            ask = asks.ConfirmAddress(TENANT, APP, session.subject, session.secret, there, code, only_look)
            view = await desk.ask(ask)
            assert view.fields["email"] == ("ann@example.org" if only_look else "ann@new.example")
        return session

    async def test_the_new_one_signs_in_and_the_old_one_does_not(self, desk: Desk) -> None:
        session = await self.moved(desk)
        there = handle(desk, "ann@new.example")
        assert (await desk.ask(asks.Resolve(TENANT, APP, there))).name == session.subject
        assert (await login(desk, "ann@new.example", name=session.subject)).subject == session.subject
        with pytest.raises(NotSignedIn):
            await login(desk)

    async def test_whoever_has_the_old_address_now_does_not_get_the_account(self, desk: Desk) -> None:
        session = await self.moved(desk)
        old = handle(desk, "ann@example.org")
        await verified_soon(
            desk, asks.Register(TENANT, APP, old, old, {"email": "ann@example.org"}, "stolen password", "email")
        )
        with pytest.raises(WrongCode):
            await verified_soon(desk, asks.Confirm(TENANT, APP, old, old, desk.sent[-1][-1], "stolen password"))
        assert (await login(desk, "ann@new.example", name=session.subject)).subject == session.subject

    async def test_an_alias_takes_nobodys_account(self, desk: Desk) -> None:
        session = await registered(desk)
        other = await registered(desk, "bob@example.org")
        with pytest.raises(WrongCode):
            await desk.ask(asks.PutAlias(TENANT, APP, other.subject, session.subject))

    async def test_an_alias_that_leads_to_another_is_not_taken_back(self, desk: Desk) -> None:
        ann = await self.moved(desk)
        there = handle(desk, "ann@new.example")
        for stranger in ("", handle(desk, "bob@example.org")):
            await desk.ask(asks.PutAlias(TENANT, APP, there, "", stranger))
        assert (await login(desk, "ann@new.example", name=ann.subject)).subject == ann.subject
        assert (await desk.ask(asks.Resolve(TENANT, APP, there))).name == ann.subject

    async def test_who_looks_with_a_wrong_code_uses_up_a_try(self, desk: Desk) -> None:
        session = await registered(desk)
        there = handle(desk, "ann@new.example")
        ask = asks.NewAddress(TENANT, APP, session.subject, session.secret, "email", "ann@new.example")
        await verified_soon(desk, ask)
        for _ in range(TRIES):
            with pytest.raises(WrongCode):
                await desk.ask(asks.ConfirmAddress(TENANT, APP, session.subject, session.secret, there, "x", True))
        code = desk.sent[-1][-1]
        with pytest.raises(WrongCode):
            await desk.ask(asks.ConfirmAddress(TENANT, APP, session.subject, session.secret, there, code, True))

    async def test_an_alias_can_be_taken_back(self, desk: Desk) -> None:
        session = await registered(desk)
        there = handle(desk, "ann@new.example")
        await desk.ask(asks.PutAlias(TENANT, APP, there, session.subject))
        await desk.ask(asks.PutAlias(TENANT, APP, there, "", session.subject))
        await desk.heard()
        assert (await desk.ask(asks.Resolve(TENANT, APP, there))).name == there
        assert (TENANT, APP, there) not in desk.book.subjects


async def test_who_leaves_is_gone_and_may_come_back(desk: Desk) -> None:
    session = await registered(desk)
    with pytest.raises(NotSignedIn):
        await verified_soon(desk, asks.Leave(TENANT, APP, session.subject, session.secret, "a wrong one"))
    view = await verified_soon(desk, asks.Leave(TENANT, APP, session.subject, session.secret, PASSWORD))
    assert view.state == "completed"
    assert len(view.receipts) == 2
    with pytest.raises(NotSignedIn):
        await login(desk)
    desk.clock.moment += 3601
    assert (await registered(desk, password="another password")).subject == session.subject


class TestCodes:
    @given(st.text(max_size=8))
    def test_only_the_code_that_was_sent(self, tried: str) -> None:
        codes, who = Codes(), ("t", "a", "n")
        codes.wait(who, Pending("123456", 600.0, {}, ""), 0.0)
        if tried == "123456":
            codes.take(who, tried, 1.0)
        else:
            with pytest.raises(WrongCode):
                codes.take(who, tried, 1.0)

    def test_few_tries_and_a_short_life(self) -> None:
        codes, who = Codes(), ("t", "a", "n")
        codes.wait(who, Pending("123456", 600.0, {}, ""), 0.0)
        for _ in range(TRIES):
            with pytest.raises(WrongCode):
                codes.take(who, "654321", 1.0)
        with pytest.raises(WrongCode):
            codes.take(who, "123456", 1.0)
        codes.wait(who, Pending("123456", 600.0, {}, ""), 0.0)
        with pytest.raises(WrongCode):
            codes.take(who, "123456", 600.0)

    def test_sends_are_counted_by_the_hour(self) -> None:
        codes, who = Codes(), ("t", "a", "n")
        for n in range(SENDS):
            codes.send(who, float(n))
        with pytest.raises(TooManyTries):
            codes.send(who, 10.0)
        codes.send(who, 3600.0)
        codes.send(("t", "a", "m"), 10.0)

    def test_six_digits(self) -> None:
        assert all(len(new()) == 6 and new().isdigit() for _ in range(50))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Ann@Example.ORG", "ann@example.org"),
        (" ann@example.org ", "ann@example.org"),
        ("ann@bücher.example", "ann@xn--bcher-kva.example"),
        ("+86 138-0013 (8000)", "+8613800138000"),
    ],
)
def test_one_spelling_for_one_address(one: str, other: str) -> None:
    assert accounts.normalised(one) == accounts.normalised(other) == other


@given(st.sampled_from(sorted(POLICIES)), st.dictionaries(st.text(max_size=20), st.text(max_size=30), max_size=6))
def test_only_fields_that_the_policy_names_are_ever_kept(app: str, given_fields: dict[str, str]) -> None:
    account = POLICIES[app].account
    if account is None:
        return
    if any(name not in account.fields for name in given_fields):
        with pytest.raises(FieldNotCollected) as said:
            accounts.fields(account, given_fields, whole=False)
        with pytest.raises(FieldNotCollected) as of_nothing:
            accounts.fields(account, dict.fromkeys(given_fields, ""), whole=False)
        assert str(said.value) == str(of_nothing.value)  # what was sent is not in it
    else:
        with suppress(BadField):
            assert set(accounts.fields(account, given_fields, whole=False)) <= set(account.fields)


def test_structs_say_nothing_of_what_they_hold() -> None:
    shown = repr(asks.Register("t", "a", "n", "n", {"email": "ann@example.org"}, PASSWORD, "email"))
    assert shown == "<Register>"
    assert "ann@" not in repr(Profile(fields={"email": "ann@example.org"}))
    assert "h" not in repr(Secret(hash="h")).replace("<Secret>", "")
