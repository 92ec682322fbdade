"""What the demo says of promises, without a system: terms, verdicts, words, the sheet."""

from __future__ import annotations

import io
import re
from html.parser import HTMLParser

import msgspec
import pytest
from rich.console import Console

from services.demo import progress, sheet, table
from services.demo.erasure import Erasure, broken
from services.demo.terms import Ends, terms_of
from services.span import span
from stream.agents.api import AssetView, JobView
from stream.policies import compiler

GENZO = compiler.find(compiler.load_all(""), "genzo")
UPLOADED_AT, ENDED_AT, HOUR_S = 1_800_000_000.0, 1_800_000_020.0, 3600.0

ON_RETURN = "gone once returned, at the latest minutes after the job's end"

KEPT = Erasure(
    asset="ast_x",
    salt="00" * 16,
    name="photo (save)",
    data_class="face_image",
    ends=Ends.DEADLINE,
    promised="at most 72 h after the upload",
    clause="000 §4.1 Facial Data",
    ceiling=UPLOADED_AT + 72 * HOUR_S,
    due=UPLOADED_AT + 71 * HOUR_S,
    hidden_at=UPLOADED_AT + 71 * HOUR_S + 0.1,
    unreadable_at=UPLOADED_AT + 71 * HOUR_S + 0.2,
    gone_at=UPLOADED_AT + 71 * HOUR_S + 0.3,
    receipt="receipts/ast_x.json",
)


def _view(data_class: str, **more: object) -> AssetView:
    fields = {"id": "ast_x", "role": "input", "n": 0, "state": "stored", "clause": "", "promised": "", "leaf": ""}
    times = {"ceiling": UPLOADED_AT + 72 * HOUR_S, "due": UPLOADED_AT + 71 * HOUR_S}
    return msgspec.convert({**fields, **times, "salt": "", "data_class": data_class, **more}, AssetView)


@pytest.mark.parametrize(
    ("data_class", "choice", "ends", "after_s", "promised"),
    [
        ("face_image", "save", Ends.DEADLINE, 72 * HOUR_S, "at most 72 h after the upload"),
        ("result_video", "save", Ends.DEADLINE, 72 * HOUR_S, "at most 72 h after the upload"),
        ("face_image", "discard", Ends.JOB, 20.0, "immediately after generation completed"),
        ("face_feature", "discard", Ends.JOB, 20.0, "immediately after generation completed"),
        (
            "result_image",
            "discard",
            Ends.RETURN,
            620.0,
            "gone once returned, at the latest minutes after the job's end",
        ),
    ],
)
def test_terms(data_class: str, choice: str, ends: Ends, after_s: float, promised: str) -> None:
    terms = terms_of(
        GENZO, _view(data_class), choice=choice, uploaded_at=UPLOADED_AT, ended_at=ENDED_AT, returned_within_s=600
    )
    assert (terms.ends, terms.ceiling, terms.promised) == (ends, UPLOADED_AT + after_s, promised)
    assert terms.clause.startswith("000 §4.1")


def test_a_ceiling_that_the_system_gave_is_held_to_even_where_the_policy_allows_more() -> None:
    view = _view("face_image", ceiling=UPLOADED_AT + HOUR_S)
    terms = terms_of(GENZO, view, choice="save", uploaded_at=UPLOADED_AT, ended_at=ENDED_AT, returned_within_s=600)
    assert terms.ceiling == UPLOADED_AT + HOUR_S


def test_what_was_kept_has_nothing_broken() -> None:
    assert broken(KEPT) == []


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"readable_before": False}, "readable until"),
        ({"answer_after": 200}, "got 200"),
        ({"unproven": "it is another's"}, "it is another's"),
        ({"unreadable_at": KEPT.ceiling + 1.5}, "1.500 s late"),
        ({"object_left": True}, "bucket"),
        ({"tombstoned": False}, "tombstoned"),
        ({"older_root_left": True}, "root versions"),
    ],
)
def test_each_way_to_break_a_promise_is_one_sentence(change: dict[str, object], word: str) -> None:
    (sentence,) = broken(msgspec.structs.replace(KEPT, **change))
    assert word in sentence
    assert sentence.startswith("photo (save) (face_image, 000 §4.1 Facial Data): expected ")


def test_the_table_fits_a_terminal_of_80_columns() -> None:
    long = msgspec.structs.replace(
        KEPT, name="stylization (discard)", data_class="result_image", clause="000 §4.1 Image Information"
    )
    out = io.StringIO()
    Console(file=out, width=80).print(table.table([long, KEPT], width=80))
    lines = out.getvalue().splitlines()
    assert "gone" in lines[1]
    assert {"stylization", "Information"} <= set(re.findall(r"\w+", out.getvalue()))  # no word is broken


def test_times_are_told_relative_to_due() -> None:
    (cells,) = table.rows([KEPT])
    assert dict(zip(table.COLUMNS, cells, strict=True))["unreadable"] == "+0.20"
    (cells,) = table.rows([msgspec.structs.replace(KEPT, gone_at=0.0)])
    assert cells[-1] == "never"


@pytest.mark.parametrize(
    ("seconds", "words"), [(4.2, "4.2 s"), (60, "1 min"), (86_400, "1 d"), (259_000, "2 d 23 h 57 min")]
)
def test_spans(seconds: float, words: str) -> None:
    assert span(seconds) == words


def _job(state: str, stage: str = "generate", **more: object) -> JobView:
    return msgspec.convert({"id": "j", "state": state, "stage": stage, "seq": 1, "created_at": 0.0, **more}, JobView)


@pytest.mark.parametrize(
    ("view", "fraction", "doing"),
    [
        (_job("awaiting", "detect"), 0.0, "waiting for its photo"),
        (
            _job("queued", "detect", queue_position=0, eta_s=4.6),
            0.0,
            "detect: queued #1, ~5 s",
        ),
        (_job("leased", "detect", progress=0.5), 0.05, "detect"),
        (_job("leased", progress=0.5, step="draw"), 0.55, "generate: draw"),
        (_job("ending"), 1.0, "forgetting what goes now"),
        (_job("succeeded", progress=1.0), 1.0, "succeeded"),
        (_job("failed", reason="actor-gone"), 0.1, "failed: actor-gone"),
    ],
)
def test_progress(view: JobView, fraction: float, doing: str) -> None:
    assert progress.fraction(view) == pytest.approx(fraction)
    assert progress.doing(view) == doing


class _Links(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.seen: list[str] = []

    def handle_starttag(self, _tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen += [value or "" for name, value in attrs if name in {"src", "href", "poster"}]


def test_the_sheet_needs_nothing_from_elsewhere_and_escapes() -> None:
    pictures = [sheet.Picture("<the photo>", "image/jpeg", b"j"), sheet.Picture("dance", "video/mp4", b"v")]
    wrong = msgspec.structs.replace(KEPT, name="<b>", object_left=True)
    page = sheet.page(pictures, [KEPT, wrong], broken(wrong))
    links = _Links()
    links.feed(page)
    assert [link.partition(",")[0] for link in links.seen] == ["data:image/jpeg;base64", "data:video/mp4;base64"]
    assert "&lt;the photo&gt;" in page
    assert "<b>" not in page
    assert page.count('class="broken"') == 2
