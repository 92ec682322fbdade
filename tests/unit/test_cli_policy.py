"""`mayfly policy`: what a stranger reads, and what a machine does."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest
from typer.testing import CliRunner

from services.cli_policy import PLATFORM, app
from services.settings import Settings, save
from stream.policies import compiler
from stream.policies.compiler import APPS

EVENTS = Path(__file__).parents[1] / "policies" / "events"
runner = CliRunner()


def told(*words: str, code: int = 0) -> str:
    result = runner.invoke(app, list(words))
    assert result.exit_code == code, result.output
    return result.output


def read(*words: str, code: int = 0) -> object:
    return json.loads(told(*words, "--json", code=code))


def test_list() -> None:
    listed = read("list")
    assert {one["app"] for one in listed} == {path.stem for path in APPS.glob("*.toml")}
    text = told("list")
    assert "live_filter (device)" in text
    assert "stylization (memory)" in text


@pytest.mark.parametrize("name", [path.stem for path in APPS.glob("*.toml")])
def test_show_and_timeline(name: str) -> None:
    policy = compiler.load(name)
    text = told("show", name)
    for one in policy.contradictions:
        assert one.id in text
    for one in policy.rights:
        assert one.name in text
    assert read("show", name)["hash"] == policy.hash
    lives = read("timeline", name)
    assert {life["data_class"] for life in lives} == {one.data_class for one in policy.promises}
    assert "gone" in told("timeline", name)


def test_what_an_operation_takes_besides_is_shown_as_optional() -> None:
    assert "garment (image, optional)" in " ".join(told("show", "genzo").split())


def test_a_timeline_says_what_the_policy_says() -> None:
    text = told("timeline", "genzo")
    (line,) = [line for line in text.splitlines() if line.startswith("intermediate")]
    assert "with its job" in line
    saved = [line for line in text.splitlines() if "save, face" in line]
    assert all("after 3 d" in line for line in saved)
    crops = read("timeline", "perfect-me")
    failed = {life["data_class"]: life["gone"] for life in crops if life["case"] == "job failed"}
    assert failed == dict.fromkeys(("upload_image", "upload_video", "face_image"), "after 1 d")
    assert {life["gone"] for life in read("timeline", "talentedi") if life["case"] == "unused"} == {"after 1 h"}
    unused = [life for life in read("timeline", "genzo") if str(life["case"]).startswith("unused")]
    assert {(life["data_class"], life["case"]) for life in unused} == {
        ("upload_image", "unused"),
        ("face_image", "unused"),
    }
    assert {life["gone"] for life in unused} == {"after 3 d"}
    assert "not before 6 months" in " ".join(told("timeline", "talentedi").split())
    lives = {life["data_class"]: life["seconds"] for life in read("timeline", "talentedi") if not life["case"]}
    assert lives["result_image"] == 10 * 86_400 + 60
    assert lives["public_content"] is None


def test_unknown_apps_are_refused() -> None:
    result = runner.invoke(app, ["show", "genso"])
    assert result.exit_code == 1
    assert "expected one of" in str(result.exception)


def test_check(tmp_path: Path) -> None:
    good = APPS / "genzo.toml"
    assert "genzo.toml compiles" in told("check", str(good))
    assert read("check", str(good))["ok"]
    bad = tmp_path / "genzo.toml"
    bad.write_text(good.read_text().replace('"upload_received"', '"uplod_received"'))
    text = told("check", str(bad), code=1)
    assert "did you mean 'upload_received'" in text
    assert read("check", str(bad), code=1)["errors"]
    told("check", str(tmp_path / "none.toml"), code=2)


def test_decisions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MAYFLY_SETTINGS", raising=False)
    monkeypatch.setenv("MAYFLY_HOME", str(tmp_path))
    found = read("decisions")
    assert all(one["in_force"] == one["strict"] for one in found)
    of_all = [one["name"] for one in found if not one["app"]]
    assert of_all == list(PLATFORM)
    assert len(found) == sum(len(one.decisions) for one in compiler.load_all("").values()) + len(of_all)
    needed = [field.name for field in msgspec.structs.fields(Settings) if field.required]
    known = Settings(**dict.fromkeys(needed, ""), holiday_country="DE")
    save(known, tmp_path / "settings.json")
    monkeypatch.setenv("MAYFLY_SETTINGS", str(tmp_path / "settings.json"))
    assert "DE (decided; strict: CN)" in told("decisions")
    path = tmp_path / "decisions.toml"
    path.write_text('[genzo]\ntimely = "3 d"\n')
    monkeypatch.setenv("MAYFLY_DECISIONS", str(path))
    assert "3 d (decided;" in told("decisions")
    (timely,) = [one for one in read("decisions") if (one["app"], one["name"]) == ("genzo", "timely")]
    assert (timely["in_force"], timely["strict"]) == ("3 d", "10 working days")


def test_simulate() -> None:
    lives = {life["thing"]: life for life in read("simulate", "genzo", "--events", str(EVENTS / "genzo.csv"))}
    assert lives["landscape"]["gone_at"] is None
    assert lives["keepsake"]["gone_at"] - lives["keepsake"]["made_at"] == 72 * 3600
    text = told("simulate", "batchpix", "--events", str(EVENTS / "batchpix.csv"))
    assert "never stored" in text
    told("simulate", "genzo", "--events", "none.csv", code=2)


def test_diff(tmp_path: Path) -> None:
    old, new = APPS / "genzo.toml", tmp_path / "genzo.toml"
    text = old.read_text()
    new.write_text(text.replace('"72 h"', '"48 h"').replace('version = "2025-1"', 'version = "2027-1"'))
    shown = " ".join(told("diff", str(old), str(new), "--published", "2026-12-01").split())
    assert "face_image, from upload_received 72 h 48 h shorter at once, also for what is stored" in shown
    assert "consent face_processing version 2025-1 version 2027-1 everybody is asked again" in shown
    assert "told of practice_change, 30 d before it takes effect, by email (000 §8)" in shown
    assert "published on 01 Dec 2026, it may take effect on 31 Dec 2026" in shown
    found = read("diff", str(new), str(old), "--published", "2026-12-01")
    longer = {one["what"]: one["effect"] for one in found["changes"]}
    assert longer["face_image, from upload_received"] == "only for what is collected from then on (R16)"
    assert "Nothing changes for anybody." in told("diff", str(old), str(old))


@pytest.mark.parametrize("command", [("check",), ("simulate", "genzo", "--events"), ("diff", str(APPS / "genzo.toml"))])
def test_what_is_no_text_is_refused(command: tuple[str, ...], tmp_path: Path) -> None:
    (path := tmp_path / "picture.toml").write_bytes(b"\xff\xd8\xff")
    told(*command, str(path), code=2)
    told(*command, str(tmp_path / "nothing.toml"), code=2)


def test_a_day_that_is_none() -> None:
    told("diff", str(APPS / "genzo.toml"), str(APPS / "genzo.toml"), "--published", "soon", code=2)


def test_matrix() -> None:
    found = read("matrix")["rows"]
    assert {row["status"] for row in found} <= {"kept", "organisational"}
    assert set(found[0]) >= {"promise", "app", "clause", "rule", "toml", "kept_by", "status"}
    assert "0 open" in told("matrix")
    assert "Use is not consent" in told("matrix", "genzo")
    told("matrix", "genso", code=2)
