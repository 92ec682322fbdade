"""What changes in what a policy owes besides deadlines: rights, operations, sharing, law, notices, accounts, ages."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from stream.policies import durations
from stream.policies.difference import Changed, Effect
from stream.policies.model import Operation, Policy
from stream.policies.obligations import (
    Account,
    Age,
    Disclosure,
    Notice,
    Residency,
    Right,
    Sharing,
    Transfer,
    Use,
    Window,
)
from stream.policies.vocabulary import Features

NONE = "none"
_FREER = (Use.NEVER, Use.CONSENT, Use.ANONYMOUS, Use.ALWAYS)


def diff(old: Policy, new: Policy) -> Iterator[Changed]:
    """Every table in which the two differ, once; what opens data to others is asked again."""
    for name in _names(old.rights, new.rights):
        yield from _table(f"right {name}", old.right(name), new.right(name), _right)
    for name in _names(old.operations, new.operations):
        yield from _table(f"operation {name}", old.operation(name), new.operation(name), _operation)
    effect = Effect.ASK_AGAIN if _wider_sharing(old.sharing, new.sharing) else Effect.TELL
    yield from _table("sharing", old.sharing, new.sharing, _sharing, effect)
    effect = Effect.LONGER if _wider_disclosure(old.disclosure, new.disclosure) else Effect.TELL
    yield from _table("disclosure", old.disclosure, new.disclosure, _disclosure, effect)
    for occasion in dict.fromkeys(one.of for one in (*old.notices, *new.notices)):
        said = [[_notice(one) for one in policy.notices_of(occasion)] for policy in (old, new)]
        if said[0] != said[1]:
            clauses = [_joined(one.clause for one in policy.notices_of(occasion)) for policy in (old, new)]
            was, then = ("; ".join(each) or NONE for each in said)
            yield Changed(f"notice of {occasion}", was, then, Effect.TELL, *clauses)
    yield from _table("accounts", old.account, new.account, _account)
    yield from _table("age", old.age, new.age, _age)
    yield from _table("residency", old.residency, new.residency, _residency)


def window(found: Window | None) -> str:
    """`15 working days`, `10 d`, `at once`."""
    if found is None:
        return "at once"
    return f"{found.working_days} working days" if found.working_days else durations.words(found.length)


def _table(what: str, was: Any, then: Any, words: Callable[[Any], str], effect: Effect = Effect.TELL) -> list[Changed]:
    said = [NONE if one is None else words(one) for one in (was, then)]
    clauses = [getattr(one, "clause", "") for one in (was, then)]
    return [Changed(what, said[0], said[1], effect, *clauses)] if said[0] != said[1] else []


def _names(*tables: Iterable[Right] | Iterable[Operation]) -> list[str]:
    return list(dict.fromkeys(str(one.name) for table in tables for one in table))


def _joined(words: Iterable[object]) -> str:
    return ", ".join(str(one) for one in words) or NONE


def _right(one: Right) -> str:
    identity = "; identity checked" if one.identity else ""
    back = "; can be taken back" if one.reversible else ""
    return f"{window(one.within)} from {one.counts_from}; stops {one.stops}{identity}{back}"


def _operation(one: Operation) -> str:
    takes = _joined(
        f"{slot.data_class}{f' or {slot.video_class}' if slot.video_class else ''} of {'/'.join(slot.accepts)}"
        + (" if sent" if slot.optional else "")
        for slot in one.inputs
    )
    features = "" if one.features is Features.NONE else f"; features: {one.features}"
    return f"on {one.runs}; takes {takes}; makes {_joined(one.outputs)}; consents: {_joined(one.consents)}{features}"


def _sharing(one: Sharing) -> str:
    return f"{one.use}; to {_joined(one.recipients)}; never {_joined(one.never)}; transfer: {one.transfer}"


def _disclosure(one: Disclosure) -> str:
    told = "told to the subject" if one.tell_subject else "not told to the subject"
    return f"on {_joined(one.documents)}: {_joined(one.of)}; {told}"


def _notice(one: Notice) -> str:
    when = f", {window(one.before)} before" if one.before else f", within {window(one.within)}" if one.within else ""
    return f"{_joined(one.to)} by {_joined(one.via)}{when}"


def _account(one: Account) -> str:
    return f"{one.standing}; {_joined(one.fields)}; required: {_joined(one.required)}; proven by {_joined(one.verify)}"


def _age(one: Age) -> str:
    unknown = "may go on" if one.unknown else "may not"
    return f"a guardian below {one.guardian_below}; advised below {one.advice_below}; of unknown age: {unknown}"


def _residency(one: Residency) -> str:
    return f"{one.region}; out of it by {_joined(one.crossing)}; never {_joined(one.never)}"


def _wider_sharing(was: Sharing | None, then: Sharing | None) -> bool:
    was, then = (one or Sharing(Use.NEVER, "") for one in (was, then))
    order = list(_FREER)
    return (
        order.index(then.use) > order.index(was.use)
        or bool(set(then.recipients) - set(was.recipients))
        or bool(set(was.never) - set(then.never))
        or (then.transfer is not was.transfer and then.transfer is not Transfer.NEVER)
    )


def _wider_disclosure(was: Disclosure | None, then: Disclosure | None) -> bool:
    was, then = (one or Disclosure((), (), "") for one in (was, then))
    more = set(then.of) - set(was.of) or set(was.documents) - set(then.documents) if was.documents else then.documents
    return bool(more or (was.tell_subject and not then.tell_subject))
