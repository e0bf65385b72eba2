"""A comparison as one HTML file that needs nothing else: tables, curves as SVG, and every spec. No scripts in it."""

from __future__ import annotations

import math
import re
from typing import Any

from lab.design import numbers
from lab.runs import Run
from lab.ui import comparing, reading
from lab.ui.markup import esc
from lab.ui.words import TABLE, say

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#b5509c", "#b88600", "#3a9bdc", "#7a5195", "#8c564b", "#5b7f0a", "#50606f")  # --run-N of lab.css
WIDE, TALL, LEFT, BOTTOM = 560, 250, 56, 26
STYLE = """body{font:14px/1.45 system-ui,sans-serif;max-width:1180px;margin:24px auto;padding:0 16px;color:#18202b;background:#fff}
h1{font-size:20px}h2{font-size:15px;margin:26px 0 8px}table{border-collapse:collapse;font-size:12.5px}td,th{text-align:left;padding:4px 12px 4px 0;border-bottom:1px solid #dce0e7;vertical-align:top}
.scroll{overflow-x:auto}.charts{display:flex;flex-wrap:wrap;gap:14px}figure{margin:0}figcaption{font-weight:600;font-size:13px}svg text{font:11px system-ui,sans-serif;fill:#5b6675}
pre{background:#f5f6f8;padding:10px;font-size:12px;overflow-x:auto}.key{display:flex;flex-wrap:wrap;gap:4px 18px;font-size:12.5px}.key i{display:inline-block;width:16px;border-top:3px solid;margin-right:6px;vertical-align:3px}"""


def report(runs: list[Run], charts: list[dict[str, Any]], language: str, made: str) -> str:
    """The file. `charts` as lab.ui.curves makes them; `made`: when, as text."""
    title = say(language, "report.title", n=len(runs))
    key = "".join(f'<span><i style="border-color:{_tint(reading.colour(run))}"></i>{esc(run.name or run.id)}</span>' for run in runs)
    drawn = "".join(_figure(chart, language) for chart in charts)
    specs = "".join(f"<details><summary>{esc(run.name or run.id)} ({esc(run.id)})</summary><pre>{esc(reading.spec_yaml(run))}</pre></details>" for run in runs)
    return (f'<!doctype html><html lang="{language}"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>{esc(title)}</title>'
            f'<style>{STYLE}</style></head><body><h1>{esc(title)}</h1><p>{esc(made)}</p><h2>{esc(say(language, "compare.results"))}</h2>{_table(comparing.table(runs))}'
            f'<h2>{esc(say(language, "report.curves"))}</h2><div class="key">{key}</div><div class="charts">{drawn}</div>'
            f'<h2>{esc(say(language, "report.specs"))}</h2>{specs}</body></html>')  # fmt: skip


def _tint(name: str) -> str:
    found = re.search(r"\d+", name)
    return COLOURS[int(found.group()) % len(COLOURS)] if found else COLOURS[0]


def _table(rows: list[list[Any]]) -> str:
    def cell(value: Any, name: str) -> str:
        if value is None:
            return numbers.UNKNOWN
        return esc(numbers.number(value) if isinstance(value, float) else f"{value:,}" if isinstance(value, int) and name != "seed" else value)

    heads = "".join(f"<th>{esc(name)}</th>" for name in rows[0])
    body = "".join("<tr>" + "".join(f"<td>{cell(value, name)}</td>" for name, value in zip(rows[0], row, strict=True)) + "</tr>" for row in rows[1:])
    return f'<div class="scroll"><table><thead><tr>{heads}</tr></thead><tbody>{body}</tbody></table></div>'


def _figure(chart: dict[str, Any], language: str) -> str:
    name = f"chart.{chart['id']}"
    caption = say(language, name) if name in TABLE else chart["id"].removeprefix("eval_")
    if chart.get("scatter"):
        logs = [{**point, "x": math.log10(point["x"])} for point in chart["points"]]
        return f"<figure><figcaption>{esc(caption)}</figcaption>{_plot([], logs, True)}</figure>"
    return f"<figure><figcaption>{esc(caption)}</figcaption>{_plot(chart['traces'], [], False)}</figure>" if chart["traces"] else ""


def _plot(traces: list[dict[str, Any]], points: list[dict[str, Any]], log: bool) -> str:
    xs = [x for trace in traces for x in trace["x"] if x is not None] + [point["x"] for point in points]
    ys = [y for trace in traces for y in trace["y"] if y is not None] + [point["y"] for point in points]
    if not xs or not ys:
        return ""
    (x0, x1), (y0, y1) = _span(xs), _span(ys)
    across = lambda x: LEFT + (x - x0) / (x1 - x0) * (WIDE - LEFT - 10)  # noqa: E731
    down = lambda y: TALL - BOTTOM - (y - y0) / (y1 - y0) * (TALL - BOTTOM - 10)  # noqa: E731
    parts = []
    for i in range(5):
        x, y = x0 + (x1 - x0) * i / 4, y0 + (y1 - y0) * i / 4
        shown = numbers.number(10**x if log else x, 3)
        parts.append(f'<line x1="{LEFT}" x2="{WIDE - 10}" y1="{down(y):.1f}" y2="{down(y):.1f}" stroke="#dce0e7"/><text x="{LEFT - 6}" y="{down(y) + 4:.1f}" text-anchor="end">'
                     f'{esc(numbers.number(y, 3))}</text><text x="{across(x):.1f}" y="{TALL - 8}" text-anchor="middle">{esc(shown)}</text>')  # fmt: skip
    for trace in traces:
        pairs = " ".join(f"{across(x):.1f},{down(y):.1f}" for x, y in zip(trace["x"], trace["y"], strict=True) if x is not None and y is not None)
        dash = ' stroke-dasharray="6 4"' if trace["kind"] == "eval" else ""
        parts.append(f'<polyline points="{pairs}" fill="none" stroke="{_tint(trace["colour"])}" stroke-width="1.6"{dash}><title>{esc(trace["label"])}</title></polyline>')
    for point in points:
        parts.append(f'<circle cx="{across(point["x"]):.1f}" cy="{down(point["y"]):.1f}" r="5" fill="{_tint(point["colour"])}"><title>{esc(point["label"])}</title></circle>')
    return f'<svg viewBox="0 0 {WIDE} {TALL}" width="{WIDE}" height="{TALL}">{"".join(parts)}</svg>'


def _span(values: list[float]) -> tuple[float, float]:
    low, high = min(values), max(values)
    edge = 0.04 * (high - low) or abs(high) * 0.1 or 1.0
    return low - edge, high + edge
