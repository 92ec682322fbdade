"""Every metric: its labels are bounded, its name is documented, and rules and dashboards ask only for what there is."""

from __future__ import annotations

import importlib
import json
import math
import pkgutil
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import promql_parser
import pytest
import yaml
from prometheus_client import REGISTRY

import stream.metrics
from tests.labels import BOUNDS

ROOT = Path(__file__).parents[2]
RULES = ROOT / "deploy/prometheus/mayfly.rules.yml"
DASHBOARD = ROOT / "deploy/grafana/mayfly.json"
RUNBOOK = ROOT / "docs/operators/sre.md"

SERIES = 100_000
"""More than one metric may have on one process; what is closed by configuration is counted far too high."""

NAME = re.compile(r"\bmayfly_[a-z_]+")
COUNTED = {"rate", "irate", "increase", "resets"}
"""What is asked of a counter; the rest that takes a range, of a gauge."""


def metrics() -> dict[str, tuple[str, tuple[str, ...]]]:
    """Name as it is scraped → (type, labels)."""
    for module in pkgutil.iter_modules(stream.metrics.__path__):
        importlib.import_module(f"stream.metrics.{module.name}")
    found: dict[str, tuple[str, tuple[str, ...]]] = {}
    for collector in REGISTRY._collector_to_names:
        families: Any = [collector] if hasattr(collector, "_name") else collector.collect()
        for family in families:
            name, kind = getattr(family, "_name", "") or family.name, getattr(family, "_type", "") or family.type
            if name.startswith("mayfly"):
                found[name + ("_total" if kind == "counter" else "")] = kind, tuple(family._labelnames)
    return found


def series() -> dict[str, tuple[str, ...]]:
    """Name of a series → its labels: a histogram has three."""
    found: dict[str, tuple[str, ...]] = {}
    for name, (kind, labels) in metrics().items():
        if kind == "histogram":
            found |= {f"{name}_bucket": (*labels, "le"), f"{name}_sum": labels, f"{name}_count": labels}
        else:
            found[name] = labels
    return found


@pytest.mark.parametrize("name", metrics())
def test_no_label_can_grow_with_what_users_send(name: str) -> None:
    _, labels = metrics()[name]
    assert set(labels) <= set(BOUNDS)
    assert math.prod(BOUNDS[label][0] for label in labels) <= SERIES


@pytest.mark.parametrize("name", metrics())
def test_every_metric_is_documented_with_its_labels(name: str) -> None:
    page = (ROOT / "docs/operations.md").read_text()
    _, labels = metrics()[name]
    said = f"{name}{{{','.join(labels)}}}" if labels else name
    assert f"`{said}`" in page


def test_nothing_is_documented_that_nobody_counts():
    page = (ROOT / "docs/operations.md").read_text()
    assert set(NAME.findall(page)) - set(metrics()) == set()


def test_metrics_are_made_in_one_place():
    made = re.compile(r"\b(?:Counter|Gauge|Histogram|Summary)\(\s*\"mayfly")
    sources = [path for room in ("stream", "services", "ray_cluster") for path in (ROOT / room).rglob("*.py")]
    assert {path.parent for path in sources if made.search(path.read_text())} == {ROOT / "stream/metrics"}


def rules() -> list[dict[str, Any]]:
    return [rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]]


def expressions() -> list[str]:
    panels = json.loads(DASHBOARD.read_text())["panels"]
    drawn = [target["expr"] for panel in panels for target in panel.get("targets", ())]
    return [rule["expr"] for rule in rules()] + drawn


def parsed(expression: str) -> list[promql_parser.Expr]:
    """Every node of it, as Prometheus would read it. Raises ValueError, also where types do not fit."""
    found: list[promql_parser.Expr] = []
    # Grafana puts the range in, and Prometheus knows no variable.
    promql_parser.walk(promql_parser.parse(expression.replace("$__rate_interval", "5m")), found.append)
    return found


def selectors(nodes: Iterable[promql_parser.Expr]) -> list[promql_parser.VectorSelector]:
    ranges = [node.vector_selector for node in nodes if isinstance(node, promql_parser.MatrixSelector)]
    return ranges + [node for node in nodes if isinstance(node, promql_parser.VectorSelector)]


def grouped(nodes: Iterable[promql_parser.Expr]) -> set[str]:
    """The labels that aggregations keep."""
    modifiers = [node.modifier for node in nodes if isinstance(node, promql_parser.AggregateExpr)]
    return {label for modifier in modifiers if modifier for label in modifier.labels}


def recorded() -> dict[str, tuple[str, ...]]:
    """Name of a series that a rule makes → its labels."""
    return {rule["record"]: tuple(grouped(parsed(rule["expr"])) - {"le"}) for rule in rules() if "record" in rule}


@pytest.mark.parametrize("expression", expressions())
def test_rules_and_dashboards_ask_for_what_there_is(expression: str) -> None:
    nodes, known = parsed(expression), series() | recorded()
    asked = selectors(nodes)
    assert asked
    for selector in asked:
        assert selector.name in known
        for matcher in selector.matchers.matchers:
            assert matcher.name in known[selector.name]
            exact = matcher.op in (promql_parser.MatchOp.Equal, promql_parser.MatchOp.NotEqual)
            assert not exact or matcher.name not in BOUNDS or BOUNDS[matcher.name][1](matcher.value)
    assert grouped(nodes) <= {label for selector in asked for label in known[selector.name]}


@pytest.mark.parametrize("expression", expressions())
def test_what_only_grows_is_asked_for_its_rate_and_nothing_else_is(expression: str) -> None:
    gauges = {name for name, (kind, _) in metrics().items() if kind == "gauge"} | set(recorded())
    nodes = parsed(expression)
    within = {
        str(argument.vector_selector): node.func.name in COUNTED
        for node in nodes
        if isinstance(node, promql_parser.Call)
        for argument in node.args
        if isinstance(argument, promql_parser.MatrixSelector)
    }
    for selector in selectors(nodes):
        assert within.get(str(selector), False) is (selector.name not in gauges)


@pytest.mark.parametrize(
    "expression",
    [
        "sum(mayfly_problems_total",
        "rate(mayfly_problems_total)",
        'mayfly_problems_total{kind="a" route="b"}',
        "sum by kind (mayfly_problems_total)",
        "mayfly_promise_lag_seconds > and 3",
        "rates(mayfly_problems_total[5m])",
    ],
)
def test_what_prometheus_would_not_load_is_found_here(expression: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - it has no class of its own
        parsed(expression)


def test_every_bound_of_a_bucket_is_one_of_its_histograms():
    bounds = {
        f"{metric._name}_bucket": {str(bound) for bound in metric._upper_bounds}
        for collector in REGISTRY._collector_to_names
        if getattr(metric := collector, "_type", "") == "histogram" and metric._name.startswith("mayfly")
    }
    asked = [
        (selector.name, matcher.value)
        for expression in expressions()
        for selector in selectors(parsed(expression))
        for matcher in selector.matchers.matchers
        if matcher.name == "le"
    ]
    assert len(asked) >= 2
    assert all(value in bounds[name] for name, value in asked)


def test_every_alert_has_a_page_and_every_page_an_alert():
    alerts = [rule["alert"] for rule in rules() if "alert" in rule]
    assert len(alerts) == len(set(alerts))
    assert re.findall(r"^### (Mayfly\w+)$", RUNBOOK.read_text(), re.MULTILINE) == alerts


@pytest.mark.parametrize("rule", [rule for rule in rules() if "alert" in rule], ids=lambda rule: str(rule["alert"]))
def test_an_alert_says_whom_it_wakes_and_what_it_saw(rule: dict[str, Any]) -> None:
    assert set(rule) <= {"alert", "expr", "for", "labels", "annotations"}
    assert rule["labels"]["severity"] in {"page", "ticket"}
    used = set(re.findall(r"\$labels\.([a-z_]+)", rule["annotations"]["summary"]))
    assert used <= grouped(parsed(rule["expr"]))


def test_panels_do_not_overlap_and_have_ids_of_their_own():
    panels = json.loads(DASHBOARD.read_text())["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    taken = [
        (x, y)
        for panel in panels
        for x in range(panel["gridPos"]["x"], panel["gridPos"]["x"] + panel["gridPos"]["w"])
        for y in range(panel["gridPos"]["y"], panel["gridPos"]["y"] + panel["gridPos"]["h"])
    ]
    assert len(taken) == len(set(taken))
    assert all(x < 24 for x, _ in taken)
