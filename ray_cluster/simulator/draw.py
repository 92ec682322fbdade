"""Queue, pool and misses over time: as an SVG, as a page around it, and as lines of blocks for a terminal."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from html import escape

from ray_cluster.lanes import LANE_WEIGHTS
from ray_cluster.simulator.report import LaneReport, Report
from ray_cluster.simulator.world import Point

COLOURS = {"mayfly": "#0072b2", "fifo": "#999999", "lag": "#d55e00", "serve": "#009e73"}
"""Okabe and Ito's: told apart by everybody."""

PANELS: tuple[tuple[str, Callable[[Point], int]], ...] = (
    ("jobs waiting", lambda point: point.queued),
    ("actors", lambda point: point.actors),
    ("deadlines missed so far", lambda point: point.missed),
)
BLOCKS = " ▁▂▃▄▅▆▇█"

_WIDTH, _HEIGHT, _LEFT, _TOP, _GAP, _RIGHT, _BOTTOM = 920, 170, 64, 44, 46, 36, -14


def svg(reports: Sequence[Report], title: str) -> str:
    """Three panels under each other, a line for each policy."""
    end_s = max(report.points[-1].at_s for report in reports)
    begin_s = min(report.points[0].at_s for report in reports)
    total = _TOP + len(PANELS) * (_HEIGHT + _GAP) + _BOTTOM
    whole = _LEFT + _WIDTH + _RIGHT
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {whole} {total}" width="{whole}" height="{total}">',
        f'<rect width="{whole}" height="{total}" fill="#ffffff"/>',
        '<g font-family="sans-serif" font-size="12">',
        f'<text x="{_LEFT}" y="18" font-size="14" font-weight="bold">{escape(title)}</text>',
    ]
    for number, report in enumerate(reports):
        x = _LEFT + _WIDTH - 130 * (len(reports) - number)
        parts.append(f'<rect x="{x}" y="9" width="18" height="4" fill="{COLOURS[report.policy]}"/>')
        parts.append(f'<text x="{x + 24}" y="16">{report.policy} {report.met:.1%}</text>')
    for number, (name, value) in enumerate(PANELS):
        top = _TOP + number * (_HEIGHT + _GAP)
        parts += _panel(reports, name, value, top=top, begin_s=begin_s, span_s=max(end_s - begin_s, 1e-9))
    return "\n".join([*parts, "</g></svg>", ""])


def _panel(
    reports: Sequence[Report], name: str, value: Callable[[Point], int], *, top: int, begin_s: float, span_s: float
) -> list[str]:
    most = _round_up(max(value(point) for report in reports for point in report.points))
    bottom = top + _HEIGHT
    parts = [f'<text x="{_LEFT}" y="{top - 8}" fill="#444444">{name}</text>']
    for tick in range(5):
        y, x = bottom - tick * _HEIGHT / 4, _LEFT + tick * _WIDTH / 4
        parts.append(f'<line x1="{_LEFT}" y1="{y}" x2="{_LEFT + _WIDTH}" y2="{y}" stroke="#dddddd"/>')
        parts.append(f'<text x="{_LEFT - 8}" y="{y + 4}" text-anchor="end">{most * tick / 4:g}</text>')
        parts.append(f'<text x="{x}" y="{bottom + 16}" text-anchor="middle">{_clock(span_s * tick / 4)}</text>')
    for report in reversed(reports):  # the first on top
        line = " ".join(
            f"{_LEFT + (point.at_s - begin_s) / span_s * _WIDTH:.1f},{bottom - value(point) / most * _HEIGHT:.1f}"
            for point in report.points
        )
        parts.append(f'<polyline points="{line}" fill="none" stroke="{COLOURS[report.policy]}" stroke-width="1.6"/>')
    return parts


def html(reports: Sequence[Report], title: str) -> str:
    """A page that needs nothing else."""
    heads = "".join(f"<th>{head}</th>" for head, _ in FIGURES)
    rows = "".join(
        f"<tr><td>{report.policy}</td>" + "".join(f"<td>{figure(report)}</td>" for _, figure in FIGURES) + "</tr>"
        for report in reports
    )
    style = "body{font-family:sans-serif;margin:2em}td,th{padding:.2em .9em;text-align:right}"
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{escape(title)}</title><style>{style}</style>'
        f"<table><tr><th></th>{heads}</tr>{rows}</table>\n{svg(reports, title)}</html>\n"
    )


FIGURES: tuple[tuple[str, Callable[[Report], str]], ...] = (
    ("deadlines met", lambda report: f"{report.met:.1%}"),
    ("interactive, standard, batch", lambda report: ", ".join(_met(report.lanes.get(lane)) for lane in LANE_WEIGHTS)),
    ("useful ÷ paid", lambda report: f"{report.useful_ratio:.2f}"),
    ("GPU-hours paid", lambda report: f"{report.paid_s / 3600:.1f}"),
    ("cost", lambda report: f"{report.cost:.2f}"),
    ("most actors", lambda report: str(report.most_actors)),
    ("predicted ÷ actual", lambda report: "–".join(f"{share:.1f}" for share in report.predicted or ()) or "–"),
    ("failed", lambda report: str(report.failed)),
)


def blocks(points: Sequence[Point], value: Callable[[Point], int], *, most: int, width: int) -> str:
    """A line of `width` characters whose heights are the largest value within each; `most` is a full block."""
    begin_s, end_s = points[0].at_s, points[-1].at_s
    highest = [0] * width
    for point in points:
        column = min(int((point.at_s - begin_s) / max(end_s - begin_s, 1e-9) * width), width - 1)
        highest[column] = max(highest[column], value(point))
    return "".join(BLOCKS[math.ceil(high / max(most, 1) * (len(BLOCKS) - 1))] for high in highest)


def _met(lane: LaneReport | None) -> str:
    return f"{lane.met:.1%}" if lane else "–"


def _round_up(most: int) -> int:
    """To a number that quarters well."""
    step = 4 * int(10 ** max(0, len(str(most)) - 2))
    return max(4, math.ceil(most / step) * step)


def _clock(seconds: float) -> str:
    minutes = round(seconds / 60)
    return f"{minutes // 60}:{minutes % 60:02d} h"
