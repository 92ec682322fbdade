"""Accounts: a subject that can sign in. What it holds are records, sealed and promised like everything else.

An account is found by its address without any index: the subject's name is a keyed digest of the address it was
registered with (`Mint.login`, the *handle*), and the name places it. Who changes their address keeps the name; at the
new handle's place lies an alias, a record that says which account it is. The topics tell nobody an address.

Nothing is written before an address is proven. An unknown address and a wrong password take the same time and get the
same answer.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Awaitable, Callable
from typing import ClassVar

import msgspec

from stream.agents import api, assets, codes, export, passwords, records, rights
from stream.agents import api_accounts as asks
from stream.agents import jobs as jobs_of
from stream.agents.api_rights import OpenRequest, RequestView, VerifyRequest
from stream.agents.book import Asset, Subject
from stream.agents.codes import Pending
from stream.agents.estate import Estate
from stream.errors import BadRequest, StoreUnavailable
from stream.events.records import Alias, Profile, RequestState, Secret, Value
from stream.ledger import Change
from stream.policies import accounts, deadlines
from stream.policies.obligations import Channel, RightName
from stream.policies.vocabulary import Clock, DataClass
from stream.vault import purposes

SECRET_BYTES = 32
SESSION_S = 30 * 86_400.0
MAX_SESSIONS = 20
_ADDRESS = "/address"  # beside the account's own name among the codes that wait

Who = tuple[str, str, str]
_Signed = asks.Logout | asks.Centre | asks.Amend | asks.Leave | asks.NewAddress | asks.ConfirmAddress


class NotSignedIn(BadRequest):
    """No such account, a wrong password, or a session that ended: which of these is not said."""

    kind: ClassVar[str] = "not-signed-in"
    status: ClassVar[int] = 403


class NoPost(StoreUnavailable):
    """Nothing here sends mail or messages, or what does did not take it: nobody is registered by that."""

    kind: ClassVar[str] = "no-post"
    status: ClassVar[int] = 502  # not 503, which a gateway asks again


class AddressTaken(BadRequest):
    """An address is changed by proving the new one."""

    kind: ClassVar[str] = "address-needs-proof"
    status: ClassVar[int] = 409


Post = Callable[[str, str, str, str], Awaitable[None]]
"""(channel, address, app's title, code) → delivered to whoever carries it on. Raises NoPost."""


async def nobody(_channel: str, _address: str, _title: str, _code: str) -> None:
    """Where no post is set up."""
    raise NoPost("expected a mail server or a webhook to be set up: no code can be sent")


async def resolve(estate: Estate, ask: asks.Resolve) -> asks.Resolved:
    """Its own name, unless an alias lies here."""
    await estate.book.complete()
    found = _alias(estate, (ask.tenant, ask.app, ask.handle))
    said = records.value(found) if found is not None else None
    return asks.Resolved(name=said.name if isinstance(said, Alias) else ask.handle)


async def put_alias(estate: Estate, ask: asks.PutAlias) -> api.Done:
    """Written before the account says that this is its address: until then nobody signs in by it.

    Only for who has proven the address: whoever it led to before is led there no more.
    """
    await estate.book.complete()
    who = (ask.tenant, ask.app, ask.handle)
    found = _alias(estate, who)
    if not ask.name and found is not None and records.value(found) != Alias(ask.mine):
        return api.Done(at=estate.now())  # an address that somebody only claims may be another's: it stays theirs
    change = Change()
    if _account(estate, who) is not None:
        raise codes.WrongCode("expected the code that was sent last: ask for another")  # and nothing of whose it is
    if found is not None:
        assets.retire(estate, change, [found], rights.CAUSE)
    if ask.name:
        subject = jobs_of.subject(estate, change, tenant=ask.tenant, app=ask.app, name=ask.handle)
        _write(estate, change, subject, None, Alias(ask.name))
    elif found is not None and (gone := estate.book.subject(estate.book.subjects.get(who, ""))) is not None:
        change.erase.append((gone.head.page, purposes.stream_name(gone.id)))
        estate.book.bury(change, gone.id)
    if change.rows:
        await estate.commit(change)
    return api.Done(at=estate.now())


async def new_address(estate: Estate, ask: asks.NewAddress) -> asks.Sent:
    """A code goes to the address that an account wants to have."""
    await _session(estate, ask)
    policy = estate.policy(ask.app)
    account = accounts.account_of(policy)
    if ask.channel not in accounts.ADDRESS_OF:
        accounts.address(account, ask.channel, {})
    kept = accounts.fields(account, {accounts.ADDRESS_OF[Channel(ask.channel)]: ask.address}, whole=False)
    address = accounts.address(account, ask.channel, kept)
    who = (ask.tenant, ask.app, ask.name + _ADDRESS)
    return await _send(estate, who, (ask.channel, address), kept, "")


async def confirm_address(estate: Estate, ask: asks.ConfirmAddress) -> asks.CentreView:
    """The account's address is another one: the one before no longer signs in."""
    await _session(estate, ask)
    who = (ask.tenant, ask.app, ask.name + _ADDRESS)
    pending = (estate.codes.look if ask.only_look else estate.codes.take)(who, ask.code, estate.now())
    subject = _subject(estate, ask)
    profile, _ = _records(estate, subject)
    said = records.value(profile) if profile is not None else None
    if profile is None or not isinstance(said, Profile) or not _leads(estate, ask, pending.fields):
        raise codes.WrongCode("expected the code that was sent last: ask for another")
    if ask.only_look:
        return _centre(estate, subject)
    change = Change()
    fields = said.fields | pending.fields
    records.rewrite(estate, change, profile, Profile(fields=fields, verified_at=estate.now()))
    await estate.commit(change)
    return _centre(estate, subject)


async def register(estate: Estate, ask: asks.Register) -> asks.Sent:
    """A code goes to the address. What was given waits for it, in memory."""
    policy = estate.policy(ask.app)
    account = accounts.account_of(policy)
    kept = accounts.fields(account, ask.fields)
    address = accounts.address(account, ask.channel, kept)
    hashed = await passwords.hashed(accounts.password(ask.password))
    return await _send(estate, (ask.tenant, ask.app, ask.name), (ask.channel, address), kept, hashed)


async def confirm(estate: Estate, ask: asks.Confirm) -> asks.Session:
    """The address is proven: the account is there, and signed in. Whoever had it before proves it anew by that."""
    await estate.book.complete()
    who, now = (ask.tenant, ask.app, ask.name), estate.now()
    pending = estate.codes.look(who, ask.code, now)
    if not await passwords.matches(pending.password_hash, accounts.spelled(ask.password)):
        pending.tries += 1  # a stranger registered this address, and its owner read the code: not with that password
        raise codes.WrongCode("expected the code that was sent last: ask for another")
    if (
        estate.codes.take(who, ask.code, now) is not pending
        or not _leads(estate, ask, pending.fields)
        or not _may_take(estate, who, ask.handle)
    ):
        raise codes.WrongCode("expected the code that was sent last: ask for another")
    change = Change()
    subject = jobs_of.subject(estate, change, tenant=ask.tenant, app=ask.app, name=ask.name)
    profile, secret = _records(estate, subject)
    token = secrets.token_bytes(SECRET_BYTES)
    sessions = {_digest(token): now + SESSION_S}
    said = Profile(fields=pending.fields, verified_at=now)
    kept = Secret(hash=pending.password_hash, sessions=sessions)
    _write(estate, change, subject, profile, said)
    _write(estate, change, subject, secret, kept)
    await estate.commit(change)
    return asks.Session(subject=ask.name, secret=token, until=now + SESSION_S)


async def login(estate: Estate, ask: asks.Login) -> asks.Session:
    """By password. Too many wrong ones close the door for a while, to the right one too."""
    await estate.book.complete()
    who, now = (ask.tenant, ask.app, ask.name), estate.now()
    accounts.account_of(estate.policy(ask.app))
    estate.codes.check(who, now)
    found = _account(estate, who)
    encoded = found[1].hash if found is not None else ""
    right = await passwords.matches(encoded, accounts.spelled(ask.password))
    if not right or (found := _account(estate, who)) is None or not _may_take(estate, who, ask.handle):
        estate.codes.failed(who, now)
        raise _not_signed_in()
    token = secrets.token_bytes(SECRET_BYTES)
    live = {digest: until for digest, until in found[1].sessions.items() if until > now}
    kept = dict(sorted(live.items(), key=lambda item: item[1])[-(MAX_SESSIONS - 1) :])
    change = Change()
    said = msgspec.structs.replace(found[1], sessions=kept | {_digest(token): now + SESSION_S})
    records.rewrite(estate, change, found[0], said)
    await estate.commit(change)
    return asks.Session(subject=ask.name, secret=token, until=now + SESSION_S)


async def logout(estate: Estate, ask: asks.Logout) -> api.Done:
    """The session is over; with `everywhere`, all of them."""
    asset, secret = await _session(estate, ask)
    left = {} if ask.everywhere else {k: v for k, v in secret.sessions.items() if k != _digest(ask.secret)}
    change = Change()
    records.rewrite(estate, change, asset, msgspec.structs.replace(secret, sessions=left))
    await estate.commit(change)
    return api.Done(at=estate.now())


async def centre(estate: Estate, ask: asks.Centre) -> asks.CentreView:
    """The personal centre: everything that is held (000 §6 Access: at any time)."""
    await _session(estate, ask)
    return _centre(estate, _subject(estate, ask))


async def amend(estate: Estate, ask: asks.Amend) -> asks.CentreView:
    """Corrections take effect at once. An address needs a code, and another password the old one."""
    asset, secret = await _session(estate, ask)
    account = accounts.account_of(estate.policy(ask.app))
    fields = accounts.fields(account, ask.fields, whole=False)
    if {accounts.ADDRESS_OF[channel] for channel in account.verify} & set(fields):
        raise AddressTaken("expected a new address to be proven: register it, and confirm the code")
    who = _subject(estate, ask)
    profile, _ = _records(estate, who)
    hashed = ""
    if ask.password:
        fresh = accounts.password(ask.password)
        await _known(estate, ask, secret, ask.old_password)
        hashed = await passwords.hashed(fresh)
        asset, secret = await _session(estate, ask)  # it may have ended meanwhile
    change = Change()
    if profile is not None and fields and isinstance(said := records.value(profile), Profile):
        records.rewrite(estate, change, profile, msgspec.structs.replace(said, fields=said.fields | fields))
    if hashed:  # who knew the old one is signed out
        mine = {digest: until for digest, until in secret.sessions.items() if digest == _digest(ask.secret)}
        records.rewrite(estate, change, asset, Secret(hash=hashed, sessions=mine))
    if change.rows:
        await estate.commit(change)
    return _centre(estate, _subject(estate, ask))


async def leave(estate: Estate, ask: asks.Leave, withdraw: rights.Withdraw) -> RequestView:
    """Cancelled, for good: media, records and the account itself go at once, which is never later than promised."""
    _, secret = await _session(estate, ask)
    await _known(estate, ask, secret, ask.password)
    opened = OpenRequest(ask.tenant, ask.app, ask.name, RightName.CANCEL_ACCOUNT)
    view = await rights.open_request(estate, opened, withdraw)
    if view.state == RequestState.PENDING:
        view = await rights.verify_request(estate, VerifyRequest(ask.tenant, ask.app, view.id, "password"), withdraw)
    return view


async def _send(estate: Estate, who: Who, to: tuple[str, str], fields: dict[str, str], hashed: str) -> asks.Sent:
    """A code on its way `to` (channel, address); what it is to prove waits for it."""
    now = estate.now()
    estate.codes.send(who, now)
    policy = estate.policy(who[1])
    clocks = {Clock.COLLECTED: now}
    life = deadlines.ceiling(policy, DataClass.VERIFICATION_CODE, choice="", has_face=None, clocks=clocks)
    code = codes.new()
    await (estate.tools.post or nobody)(*to, policy.title, code)
    estate.codes.wait(who, Pending(code, life.at, fields, hashed), now)
    return asks.Sent(until=life.at)


def _write(estate: Estate, change: Change, subject: Subject, found: Asset | None, said: Value) -> None:
    """Into the record that is there, or into a new one."""
    if found is not None:
        records.rewrite(estate, change, found, said)
        return
    records.create(
        estate,
        change,
        app=subject.head.app,
        data_class=DataClass.ACCOUNT_PROFILE if isinstance(said, Profile) else DataClass.LOGIN_SECRET,
        tenant=subject.body.tenant,
        subject=subject.id,
        value=said,
        clocks={Clock.COLLECTED: estate.now()},
    )


def _leads(estate: Estate, ask: asks.Confirm | asks.ConfirmAddress, fields: dict[str, str]) -> bool:
    """Whether the handle is that of an address among these fields."""
    addresses = (fields[name] for name in accounts.ADDRESS_OF.values() if name in fields)
    return any(estate.mint.login(ask.tenant, ask.app, address) == ask.handle for address in addresses)


def _may_take(estate: Estate, who: Who, handle: str) -> bool:
    """Whether this handle opens the account: it is new, or the handle is that of an address which it has now.

    An address that an account had when it was registered names it for as long as it lives, and opens it no more.
    """
    subject_id = estate.book.subjects.get(who)
    for asset in records.of(estate, subject_id, DataClass.ACCOUNT_PROFILE) if subject_id is not None else ():
        if isinstance(said := records.value(asset), Profile):
            has = {estate.mint.login(who[0], who[1], text) for text in said.fields.values()}
            return handle in has
    return True


def _alias(estate: Estate, who: Who) -> Asset | None:
    subject_id = estate.book.subjects.get(who)
    found = records.of(estate, subject_id, DataClass.LOGIN_SECRET) if subject_id is not None else ()
    return next((asset for asset in found if isinstance(records.value(asset), Alias)), None)


def _account(estate: Estate, who: Who) -> tuple[Asset, Secret] | None:
    """(the record of its secrets, what it says) of an account that lives."""
    subject_id = estate.book.subjects.get(who)
    for asset in records.of(estate, subject_id, DataClass.LOGIN_SECRET) if subject_id is not None else ():
        if isinstance(said := records.value(asset), Secret):
            return asset, said
    return None


def _records(estate: Estate, subject: Subject) -> tuple[Asset | None, Asset | None]:
    """The records of profile and secrets, as far as they are there."""
    found = {asset.head.data_class: asset for asset in records.of(estate, subject.id)}
    return found.get(DataClass.ACCOUNT_PROFILE), found.get(DataClass.LOGIN_SECRET)


async def _session(estate: Estate, ask: _Signed) -> tuple[Asset, Secret]:
    """The account whose session this is. Raises NotSignedIn."""
    await estate.book.complete()
    accounts.account_of(estate.policy(ask.app))
    found = _account(estate, (ask.tenant, ask.app, ask.name))
    digest = _digest(ask.secret)
    until = 0.0
    for known, end in found[1].sessions.items() if found is not None else ():
        if hmac.compare_digest(known, digest):
            until = end
    if found is None or until <= estate.now():
        raise _not_signed_in()
    return found


async def _known(estate: Estate, ask: asks.Amend | asks.Leave, secret: Secret, password: str) -> None:
    """The password proves who asks: a session that was stolen guesses no more often than a stranger does."""
    who = (ask.tenant, ask.app, ask.name)
    estate.codes.check(who, estate.now())
    if not await passwords.matches(secret.hash, accounts.spelled(password)):
        estate.codes.failed(who, estate.now())
        raise _not_signed_in()


def _subject(estate: Estate, ask: asks.Centre | asks.Amend | asks.ConfirmAddress) -> Subject:
    subject_id = estate.book.subjects.get((ask.tenant, ask.app, ask.name))
    subject = estate.book.subject(subject_id) if subject_id is not None else None
    if subject is None:
        raise assets.Gone("this account was yours; it is gone")
    return subject


def _centre(estate: Estate, subject: Subject) -> asks.CentreView:
    profile, _ = _records(estate, subject)
    said = records.value(profile) if profile is not None else None
    held = export.collect(estate, subject.id)
    return asks.CentreView(fields=said.fields if isinstance(said, Profile) else {}, held=export.plain(held))


def _digest(token: bytes) -> str:
    return hashlib.sha256(token).hexdigest()


def _not_signed_in() -> NotSignedIn:
    return NotSignedIn("expected an account and its password, or a session that lives: sign in")
