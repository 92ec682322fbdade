"""The compiler: what is right compiles, and what is wrong says where, why and what was meant."""

import hashlib
from pathlib import Path

import msgspec
import pytest

from stream.errors import BadRequest
from stream.policies import durations
from stream.policies.compiler import APPS, EXTRA_ENV, BadPolicy, UnknownApp, compile_policy, find, load, load_all
from stream.policies.durations import Months
from stream.policies.obligations import Window
from stream.policies.vocabulary import Bound, Choice, Clock, DataClass, Features, OperationName, Place
from stream.policies.words import explain, promised

EXTRA = Path(__file__).parents[1] / "policies"

GOOD = """\
app = "demo"
title = "Demo"
source = "900"
clause = "900 §1"
choices = ["save"]

[[consent]]
purpose = "face_processing"
version = "1"
text = "Yes."
clause = "900 §2"

[[operation]]
name = "anime"
inputs = [{ role = "photo", accepts = ["image"], class = "upload_image" }]
outputs = ["result_image"]
consents = ["face_processing"]
features = "step"
clause = "900 §1"

[[promise]]
of = ["upload_image", "result_image", "face_feature", "processing_record"]
clock = ["upload_received"]
at_most = "24 h"
clause = "900 §4"
reading = "R3"

[[promise]]
of = ["consent_record"]
clock = ["account_cancelled"]
at_most = "with_account"
clause = "900 §2"
"""


def compiled(text=GOOD, **options):
    return compile_policy(text.encode(), "demo.toml", **options)


def complaint(old, new):
    assert old in GOOD
    with pytest.raises(BadPolicy) as caught:
        compiled(GOOD.replace(old, new))
    return str(caught.value)


def test_genzo_is_what_its_text_says():
    genzo = load("genzo")
    assert genzo.hash == hashlib.sha256((APPS / "genzo.toml").read_bytes()).hexdigest()
    assert {one.name for one in genzo.operations} == {
        OperationName.STYLIZATION,
        OperationName.IMAGE_TO_VIDEO,
        OperationName.AI_DANCE,
        OperationName.CLOTHING_CHANGE,
        OperationName.FACE_SWAP,
    }
    assert all(one.consents == ("face_processing",) and one.features is Features.STEP for one in genzo.operations)
    assert genzo.choices == (Choice.SAVE, Choice.DISCARD)
    assert not genzo.dated
    swap = genzo.operation("face_swap")
    assert [one.data_class for one in swap.inputs] == [DataClass.FACE_IMAGE, DataClass.UPLOAD_IMAGE]
    assert genzo.operation("portrait_effect") is None
    assert genzo.never_stored(DataClass.USAGE_EVENT).at_most is Bound.RAM_ONLY
    (face,) = [one for one in genzo.promises_of(DataClass.FACE_IMAGE) if isinstance(one.at_most, int)]
    assert (face.at_most, face.clocks, face.clause) == (
        72 * 3600,
        (Clock.UPLOAD_RECEIVED,),
        "000 §4.1 Facial Data",
    )


def test_every_word_of_a_promise_can_be_read_by_people():
    genzo = load("genzo")
    face = genzo.promises_of(DataClass.FACE_FEATURE)[0]
    assert explain(face) == "at most 72 h after upload_received (000 §4.1 Facial Data; G2)"
    said = promised(genzo, "result_image", choice="", has_face=None)
    assert "gone once returned" in said
    assert "deletion_requested" not in said
    assert promised(genzo, "usage_event", choice="", has_face=None).startswith("in memory only (000 §2.2")


def test_extra_policies_come_from_the_named_folder_only(monkeypatch):
    monkeypatch.delenv(EXTRA_ENV, raising=False)
    assert set(load_all()) == {path.stem for path in APPS.glob("*.toml")}
    monkeypatch.setenv(EXTRA_ENV, str(EXTRA))
    assert load("testapp").operation("noop") is not None
    assert "testapp" not in load_all("")
    monkeypatch.setenv(EXTRA_ENV, str(EXTRA / "missing"))
    with pytest.raises(BadPolicy, match=EXTRA_ENV):
        load_all()


def test_an_app_without_a_policy_is_unknown():
    with pytest.raises(UnknownApp) as caught:
        find({}, "other")
    assert (caught.value.kind, caught.value.status) == ("unknown-app", 404)
    assert isinstance(caught.value, BadRequest)


def test_what_exists_for_tests_is_never_published():
    text = (EXTRA / "testapp.toml").read_bytes()
    assert compile_policy(text, "testapp.toml", for_tests=True).operation("noop")
    with pytest.raises(BadPolicy, match=r"testapp.toml:10: noop is for tests only"):
        compile_policy(text, "testapp.toml")


def test_a_good_policy_compiles():
    policy = compiled()
    assert [one.at_most for one in policy.promises] == [24 * 3600] * 4 + [Bound.WITH_ACCOUNT]
    assert policy.operation("anime").classes == ("upload_image", "face_feature", "result_image")


def test_the_policy_in_the_manual_compiles():
    manual = (Path(__file__).parents[2] / "docs" / "promises.md").read_text()
    example = manual.split("```toml\n")[1].split("```")[0]
    assert compiled(example).dated == "2026-05-06"


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (
            'clock = ["upload_received"]',
            'clock = ["uplod_received"]',
            ["demo.toml:23:", "'upload_received'?", "900 §4"],
        ),
        ('class = "upload_image"', 'class = "upload_imag"', ["demo.toml:15:", "'upload_image'?", "900 §1"]),
        ('name = "anime"', 'name = "anim"', ["demo.toml:14:", "did you mean 'anime'?"]),
        ('at_most = "24 h"', 'at_mots = "24 h"', ["demo.toml:24:", "did you mean 'at_most'?", "900 §4"]),
        ('at_most = "24 h"', 'at_most = "24h"', ["demo.toml:24:", "900 §4", "'72 h'"]),
        ('at_most = "24 h"', 'at_most = "immediatly"', ["demo.toml:24:", "did you mean 'immediately'?"]),
        ('at_most = "24 h"\nclause = "900 §4"\n', 'at_most = "24 h"\n', ["demo.toml:21:", "missing", "`clause`"]),
        ('clause = "900 §4"', 'clause = "901 §4"', ["demo.toml:25:", "begins with '900'", "900 silent"]),
        ('reading = "R3"', 'reading = "R17"', ["demo.toml:26:", "nothing here is called 'R17'", "[[contradiction]]"]),
        ('reading = "R3"', 'reading = "r3"', ["demo.toml:26:", "'G1, R11'"]),
        ('purpose = "face_processing"', 'purpose = "faces"', ["demo.toml:17:", "no consent has the purpose"]),
        ('choices = ["save"]', 'choices = ["sav"]', ["demo.toml:5:", "did you mean 'save'?"]),
        ('app = "demo"', 'app = "other"', ["demo.toml:1:", "file's name"]),
        ('clause = "900 §1"\nchoices', 'clause = "§1"\nchoices', ["demo.toml:4:", "begins with '900'"]),
        ('outputs = ["result_image"]', 'outputs = ["upload_image"]', ["demo.toml:16:", "upload_image is no result"]),
        ('clock = ["upload_received"]\n', "", ["demo.toml:21:", "expected a clock", "900 §4"]),
        ('at_most = "24 h"', 'at_most = "no_limit"', ["demo.toml:24:", "media never"]),
        ('at_most = "24 h"', 'at_most = "on_return"', ["demo.toml:24:", "only results are returned"]),
        ('title = "Demo"', 'title = "Demo', ["demo.toml", "line 2"]),
        ('title = "Demo"\n', "", ["demo.toml:1:", "`title`"]),
        (", class =", ', class = "x", class =', ["demo.toml", "line 15"]),
        (
            'inputs = [{ role = "photo", accepts = ["image"], class = "upload_image" }]',
            "inputs = []",
            [":15:", "one input"],
        ),
    ],
)
def test_what_is_wrong_is_said_with_its_line(old, new, said):
    message = complaint(old, new)
    for part in said:
        assert part in message, message


def test_a_gap_names_the_operation_the_class_and_the_case():
    message = complaint('"result_image", "face_feature"', '"face_feature"')
    assert "demo.toml:13: anime makes result_image, which nothing must end" in message
    message = complaint('at_most = "24 h"', 'at_most = "24 h"\nwhen = { choice = ["save"] }')
    assert "choice = none, face = true" in message
    assert "choice = save" not in message


def test_a_clock_that_may_never_start_is_not_enough():
    message = complaint('clock = ["upload_received"]', 'clock = ["generation_completed"]')
    assert "upload_image, which nothing must end" in message
    assert "a [[promise]] of upload_image needs upload_received among its clocks" in message


def test_a_floor_is_refused_on_media_and_above_a_ceiling():
    message = complaint('at_most = "24 h"', 'at_most = "24 h"\nat_least = "1 h"')
    assert "demo.toml:25: upload_image: R2 knows floors only of" in message
    log = """
[[promise]]
of = ["network_security_log"]
clock = ["log_event_recorded"]
at_most = "10 d"
at_least = "184 d"
clause = "900 §5"
"""
    with pytest.raises(BadPolicy, match=r"demo.toml:38: network_security_log: floor above ceiling.*900 §5"):
        compiled(GOOD + log)
    with pytest.raises(BadPolicy, match=r'demo.toml:38: .* to act in, got 0 s: say at_most = "184 d \+ 1 d"'):
        compiled(GOOD + log.replace('"10 d"', '"184 d"'))
    assert compiled(GOOD + log.replace('"10 d"', '"185 d"'))
    months = log.replace('"184 d"', '"6 months"')
    with pytest.raises(BadPolicy, match="to act in, got 60 s"):
        compiled(GOOD + months.replace('"10 d"', '"6 months + 1 min"'))
    (row,) = compiled(GOOD + months.replace('"10 d"', '"6 months + 1 d"')).promises_of("network_security_log")
    assert (row.at_least, row.at_most) == (Months(6), Months(6, 86_400))


def test_features_that_must_stay_in_memory_have_no_step_of_their_own():
    text = GOOD.replace('"face_feature", ', "") + (
        '\n[[promise]]\nof = ["face_feature"]\nat_most = "ram_only"\nclause = "900 §4"\n'
    )
    with pytest.raises(
        BadPolicy, match=r'demo\.toml:18: face_feature is promised never to be stored: say features = "heap"'
    ):
        compiled(text)
    assert compiled(text.replace('"step"', '"heap"')).never_stored("face_feature")


def test_all_contradictions_are_told_at_once_each_once():
    text = GOOD.replace('clause = "900 §4"', 'clause = "§4"').replace('reading = "R3"', 'reading = "soon"')
    with pytest.raises(BadPolicy) as caught:
        compiled(text)
    assert len(str(caught.value).splitlines()) == 2


@pytest.mark.parametrize("optional", [[True], [True, False], [False, True, False]])
def test_what_an_operation_needs_comes_before_what_is_optional(optional):
    first = GOOD[GOOD.index("inputs = ") : GOOD.index("outputs = ")]
    slots = ", ".join(
        f'{{ role = "role{n}", accepts = ["image"], class = "upload_image", optional = {str(one).lower()} }}'
        for n, one in enumerate(optional)
    )
    with pytest.raises(BadPolicy, match="expected what it needs first, and then what is optional"):
        compiled(GOOD.replace(first, f"inputs = [{slots}]\n"))


def test_an_operation_is_offered_once():
    again = GOOD[GOOD.index("[[operation]]") : GOOD.index("[[promise]]")]
    with pytest.raises(BadPolicy, match="anime is offered twice"):
        compiled(GOOD + again)


@pytest.mark.parametrize(
    ("text", "span_s", "back"),
    [
        ("90 s", 90, "90 s"),
        ("10 min", 600, "10 min"),
        ("3 d", 259_200, "72 h"),
        ("72 h", 259_200, "72 h"),
        ("15 working days", 15 * 86_400, "15 d"),
        ("1 year", 365 * 86_400, "365 d"),
    ],
)
def test_durations(text, span_s, back):
    assert durations.seconds(text) == span_s
    assert durations.words(span_s) == back


@pytest.mark.parametrize("text", ["", "0 h", "-1 h", "1.5 h", "72h", "72  h", "72 H", "1 fortnight", "9999999 h"])
def test_no_other_durations(text):
    with pytest.raises(ValueError, match="expected a number"):
        durations.seconds(text)


def test_bounds_are_words_or_seconds():
    kinds = {one.at_most for one in load("genzo").promises}
    assert {Bound.IMMEDIATELY, Bound.ON_RETURN, Bound.USER_CHOICE, Bound.WITH_ACCOUNT, 72 * 3600, 24 * 3600} <= kinds


def with_hold(**changes):
    lines = {"basis": '["court_order"]', "of": '["upload_image"]', "clause": '"test §7"'} | changes
    text = (EXTRA / "testapp.toml").read_text().partition("[hold]")[0]
    table = "".join(f"{name} = {value}\n" for name, value in lines.items())
    return compile_policy(f"{text}[hold]\n{table}".encode(), "testapp.toml", for_tests=True)


def test_a_policy_without_the_table_lets_nothing_be_held():
    text = (EXTRA / "testapp.toml").read_text().partition("[hold]")[0]
    assert compile_policy(text.encode(), "testapp.toml", for_tests=True).hold is None


def test_a_hold_names_its_basis_its_classes_and_its_clause():
    hold = with_hold().hold
    assert (hold.basis, hold.of, hold.clause) == (("court_order",), (DataClass.UPLOAD_IMAGE,), "test §7")
    assert load("genzo").hold.basis == ("legal_requirement",)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"clause": '"§7"'}, r"testapp.toml:\d+: expected a clause that begins with 'test'"),
        ({"reading": '"soon"'}, r"testapp.toml:\d+: expected readings such as"),
        ({"reading": '"Z1"'}, r"testapp.toml:\d+: nothing here is called 'Z1'"),
        ({"basis": "[]"}, r"testapp.toml:\d+: a hold without a basis"),
        ({"basis": '["court_ordr"]'}, r"did you mean 'court_order'"),
        ({"of": '["exif"]'}, r"testapp.toml:\d+: exif has no promise here"),
    ],
)
def test_a_hold_that_cannot_be(changes, said):
    with pytest.raises(BadPolicy, match=said):
        with_hold(**changes)


def test_no_hold_has_stored_what_is_promised_to_be_in_memory_only():
    text = (EXTRA / "testapp.toml").read_text()
    row = '[[promise]]\nof = ["exif"]\nat_most = "ram_only"\nclause = "test §8"\n\n[hold]'
    text = text.replace("[hold]", row).replace('of = ["upload_image", "result_image"]\nclause', 'of = ["exif"]\nclause')
    with pytest.raises(BadPolicy, match="never to be stored: no hold"):
        compile_policy(text.encode(), "testapp.toml", for_tests=True)


MORE = """
[[decision]]
name = "timely"
question = "How soon is timely?"
strict = "5 working days"
clause = "900 §6"

[[right]]
name = "delete"
within = "@timely"
identity = true
clause = "900 §6"

[[promise]]
of = ["rights_request"]
clock = ["request_received"]
at_most = "90 d"
clause = "900 silent"
reading = "R13"
"""


def test_what_a_person_decides_is_a_value_with_a_strict_default():
    strict = compiled(GOOD + MORE)
    assert strict.right("delete").within == Window(5 * 86_400, working_days=5)
    assert strict.decided == {"timely": "5 working days"}
    other = compiled(GOOD + MORE, decided={"timely": "3 d"})
    assert other.right("delete").within == Window(3 * 86_400)
    assert other.decided == {"timely": "3 d"}
    assert other.hash != strict.hash == hashlib.sha256((GOOD + MORE).encode()).hexdigest()  # receipts tell them apart


@pytest.mark.parametrize(
    ("decided", "said"),
    [
        ({"timly": "3 d"}, "no decision is named 'timly': expected one of timely"),
        ({"timely": 3}, "like its strict value '5 working days'"),
        ({"timely": "soon"}, r"demo\.toml:42: clause 900 §6: expected a number"),
    ],
)
def test_a_decision_that_cannot_be(decided, said):
    with pytest.raises(BadPolicy, match=said):
        compiled(GOOD + MORE, decided=decided)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (
            'within = "@timely"',
            'within = "@timly"',
            r"demo\.toml:42: no decision is named 'timly'; did you mean",
        ),
        ('within = "@timely"', 'within = "5 d"', r"demo\.toml:35: no rule follows 'timely': use it as \"@timely\""),
        ('name = "delete"', 'name = "delet"', r"demo\.toml:41: .*did you mean 'delete'.*900 §6"),
        ('of = ["rights_request"]', 'of = ["complaint"]', r"demo\.toml:40: a \[\[right\]\] makes rights_request"),
        ("identity = true", 'stops = "account"', r"demo\.toml:43: only cancel_account ends the account"),
    ],
)
def test_rights_and_decisions_are_checked(old, new, said):
    assert old in MORE
    with pytest.raises(BadPolicy, match=said):
        compiled(GOOD + MORE.replace(old, new))


CLASH = """
[[promise]]
of = ["result_image"]
clock = ["upload_received"]
at_most = "10 d"
clause = "900 §7"
"""


def test_two_ceilings_from_one_clock_need_a_reading():
    unread = GOOD.replace('reading = "R3"\n', "")
    with pytest.raises(BadPolicy, match=r"demo\.toml:36: result_image has two ceilings from one clock \(clauses 900"):
        compiled(unread + CLASH)
    read = CLASH + 'reading = "A1"\n'
    with pytest.raises(BadPolicy, match="nothing here is called 'A1'"):
        compiled(unread + read)
    stated = """
[[contradiction]]
id = "A1"
a = { clause = "900 §4", says = "a day" }
b = { clause = "900 §7", says = "ten days" }
reading = "the shorter"
"""
    assert compiled(unread + read + stated).contradictions[0].id == "A1"
    with pytest.raises(BadPolicy, match="A1 is stated twice"):
        compiled(unread + read + stated + stated)
    with pytest.raises(BadPolicy, match="expected both clauses to begin with '900'"):
        compiled(unread + read + stated.replace("900 §7", "901 §7"))
    parted = unread.replace('["save"]', '["save", "discard"]')
    parted = parted.replace('at_most = "24 h"', 'at_most = "24 h"\nwhen = { choice = ["discard", "none"] }')
    whole = CLASH.replace('["result_image"]', '["upload_image", "result_image", "face_feature", "processing_record"]')
    assert compiled(parted + whole.replace("at_most", 'when = { choice = ["save"] }\nat_most'))


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ('[[notice]]\nof = "incident"\nto = ["users"]\nvia = ["email"]\nclause = "900 §8"\n', "say `within`"),
        (
            '[[notice]]\nof = "termination"\nto = ["users"]\nvia = ["email"]\nwithin = "1 d"\nclause = "900 §8"\n',
            "say `before`",
        ),
        ('[[notice]]\nof = "termination"\nto = ["users"]\nvia = []\nclause = "900 §8"\n', "by which channels"),
        ('[sharing]\nuse = "never"\nrecipients = ["x"]\nclause = "900 §8"\n', "nothing is ever shared here"),
        ('[account]\nstanding = "none"\nfields = ["email"]\nclause = "900 §8"\n', "an app without accounts"),
        ('[account]\nstanding = "optional"\nrequired = ["email"]\nclause = "900 §8"\n', "not among the fields"),
        ('[account]\nstanding = "optional"\nclause = "900 §8"\n', "makes account_profile"),
        ('[age]\nguardian_below = 14\nclause = "900 §8"\n', "makes guardian_consent"),
        ('[disclosure]\ndocuments = ["subpoena"]\nof = []\nclause = "900 §8"\n', "makes disclosure_record"),
    ],
)
def test_obligations_that_cannot_be(table, said):
    with pytest.raises(BadPolicy, match=said) as caught:
        compiled(f"{GOOD}\n{table}")
    assert "demo.toml:3" in str(caught.value)


def test_what_is_never_stored_runs_in_memory():
    text = GOOD.replace('"step"', '"none"').replace(
        'at_most = "24 h"\nclause = "900 §4"\n', 'at_most = "ram_only"\nclause = "900 §4"\n'
    )
    with pytest.raises(BadPolicy, match=r'demo\.toml:13: upload_image is never to be stored: say runs = "memory"'):
        compiled(text)
    memory = text.replace('features = "none"', 'features = "none"\nruns = "memory"')
    assert compiled(memory).operation("anime").runs is Place.MEMORY
    with pytest.raises(BadPolicy, match="nothing of it is promised to be in memory only"):
        compiled(GOOD.replace('features = "step"', 'features = "none"\nruns = "memory"'))


def test_decided_values_come_from_a_file(tmp_path, monkeypatch):
    path = tmp_path / "decisions.toml"
    path.write_text('[genzo]\ntimely = "3 d"\n')
    monkeypatch.setenv("MAYFLY_DECISIONS", str(path))
    assert load("genzo").right("correct").within == Window(3 * 86_400)
    path.write_text('[genso]\ntimely = "3 d"\n')
    with pytest.raises(BadPolicy, match="expected decisions of apps that have a policy"):
        load("genzo")
    path.write_text("genzo = 3\n")
    with pytest.raises(BadPolicy, match="MAYFLY_DECISIONS to name a TOML file"):
        load("genzo")


MANUAL = (Path(__file__).parents[2] / "docs" / "promises.md").read_text()


@pytest.mark.parametrize("n", [0, 1])
def test_every_policy_in_the_manual_compiles_as_a_published_one_would(n):
    example = MANUAL.split("```toml\n")[n + 1].split("```")[0]
    name = example.split('"')[1]
    policy = compile_policy(example.encode(), f"{name}.toml")
    assert policy.operations
    assert bool(policy.never_stored("upload_image")) is (name == "shy")


def test_the_manual_knows_every_word_that_a_policy_may_say():
    from stream.policies import compiler

    words = {str(word) for vocabulary in compiler._VOCABULARIES for word in vocabulary}
    fields = {field.encode_name for struct in compiler._STRUCTS for field in msgspec.structs.fields(struct)}
    tables = {field.encode_name for field in msgspec.structs.fields(compiler._File)}
    missing = sorted(word for word in words if f"`{word}`" not in MANUAL)
    missing += sorted(key for key in fields - tables if f"`{key}`" not in MANUAL and f"{key} = " not in MANUAL)
    missing += sorted(key for key in tables if key not in MANUAL)
    assert not missing
    assert all(f"| R{n} |" in MANUAL for n in range(1, 17))


@pytest.mark.parametrize("clock", ["collected", "request_received", "log_event_recorded", "generation_completed"])
def test_only_a_classs_own_clock_must_start(clock):
    """A slip in a clock's name must not make an endless upload look bounded."""
    message = complaint('clock = ["upload_received"]', f'clock = ["{clock}"]')
    assert "anime makes upload_image, which nothing must end" in message


def test_a_case_that_nobody_can_choose_is_refused():
    message = complaint('at_most = "24 h"', 'at_most = "24 h"\nwhen = { choice = ["discard"] }')
    assert "nobody can choose discard here" in message


def test_a_contradiction_that_no_row_follows_is_refused():
    stated = """
[[contradiction]]
id = "A1"
a = { clause = "900 §4", says = "a day" }
b = { clause = "900 §7", says = "ten days" }
reading = "the shorter"
"""
    with pytest.raises(BadPolicy, match="no row's reading names A1"):
        compiled(GOOD + stated)


def test_a_code_that_is_sent_needs_a_promise():
    account = """
[account]
standing = "optional"
fields = ["email"]
required = ["email"]
verify = ["email"]
clause = "900 §3"

[[promise]]
of = ["account_profile", "login_secret"]
clock = ["account_cancelled"]
at_most = "10 d"
clause = "900 §3"
"""
    with pytest.raises(BadPolicy, match=r"a \[account\] makes verification_code, which nothing must end"):
        compiled(GOOD + account)
