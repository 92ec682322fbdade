"""A policy in tables, for people: what it promises, in words, with its clauses."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import groupby

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from stream.policies import durations
from stream.policies.change_duties import window
from stream.policies.model import Policy, Promise
from stream.policies.vocabulary import NEVER_STORED, Bound, DataClass

HEADING = "bold"
WIDTH = 150  # of what is not a terminal: clauses are long


def table(*headings: str, ratio: int | None = None) -> Table:
    """Columns and nothing else: what is printed can be read in a log, too."""
    made = Table(box=None, pad_edge=False, header_style="dim", expand=ratio is not None)
    for heading in headings:
        made.add_column(heading, overflow="fold")
    return made


def length(promise: Promise) -> str:
    """`72 h after upload_received`; `in memory only`."""
    most = promise.at_most
    if most in NEVER_STORED or most is Bound.NO_LIMIT:
        words = {
            Bound.RAM_ONLY: "in memory only",
            Bound.ON_DEVICE: "on the user's device only",
            Bound.NOT_COLLECTED: "not collected",
            Bound.NO_LIMIT: "no limit: it identifies nobody",
        }
        return words[Bound(most)]
    clocks = " or ".join(promise.clocks)
    if isinstance(most, Bound):
        said = {
            Bound.IMMEDIATELY: f"at once: {clocks}",
            Bound.ON_RETURN: f"once returned: {clocks}",
            Bound.USER_CHOICE: f"until the user says so: {clocks}",
            Bound.WITH_ACCOUNT: f"with the account: {clocks}",
            Bound.PURPOSE: f"when its purpose is over: {clocks}",
        }[most]
    else:
        said = f"{durations.words(most)} after {clocks}"
    return said + (f", and no sooner than {durations.words(promise.at_least)}" if promise.at_least else "")


def case(promise: Promise) -> str:
    """`discard or none, with a face`; empty where it always applies."""
    parts = [" or ".join(one.value for one in promise.when.choice)] if promise.when.choice else []
    if promise.when.face is not None:
        parts.append("with a face" if promise.when.face else "without a face")
    return ", ".join(parts)


def whole(policy: Policy) -> RenderableType:
    """Everything that a policy says."""
    return Group(*(part for title, body in _parts(policy) for part in (Text(f"\n{title}", HEADING), body)))


def _parts(policy: Policy) -> Iterator[tuple[str, RenderableType]]:
    yield "Operations", _operations(policy)
    yield "How long things are kept; the earliest row that applies wins", _promises(policy)
    if policy.consents:
        yield (
            "Consents",
            _rows(
                ("purpose", "version", "text", "clause"),
                ((one.purpose, one.version, " ".join(one.text.split()), cited(one)) for one in policy.consents),
            ),
        )
    yield (
        "Uses",
        _rows(
            ("purpose", "data", "may they", "clause"),
            ((one.name, ", ".join(one.of) or "all", one.use, cited(one)) for one in policy.purposes),
        ),
    )
    yield (
        "Rights",
        _rows(
            ("right", "within", "identity", "stops", "clause"),
            (
                (one.name, window(one.within), "checked" if one.identity else "", one.stops, cited(one))
                for one in policy.rights
            ),
        ),
    )
    yield (
        "Notices",
        _rows(
            ("of", "to", "via", "when", "clause"),
            (
                (
                    one.of,
                    ", ".join(one.to),
                    ", ".join(one.via),
                    f"{window(one.before)} before"
                    if one.before
                    else f"{window(one.within)} after"
                    if one.within
                    else "",
                    cited(one),
                )
                for one in policy.notices
            ),
        ),
    )
    yield "Accounts, sharing, law", _rows(("", "", "clause"), _tables(policy))
    yield (
        "Duties",
        _rows(
            ("duty", "kept by", "clause"),
            ((one.name, one.artefact or "the system", cited(one)) for one in policy.duties),
        ),
    )
    if policy.contradictions:
        yield (
            "Where the text does not agree with itself",
            _rows(
                ("", "it says", "and it says", "so we read"),
                (
                    (one.id, f"{one.a.says} ({one.a.clause})", f"{one.b.says} ({one.b.clause})", one.reading)
                    for one in policy.contradictions
                ),
            ),
        )


def cited(one: object) -> str:
    """Clause and reading."""
    return "; ".join(filter(None, (getattr(one, "clause", ""), getattr(one, "reading", ""))))


def _operations(policy: Policy) -> Table:
    places = {"server": "our server", "memory": "our server, in memory only", "device": "the user's device"}
    return _rows(
        ("operation", "takes", "makes", "runs on", "consent", "clause"),
        (
            (
                one.name,
                ", ".join(
                    f"{slot.role} ({' or '.join(slot.accepts)}{', optional' if slot.optional else ''})"
                    for slot in one.inputs
                ),
                ", ".join(one.outputs),
                places[one.runs],
                ", ".join(one.consents),
                cited(one),
            )
            for one in policy.operations
        ),
    )


def _promises(policy: Policy) -> Table:
    made = table("data", "case", "gone", "clause")
    ordered = sorted(policy.promises, key=lambda one: list(DataClass).index(one.data_class))
    for data_class, rows in groupby(ordered, key=lambda one: one.data_class):
        for n, row in enumerate(rows):
            made.add_row("" if n else data_class, case(row), length(row), cited(row))
    return made


def _tables(policy: Policy) -> Iterator[tuple[str, str, str]]:
    account, sharing, disclosure = policy.account, policy.sharing, policy.disclosure
    recipients = ", ".join(sharing.recipients) if sharing else ""
    yield (
        ("accounts", f"{account.standing}; {', '.join(account.fields)}", cited(account))
        if account
        else ("accounts", "none", "")
    )
    yield (
        (
            "sharing",
            f"{sharing.use}; to {recipients or 'nobody'}; to who buys the business: {sharing.transfer}",
            cited(sharing),
        )
        if sharing
        else ("sharing", "never", "")
    )
    yield (
        ("disclosure", f"on {', '.join(disclosure.documents)}: {', '.join(disclosure.of)}", cited(disclosure))
        if disclosure
        else ("disclosure", "never", "")
    )
    if policy.hold:
        yield "holds", f"on {', '.join(policy.hold.basis)}: {', '.join(policy.hold.of)}", cited(policy.hold)
    if policy.age:
        advice = f", should below {policy.age.advice_below}" if policy.age.advice_below else ""
        yield "age", f"a guardian agrees below {policy.age.guardian_below}{advice}", cited(policy.age)
    if policy.residency:
        never = ", ".join(policy.residency.never)
        yield "region", f"{policy.residency.region}; never leave: {never}", cited(policy.residency)


def _rows(headings: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> Table:
    made = table(*headings)
    for row in rows:
        made.add_row(*row)
    return made
