"""What an account of an app may hold, and what an address is. Pure.

Nothing is taken that the policy does not name, and nothing is missing that it requires.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from typing import ClassVar

from stream.errors import BadRequest
from stream.policies.model import Policy
from stream.policies.obligations import Account, Channel, Field, Standing

MIN_PASSWORD, MAX_PASSWORD = 10, 200
"""Characters. NIST SP 800-63B: length counts, composition rules do not."""
MAX_FIELD = 200

ADDRESS_OF = {Channel.EMAIL: Field.EMAIL, Channel.SMS: Field.PHONE}
"""Which field a channel reaches."""

_EMAIL = re.compile(r"[^@\s\x00-\x1f]{1,64}@(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z0-9-]{2,63}")
_PHONE = re.compile(r"\+[1-9]\d{6,14}")  # E.164
_DAY = re.compile(r"\d{4}-\d{2}-\d{2}")


class NoAccounts(BadRequest):
    """The app has no accounts: nothing to register with is taken."""

    kind: ClassVar[str] = "no-accounts"
    status: ClassVar[int] = 404


class FieldNotCollected(BadRequest):
    """The policy does not name this field."""

    kind: ClassVar[str] = "field-not-collected"
    status: ClassVar[int] = 422


class FieldMissing(BadRequest):
    """The policy requires this field."""

    kind: ClassVar[str] = "field-missing"
    status: ClassVar[int] = 422


class BadField(BadRequest):
    """A field does not look like what it is."""

    kind: ClassVar[str] = "bad-field"
    status: ClassVar[int] = 422


class WeakPassword(BadRequest):
    """Too short, or too long to be hashed in peace."""

    kind: ClassVar[str] = "weak-password"
    status: ClassVar[int] = 422


class ChannelNotOffered(BadRequest):
    """The policy does not verify addresses over this channel."""

    kind: ClassVar[str] = "channel-not-offered"
    status: ClassVar[int] = 422


def account_of(policy: Policy) -> Account:
    """What the policy says of accounts. Raises NoAccounts."""
    account = policy.account
    if account is None or account.standing is Standing.NONE:
        raise NoAccounts(f"expected an app that has accounts: {policy.app} has none")
    return account


def fields(account: Account, given: Mapping[str, str], *, whole: bool = True) -> dict[str, str]:
    """The fields as they are kept. `whole`: a registration, where the required ones must be there.

    Raises FieldNotCollected, FieldMissing, BadField; none of them repeats a value.
    """
    named = ", ".join(account.fields)
    if any(name not in account.fields for name in given):
        raise FieldNotCollected(f"expected only fields that the policy names: {named}")
    if whole and (missing := [name for name in account.required if not given.get(name)]):
        raise FieldMissing(f"expected {missing[0]}, which the policy requires")
    return {name: _field(Field(name), text) for name, text in given.items()}


def address(account: Account, channel: str, kept: Mapping[str, str]) -> str:
    """The address that a channel reaches, of the fields kept. Raises ChannelNotOffered, FieldMissing."""
    if channel not in account.verify:
        raise ChannelNotOffered(f"expected a channel that the policy verifies by: {', '.join(account.verify)}")
    name = ADDRESS_OF[Channel(channel)]
    if not kept.get(name):
        raise FieldMissing(f"expected {name}, to which the code is sent")
    return kept[name]


def normalised(text: str) -> str:
    """An address as it is compared: one spelling for one mailbox, or one telephone."""
    text = unicodedata.normalize("NFKC", text).strip()
    if "@" not in text:
        return re.sub(r"[\s().-]", "", text)
    local, _, domain = text.rpartition("@")
    return f"{local.casefold()}@{domain.encode('idna').decode().lower() if domain else ''}"


def password(text: str) -> str:
    """The password, if it is long enough. Raises WeakPassword."""
    if not MIN_PASSWORD <= len(text) <= MAX_PASSWORD:
        raise WeakPassword(f"expected a password of {MIN_PASSWORD} to {MAX_PASSWORD} characters")
    return spelled(text)


def spelled(text: str) -> str:
    """A password as it is hashed: one spelling, whichever keyboard it was typed on."""
    return unicodedata.normalize("NFKC", text)


def _field(name: Field, text: str) -> str:
    if not text or len(text) > MAX_FIELD or any(unicodedata.category(char)[0] == "C" for char in text):
        raise BadField(f"expected {name} to be 1 to {MAX_FIELD} characters, none of them control characters")
    if name in (Field.EMAIL, Field.PHONE):
        try:
            text = normalised(text)
        except UnicodeError:
            text = ""
    shape = {Field.EMAIL: _EMAIL, Field.PHONE: _PHONE, Field.DATE_OF_BIRTH: _DAY}.get(name)
    if shape is not None and not shape.fullmatch(text):
        looks = {Field.EMAIL: "an email address", Field.PHONE: "a number such as +8613800138000"}
        raise BadField(f"expected {name} to be {looks.get(name, 'a day such as 1990-12-31')}")
    return text
