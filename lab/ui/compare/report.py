"""A comparison as one HTML file that needs nothing else: tables, curves and parallel coordinates as SVG, and every spec. No scripts in it."""

from __future__ import annotations

import math
import re
from typing import Any

from lab.design.plain import numbers
from lab.results import compare, facts, groups, paper
from lab.results.labels import labels_of
from lab.runs import Run
from lab.ui.compare import coordinates
from lab.ui.shell import run_facts, verdicts
from lab.ui.shell.markup import esc
from lab.ui.shell.run_styles import dash_attribute, run_styles
from lab.ui.words.table import TABLE, metric_name, say

COLOURS = ("#002bb2", "#d28100", "#05a268", "#b481b4", "#9b1103", "#3a90ff", "#162e6b", "#5e1c2e")  # --run-N of lab.css
WIDE, TALL, LEFT, BOTTOM = 560, 250, 64, 26
MARKED = 8  # markers of a curve, about
SHOWN = {
    "trainable": numbers.weights,
    "percent": numbers.percent,
    "peak_step_bytes": numbers.memory,
    "peak_process_bytes": numbers.memory,
    "seconds": numbers.duration,
}
HEADS = {"method": "bench.method", "seeds": "answers.seeds", "trainable": "chart.trainable", "percent": "fact.share", "seconds": "fact.time",
         "tokens_per_second": "fact.speed", "joules": "fact.energy", "pscp": "answers.pscp"}  # fmt: skip
STYLE = """body{font:14px/1.45 system-ui,sans-serif;max-width:1180px;margin:24px auto;padding:0 16px;color:#18202b;background:#fff}
h1{font-size:20px}h2{font-size:15px;margin:26px 0 8px}table{border-collapse:collapse;font-size:12.5px}td,th{text-align:left;padding:4px 12px 4px 0;border-bottom:1px solid #dce0e7;vertical-align:top;white-space:nowrap}
.scroll{overflow-x:auto}.charts{display:flex;flex-wrap:wrap;gap:14px}figure{margin:0}figcaption{font-weight:600;font-size:13px}svg text{font:11px system-ui,sans-serif;fill:#5b6675}
pre{background:#f5f6f8;padding:10px;font-size:12px;overflow-x:auto}.key{display:flex;flex-wrap:wrap;gap:4px 18px;font-size:12.5px}.key i{display:inline-block;width:16px;border-top:3px solid;margin-right:6px;vertical-align:3px}"""


def report(runs: list[Run], charts: list[dict[str, Any]], language: str, made: str, baseline: str = "") -> str:
    """The file. `charts` as lab.ui.shell.charts makes them; `made`: when, as text; `baseline`: the run whose setting the others are held against."""
    title = say(language, "report.title", n=len(runs))
    drawn = "".join(_figure(chart, language) for chart in charts)
    specs = "".join(
        f"<details><summary>{esc(run.name or run.id)} ({esc(run.id)})</summary><pre>{esc(run_facts.spec_yaml(run))}</pre></details>" for run in runs
    )
    return (f'<!doctype html><html lang="{language}"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>{esc(title)}</title>'
            f'<style>{STYLE}</style></head><body><h1>{esc(title)}</h1><p>{esc(made)}</p><h2>{esc(say(language, "compare.results"))}</h2>{_over_seeds(runs, language, baseline)}{_table(compare.sheet(runs))}{run_facts.apart(runs, language)}'
            f'<h2>{esc(say(language, "report.curves"))}</h2>{_key(runs, charts)}<div class="charts">{drawn}</div>{_parallel(runs, language)}'
            f'<h2>{esc(say(language, "report.specs"))}</h2>{specs}</body></html>')  # fmt: skip


def _over_seeds(runs: list[Run], language: str, baseline: str) -> str:
    """Each setting over its seeds, and which differences are real."""
    tested = groups.tested(groups.grouped(runs))
    names = groups.names(tested.groups)
    heads, rows = paper.sheet(tested, names, every=True)
    body = "".join(
        "<tr>" + "".join(f"<td>{esc(text)}{f' ± {esc(spread)}' if spread else ''}{' ★' if star else ''}</td>" for text, spread, star in row) + "</tr>"
        for row in rows
    )
    place = next((place for place, group in enumerate(tested.groups) if any(run.id == baseline for run in group.runs)), None)
    sentences = "".join(f"<li>{esc(line)}</li>" for line in verdicts.lines(tested, names, language, place))
    return (f'<div class="scroll"><table><thead><tr>{"".join(f"<th>{esc(_head(head, language, runs))}</th>" for head in heads)}</tr></thead><tbody>{body}</tbody></table></div>'
            f'<p>{esc(verdicts.stars(tested, language))}</p><h2>{esc(say(language, "answers.title"))}</h2><ul>{sentences}</ul>'
            f'<p>{esc(verdicts.by_which_test(tested, language))}</p>')  # fmt: skip


def _head(name: str, language: str, runs: list[Run]) -> str:
    if name == "peak_bytes":
        return say(language, f"fact.peak.{facts.peak_kind(runs)}")
    if name in HEADS:
        return say(language, HEADS[name])
    return metric_name(language, name) + (" (×100)" if paper.scale(name) == 100 else "")


def parallel_drawing(runs: list[Run], language: str) -> str:
    """The parallel coordinates as SVG, "" where there are none."""
    value = coordinates.parallel(runs, language)
    return coordinates.drawing(value, [_tint(line["colour"]) for line in value["lines"]], language)


def _parallel(runs: list[Run], language: str) -> str:
    drawn = parallel_drawing(runs, language)
    return drawn and f'<h2>{esc(say(language, "compare.parallel"))}</h2><div class="scroll">{drawn}</div>'


def _key(runs: list[Run], charts: list[dict[str, Any]]) -> str:
    """The colours of the curves, groups of runs where curves are means; of the runs where there are no curves."""
    found = {trace["label"]: trace for chart in charts for trace in chart["traces"]}
    if not found:
        found = {label: style.drawn for label, style in zip(labels_of(runs).values(), run_styles([run.number for run in runs]), strict=True)}
    return '<div class="key">' + "".join(f"<span>{_mark(trace)}{esc(label)}</span>" for label, trace in found.items()) + "</div>"


def _mark(trace: dict[str, Any]) -> str:
    tint = _tint(trace["colour"])
    return (f'<svg viewBox="-13 -5 26 10" width="26" height="10"><path d="M-13 0H13" stroke="{tint}" stroke-width="2"{dash_attribute(trace["dash"])}/>'
            f'<path d="{trace["shape"]}" fill="{tint}"/></svg> ')  # fmt: skip


def _tint(name: str) -> str:
    return COLOURS[place_of(name)]


def place_of(name: str) -> int:
    """The place of a run's colour, var(--run-3), among COLOURS."""
    found = re.search(r"\d+", name)
    return int(found.group()) % len(COLOURS) if found else 0


def _table(rows: list[list[Any]]) -> str:
    def cell(value: Any, name: str) -> str:
        if value is None:
            return numbers.UNKNOWN
        if name in SHOWN and isinstance(value, (int, float)):
            return f'<span title="{esc(value)}">{esc(SHOWN[name](value))}</span>'
        return esc(numbers.number(value) if isinstance(value, float) else value)

    heads = "".join(f"<th>{esc(name.replace('_', ' '))}</th>" for name in rows[0])
    body = "".join("<tr>" + "".join(f"<td>{cell(value, name)}</td>" for name, value in zip(rows[0], row, strict=True)) + "</tr>" for row in rows[1:])
    return f'<div class="scroll"><table><thead><tr>{heads}</tr></thead><tbody>{body}</tbody></table></div>'


def _figure(chart: dict[str, Any], language: str) -> str:
    if not chart.get("scatter") and not chart["traces"]:
        return ""
    return f"<figure><figcaption>{esc(caption(chart, language))}</figcaption>{plot(chart)}</figure>"


def caption(chart: dict[str, Any], language: str) -> str:
    """What a chart is called."""
    name = chart.get("words") or f"chart.{chart['id']}"
    title = say(language, name) if name in TABLE else metric_name(language, chart["id"].removeprefix("eval_"))
    return f"{metric_name(language, chart['metric'])} {title}" if chart.get("scatter") else title


def plot(chart: dict[str, Any]) -> str:
    """A chart as SVG: curves with their deviation, or points with the front and the papers' points; x is logarithmic for points."""
    traces, points, log = chart["traces"], chart.get("points", []), bool(chart.get("scatter"))
    marks, front = [*chart.get("papers", []), *points], chart.get("front", [])
    at = (lambda x: math.log10(x)) if log else (lambda x: x)  # noqa: E731
    xs = [at(x) for trace in traces for x in trace["x"] if x is not None] + [at(point["x"]) for point in marks]
    ys = [y for trace in traces for y in (*trace["y"], *trace.get("low", ()), *trace.get("high", ())) if y is not None]
    ys += [point["y"] + side * (point.get("spread") or 0) for point in marks for side in (-1, 1)]
    if not xs or not ys:
        return ""
    (x0, x1), (y0, y1) = _span(xs), _span(ys)
    across = lambda x: LEFT + (at(x) - x0) / (x1 - x0) * (WIDE - LEFT - 10)  # noqa: E731
    down = lambda y: TALL - BOTTOM - (y - y0) / (y1 - y0) * (TALL - BOTTOM - 10)  # noqa: E731
    parts = [_rule(down(y), _reading(y, "" if log else chart["id"])) for y in ticks(y0, y1)]
    across_at = [10.0**power for power in ticks(x0, x1)] if log else ticks(x0, x1)
    parts += [
        f'<text x="{across(x):.1f}" y="{TALL - 8}" text-anchor="middle">{esc(_reading(x, chart["id"]) if log else numbers.number(x))}</text>' for x in across_at
    ]
    for trace in traces:
        pairs = [(across(x), index) for index, x in enumerate(trace["x"]) if x is not None]
        if "low" in trace:
            band = [(x, trace["low"][i], trace["high"][i]) for x, i in pairs if None not in (trace["low"][i], trace["high"][i])]
            edge = [f"{x:.1f},{down(high):.1f}" for x, _, high in band] + [f"{x:.1f},{down(low):.1f}" for x, low, _ in reversed(band)]
            parts.append(f'<polygon points="{" ".join(edge)}" fill="{_tint(trace["colour"])}" fill-opacity="0.16"/>')
        line = " ".join(f"{x:.1f},{down(trace['y'][i]):.1f}" for x, i in pairs if trace["y"][i] is not None)
        dash = dash_attribute(trace["dash"])
        parts.append(
            f'<polyline points="{line}" fill="none" stroke="{_tint(trace["colour"])}" stroke-width="1.6"{dash}><title>{esc(trace["label"])}</title></polyline>'
        )
        spots = line.split()
        for spot in spots[:: max(1, len(spots) // MARKED)]:
            parts.append(f'<path d="{trace["shape"]}" transform="translate({spot})" fill="{_tint(trace["colour"])}"/>')
    steps = [
        f"{across(x):.1f},{down(y):.1f}"
        for (before, (x, y)) in zip([None, *front], front, strict=False)
        for x, y in ([(x, before[1])] if before else []) + [(x, y)]
    ]
    parts.append(f'<polyline points="{" ".join(steps)}" fill="none" stroke="#64748b" stroke-dasharray="2 3"/>' if len(front) > 1 else "")
    for point in marks:
        x, y, about = across(point["x"]), down(point["y"]), f"<title>{esc(point['label'])}</title>"
        if spread := point.get("spread"):
            parts.append(f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{down(point["y"] - spread):.1f}" y2="{down(point["y"] + spread):.1f}" stroke="#64748b"/>')
        parts.append(f'<path d="{point["shape"]}" transform="translate({x:.1f},{y:.1f}) scale(1.4)" fill="{_tint(point["colour"])}">{about}</path>' if "colour" in point
                     else f'<path d="M{x:.1f} {y - 5:.1f}l5 5l-5 5l-5-5z" fill="none" stroke="#8792a2">{about}</path>')  # fmt: skip
    return f'<svg viewBox="0 0 {WIDE} {TALL}" width="{WIDE}" height="{TALL}">{"".join(parts)}</svg>'


def _rule(y: float, text: str) -> str:
    return f'<line x1="{LEFT}" x2="{WIDE - 10}" y1="{y:.1f}" y2="{y:.1f}" stroke="#dce0e7"/><text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{esc(text)}</text>'


def _reading(value: float, chart: str) -> str:
    kinds = {
        "trainable": numbers.weights,
        "memory": numbers.memory,
        "pareto_peak_bytes": numbers.memory,
        "pareto_seconds": numbers.duration,
        "pareto_percent": numbers.percent,
    }
    return kinds.get(chart, lambda number: numbers.number(number, 3))(value)


def ticks(low: float, high: float, most: int = 5) -> list[float]:
    """Round numbers between two ends, at most `most` of them: steps of 1, 2 or 5 times a power of ten."""
    least = (high - low) / most
    power = 10.0 ** math.floor(math.log10(least))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= least * (1 - 1e-9))
    return [float(f"{index * step:.12g}") for index in range(math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9) + 1)]


def _span(values: list[float]) -> tuple[float, float]:
    low, high = min(values), max(values)
    edge = 0.04 * (high - low) or abs(high) * 0.1 or 1.0
    return (low - edge if low < 0 or low >= edge else 0.0), high + edge
