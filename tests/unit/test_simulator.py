"""Virtual time: the same trace ends the same way, nothing is lost, and each rule is the one it is named after."""

from __future__ import annotations

import json
import math
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from ray_cluster.costs import Costs
from ray_cluster.journal import again, read
from ray_cluster.lanes import LANE_WEIGHTS
from ray_cluster.simulator import draw, trace
from ray_cluster.simulator.compare import POLICIES, played, world
from ray_cluster.simulator.made import ALWAYS, LOAD_ACTORS, MAKERS
from ray_cluster.simulator.mayfly import Mayfly, one_pool, with_floor
from ray_cluster.simulator.queues import Fixed, Lag, Queue, Serve
from ray_cluster.simulator.report import quantile
from ray_cluster.simulator.trace import Asked, BadTrace
from ray_cluster.simulator.world import FAILS_AT, RETRY_AFTER_S, Setup
from services.cli import app
from services.costs import seed
from stream.errors import MayflyError

jobs = st.lists(
    st.builds(
        Asked,
        arrival_s=st.floats(0, 300),
        tenant=st.sampled_from(["a", "b"]),
        lane=st.sampled_from(list(LANE_WEIGHTS)),
        operation=st.sampled_from(["stylization", "ai_dance", "unheard-of"]),
        gpu_s=st.floats(0, 60),
        deadline_s=st.floats(0, 600),
        fails=st.sampled_from([0, 0, 1, ALWAYS]),
    ),
    min_size=1,
    max_size=40,
).map(lambda made: sorted(made, key=lambda job: job.arrival_s))


def asked(at_s: float, gpu_s: float, *, deadline_s: float = 1e6, fails: int = 0, lane: str = "interactive") -> Asked:
    return Asked(at_s, "t", lane, "stylization", gpu_s, deadline_s, fails)


@settings(deadline=None, max_examples=40)
@given(jobs, st.sampled_from(POLICIES), st.integers(1, 4))
def test_every_job_ends_once_after_its_time_and_is_paid_for(made: list[Asked], policy: str, actors: int) -> None:
    setup = Setup(max_actors=actors)
    playing = world(policy, made, setup, seed=seed)
    playing.play()
    for job in playing.jobs:
        if job.asked.fails <= len(RETRY_AFTER_S):
            assert math.inf > job.ended_at >= job.asked.arrival_s + job.asked.gpu_s * (1 + FAILS_AT * job.asked.fails)
            assert job.attempts == job.asked.fails + 1
        else:
            assert (job.ended_at, job.attempts) == (math.inf, len(RETRY_AFTER_S) + 1)
    assert playing.paid_s >= playing.useful_s + playing.wasted_s - 1e-6
    assert max(point.actors for point in playing.points) <= actors
    missed = [job for job in playing.jobs if job.ended_at > job.deadline]
    assert playing.points[-1].missed == sum(job.deadline < playing.now for job in missed)
    assert (playing.queued, playing.busy) == (0, 0)


@pytest.mark.parametrize("policy", POLICIES)
def test_the_same_trace_ends_the_same_way(policy: str) -> None:
    made = MAKERS["failing"](400, seed=3)
    assert played(policy, made, Setup(), seed=seed) == played(policy, made, Setup(), seed=seed)


def test_the_autoscaler_of_a_simulation_can_be_taken_at_its_word() -> None:
    playing = Mayfly(trace.at_load(MAKERS["mixed"](1500), 8, 0.9), Setup(max_actors=8), Costs(seed))
    playing.play()
    assert len(playing.lines) > 5
    assert all(again(line) == line.decisions for line in playing.lines)
    assert playing.points[-1].actors <= 8


def test_predictions_come_from_what_was_seen() -> None:
    """Videos take fifteen times what the registry says: the first are predicted wrong, the later ones are not."""
    made = [Asked(float(i * 60), "t", "standard", "ai_dance", 40.0, 3600.0) for i in range(40)]
    playing = Mayfly(made, Setup(max_actors=2), Costs(seed))
    playing.play()
    assert playing.errors[0] < 0.1
    assert playing.errors[-1] == pytest.approx(1.0)


def test_an_actor_costs_from_the_asking_on() -> None:
    playing = Queue([asked(0.0, 10.0)], Setup(max_actors=4, start_s=3.0, hand_over_s=0.5), Lag(1))
    playing.play()
    assert (playing.jobs[0].ended_at, playing.paid_s) == (13.5, 13.5)
    fixed = Queue([asked(0.0, 10.0)], Setup(max_actors=4, hand_over_s=0.5), Fixed(4))
    fixed.play()
    assert (fixed.jobs[0].ended_at, fixed.paid_s) == (10.5, 42.0)


def test_a_failed_attempt_is_tried_again_as_late_as_a_worker_would() -> None:
    playing = Queue([asked(0.0, 10.0, fails=2)], Setup(max_actors=1, hand_over_s=0.0), Fixed(1))
    playing.play()
    assert playing.jobs[0].ended_at == 5 + 1 + 5 + 10 + 10
    assert (playing.useful_s, playing.wasted_s) == (10.0, 10.0)


def test_first_come_first_served_whoever_it_is() -> None:
    made = [asked(0.0, 5.0, lane="batch"), asked(0.1, 5.0, lane="batch"), asked(0.2, 5.0, deadline_s=6.0)]
    fifo = played("fifo", made, Setup(max_actors=1), seed=seed)
    assert fifo.lanes["interactive"].met == 0.0
    assert played("mayfly", made, Setup(max_actors=1), seed=seed).lanes["interactive"].jobs == 1


def test_lag_scaling_is_lag_over_target_and_stays_for_its_cool_down() -> None:
    rule = Lag(5)
    assert rule.desired(0.0, 11, 0) == 3
    assert rule.desired(30.0, 0, 3) == 3
    assert rule.desired(300.0, 1, 3) == 3
    assert rule.desired(330.0, 1, 3) == 1
    assert rule.desired(700.0, 0, 1) == 0


def test_serve_waits_before_it_scales_either_way() -> None:
    rule, actors, grown_at, shrunk_at = Serve(), 1, 0, 0
    for second in range(1000):
        wanted = rule.desired(float(second), 8 if second < 100 else 0, actors)
        if wanted > actors:
            grown_at = grown_at or second
        if wanted < actors:
            shrunk_at = shrunk_at or second
        actors = wanted
    assert (grown_at, actors) == (30, 1)  # 8 ongoing ÷ 2 for each; never none
    assert 700 <= shrunk_at <= 730


@pytest.mark.parametrize("name", sorted(MAKERS))
def test_made_traces_are_what_they_say(name: str, tmp_path: Path) -> None:
    made = MAKERS[name](3000, seed=1)
    assert made == MAKERS[name](3000, seed=1)
    assert made != MAKERS[name](3000, seed=2)
    assert len(made) == pytest.approx(3000, abs=2)
    assert trace.load(made, LOAD_ACTORS) == pytest.approx(1.0, rel=0.05)
    trace.write(made, tmp_path / "trace.csv")
    back = trace.read(tmp_path / "trace.csv")
    assert [job.tenant for job in back] == [job.tenant for job in made]
    assert back[7].gpu_s == pytest.approx(made[7].gpu_s, abs=1e-3)
    assert trace.load(trace.at_load(back, 4, 0.5), 4) == pytest.approx(0.5)
    if name == "failing":
        assert 0.05 < sum(job.fails > 0 for job in made) / len(made) < 0.2


HEADER = ",".join(trace.COLUMNS)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "columns"),
        ("arrival_s,tenant\n1,2\n", "lane"),
        (f"{HEADER}\n", "at least one job"),
        (f"{HEADER}\n0,t,fast,x,1,1,0\n", "line 2"),
        (f"{HEADER}\n0,t,batch,x,1,1,0\n0,t,batch,x,soon,1,0\n", "line 3"),
        (f"{HEADER}\n0,t,batch,x,-1,1,0\n", "line 2"),
        (f"{HEADER}\n0,t,batch,x,nan,1,0\n", "line 2"),
        (f"{HEADER}\n0,t,batch,x,1\n", "line 2"),
    ],
)
def test_a_trace_that_cannot_be_meant_is_refused_with_its_line(text: str, said: str, tmp_path: Path) -> None:
    path = tmp_path / "trace.csv"
    path.write_text(text)
    with pytest.raises(BadTrace, match=said):
        trace.read(path)


def test_a_load_is_set_only_where_there_is_one() -> None:
    with pytest.raises(BadTrace):
        trace.at_load([asked(5.0, 1.0)], 2, 0.5)
    with pytest.raises(BadTrace):
        trace.read(Path("there-is-none.csv"))


def test_a_floor_keeps_actors_warm_from_the_start() -> None:
    setup = Setup(max_actors=3)
    playing = Mayfly([asked(100.0, 1.0)], setup, Costs(seed), with_floor(one_pool(setup), 2))
    playing.play()
    assert max(point.actors for point in playing.points) == 2


def test_quantiles_are_values_that_were_there() -> None:
    assert quantile([], 0.5) == 0.0
    assert [quantile([3.0, 1.0, 2.0, 4.0], share) for share in (0.0, 0.25, 0.5, 0.95)] == [1.0, 1.0, 2.0, 4.0]


def test_a_drawing_holds_a_line_for_each_policy_in_each_panel(tmp_path: Path) -> None:
    reports = [played(name, MAKERS["burst"](200), Setup(max_actors=4), seed=seed) for name in ("mayfly", "fifo")]
    root = ET.fromstring(draw.svg(reports, "a <title>"))
    lines = root.findall(".//{http://www.w3.org/2000/svg}polyline")
    assert len(lines) == len(draw.PANELS) * len(reports)
    assert {line.get("stroke") for line in lines} == {draw.COLOURS["mayfly"], draw.COLOURS["fifo"]}
    page = draw.html(reports, "a <title>")
    assert "<svg" in page
    assert "<title>a <title>" not in page
    line = draw.blocks(reports[0].points, lambda point: point.queued, most=300, width=30)
    assert len(line) == 30


# -- the command ---------------------------------------------------------------------------------------------------


def run(*args: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["simulate", *args])
    if isinstance(result.exception, MayflyError):
        raise result.exception
    return result.exit_code, result.output


def test_the_command_plays_draws_and_takes_its_decisions_again(tmp_path: Path) -> None:
    csv, journal, svg, html = (tmp_path / name for name in ("t.csv", "j.log", "d.svg", "d.html"))
    assert run("heavy", "--jobs", "300", "--load", "0.5", "--actors", "6", "--write", str(csv))[0] == 0
    code, said = run(str(csv), "--actors", "6", "--journal", str(journal), "--svg", str(svg), "--html", str(html))
    assert code == 0
    assert all(name in said for name in (*POLICIES, "deadlines met", "jobs waiting", "actors"))
    assert ET.fromstring(svg.read_text()).tag.endswith("svg")
    assert html.read_text().startswith("<!doctype html>")
    code, said = run("--replay", str(journal))
    assert (code, "0 would be another now" in said) == (0, True)
    line = read(journal.read_text().splitlines()[-1])
    assert line
    forged = journal.read_text().replace('"desired":1', '"desired":5')
    journal.write_text(forged)
    code, said = run("--replay", str(journal), "--json")
    assert code == 1
    assert json.loads(said)["others"]


def test_the_command_speaks_json() -> None:
    code, said = run("mixed", "--jobs", "200", "--policy", "fifo", "--policy", "mayfly", "--json")
    assert code == 0
    first, second = json.loads(said)["policies"]
    assert (first["policy"], second["policy"]) == ("fifo", "mayfly")
    assert 0 <= second["met"] <= 1


def test_the_command_refuses_what_it_cannot_play(tmp_path: Path) -> None:
    with pytest.raises(BadTrace):
        run("no-such-file.csv")
    with pytest.raises(BadTrace):
        run("--replay", str(tmp_path / "none.log"))
    empty = tmp_path / "empty.log"
    empty.write_text("nothing of ours\n")
    with pytest.raises(BadTrace):
        run("--replay", str(empty))
    assert run("mixed", "--policy", "guess")[0] == 2


def test_the_highest_load_is_found_for_every_lane_and_for_all_together() -> None:
    from benchmarks.trace import CLOSE, LEAST, MET, Search

    search = Search("fifo", MAKERS["burst"](300), Setup(max_actors=4))
    every_lane, of_all = search.highest(every_lane=True), search.highest(every_lane=False)
    assert LEAST < every_lane <= of_all
    assert min(lane.met for lane in search.at(every_lane).lanes.values()) >= MET
    assert search.at(of_all).met >= MET > search.at(round(of_all * CLOSE**2, 4)).met
