"""A sweep before its launch, in words; and after it, as a matrix of two of its axes."""

from __future__ import annotations

import statistics
from typing import Any

from lab.design.plain import numbers
from lab.design.plain.refusal import Refusal
from lab.design.presets import tables
from lab.design.spec.families import Metric
from lab.results import compare, published
from lab.runs import Run, default
from lab.ui.shell import run_facts, run_list
from lab.ui.shell.markup import esc
from lab.ui.sweep import grid
from lab.ui.words.refusals import refused
from lab.ui.words.table import metric_name, say

TAGS, PREVIEW, COUNTED = 60, 8, 200
TWO_AT_MOST = 40  # values of an axis that a matrix shows


def before(asked: dict[str, Any], language: str) -> tuple[str, bool]:
    """(how many runs and what they train, whether they can be launched)."""
    try:
        found = grid.specs_of(asked)
    except Refusal as problem:
        return f'<p class="lab-said wrong" role="alert" data-field="{esc(problem.field)}">{esc(refused(language, problem))}</p>', False
    counts = [grid.weights(spec) for spec in found[:COUNTED]]
    known = [count for count in counts if count is not None]
    steps = sum(spec.training.steps or 0 for spec in found)
    span = " … ".join(dict.fromkeys(numbers.weights(value) for value in (min(known), max(known)))) if known else numbers.UNKNOWN
    rows = "".join(f"<tr><td>{esc(spec.name)}</td><td class='right'>{esc(numbers.weights(count) if count is not None else numbers.UNKNOWN)}</td></tr>"
                   for spec, count in zip(found[:PREVIEW], counts, strict=False))  # fmt: skip
    more = f'<p class="lab-muted">{esc(say(language, "sweep.more", n=len(found) - PREVIEW))}</p>' if len(found) > PREVIEW else ""
    return (f'<p class="lab-count" data-runs="{len(found)}">{esc(say(language, "sweep.runs", n=f"{len(found):,}"))}</p>'
            f'<p class="lab-muted">{esc(say(language, "sweep.each", span=span))}{" " + esc(say(language, "sweep.steps", n=f"{steps:,}")) if steps else ""}</p>'
            f'<details><summary>{esc(say(language, "sweep.list.runs"))}</summary><table class="lab-table">{rows}</table>{more}</details>'), True  # fmt: skip


def tags() -> list[str]:
    """Tags that two or more runs have in common, those of sweeps first, then by their newest run."""
    seen: dict[str, int] = {}
    for run in default().store.list(specs=False, limit=run_list.LENGTH):
        for tag in run.tags:
            seen[tag] = seen.get(tag, 0) + 1
    return sorted((tag for tag, count in seen.items() if count > 1), key=lambda tag: (not tag.startswith("sweep-"), tag not in tables.names()))[:TAGS]


def matrix(runs: list[Run], rows: str, columns: str, language: str) -> str:
    """Best metric by two axes, the mean over the rest; cells fill as runs finish."""
    found, metric = compare.varying(runs), compare.metric_of(runs)
    across, down = found.get(columns, [""] * len(runs)), found.get(rows, [""] * len(runs))
    heads, sides = _values(across), _values(down)
    cells: dict[tuple[str, str], list[Run]] = {}
    for run, x, y in zip(runs, across, down, strict=True):
        cells.setdefault((_value(y), _value(x)), []).append(run)
    means = {place: statistics.fmean(values) for place, members in cells.items() if (values := _judged(members, metric))}
    low, high = min(means.values(), default=0.0), max(means.values(), default=1.0)
    best = (high if metric.greater else low) if len(means) > 1 and low != high else None
    papers = _published({side: [run for (row, _), members in cells.items() if row == side for run in members] for side in sides}) if rows == "method" else {}
    body = "".join(
        f"<tr><th scope='row'>{esc(side)}</th>{''.join(_cell(cells.get((side, head), []), means.get((side, head)), best, (low, high), metric, language) for head in heads)}"
        f"{''.join(_published_as(papers[key].get(side, [])) for key in papers)}</tr>"
        for side in sides
    )
    over = sum(run.over for run in runs)
    caption = esc(
        say(language, "sweep.caption", metric=metric_name(language, metric.name) if metric else say(language, "chart.metric"), done=over, all=len(runs))
    )
    titles = "".join(f"<th scope='col'>{esc(head)}</th>" for head in heads)
    titles += "".join(
        f"<th scope='col' class='paper'>{esc(cite)}<small>{esc(_short(task))} {esc(metric_name(language, unit))}</small></th>" for cite, task, unit in papers
    )
    corner = " \\ ".join(_axis(path, language) for path in (rows, columns) if path)
    return (f'<p class="lab-muted">{caption}</p><div class="lab-scroll"><table class="lab-matrix"><thead><tr><th>{esc(corner)}</th>{titles}</tr></thead>'
            f"<tbody>{body}</tbody></table></div>{run_facts.apart(runs, language)}")  # fmt: skip


def _published(members: dict[str, list[Run]]) -> dict[tuple[str, str, str], dict[str, list[published.Point]]]:
    """{(paper, task or '', metric or 'trained'): {side: points}}: what the papers have for the methods at the side, and how much those train."""
    found: dict[tuple[str, str, str], dict[str, list[published.Point]]] = {}
    for side, runs in members.items():
        points = published.beside(runs[0]) if runs else []
        for (task, metric), group in published.main(points).items():
            found.setdefault((group[0].cite, task, metric), {})[side] = group
    return found


def _published_as(points: list[published.Point]) -> str:
    """A cell of published numbers, with their setting and what they trained on hover."""
    if not points:
        return '<td class="paper none"></td>'
    tip = "; ".join(
        " · ".join(filter(None, (point.method, point.setting, numbers.percent(point.percent) if point.percent is not None else "", point.model)))
        for point in points
    )
    share = f"<small>{esc(numbers.percent(points[0].percent))}</small>" if points[0].percent is not None else ""
    return f'<td class="paper" title="{esc(tip)}">{esc(" / ".join(f"{point.value:g}" for point in points if point.value is not None))}{share}</td>'


def _short(task: str) -> str:
    return {"wmt16-en-ro": "en-ro", "xsum": "XSum", "mnli": "MNLI", "sst2": "SST-2"}.get(task, task)


def _axis(path: str, language: str) -> str:
    """An axis in words where it has some, else as it is written in a spec."""
    return say(language, "bench.method") if path == "method" else say(language, "sweep.seed") if path == "seed" else path.removeprefix("method.")


def _values(values: list[Any]) -> list[str]:
    ordered = sorted(values, key=lambda v: (0, v, "") if isinstance(v, (int, float)) and not isinstance(v, bool) else (1, 0, _value(v)))
    return list(dict.fromkeys(map(_value, ordered)))[:TWO_AT_MOST]


def _value(value: Any) -> str:
    return (
        numbers.UNKNOWN
        if value is None
        else ", ".join(map(str, value))
        if isinstance(value, list)
        else f"{value:g}"
        if isinstance(value, float)
        else str(value)
    )


def _judged(members: list[Run], metric: Metric | None) -> list[float]:
    return [value for value in compare.scores(members, metric) if value is not None]


def _cell(members: list[Run], mean: float | None, best: float | None, span: tuple[float, float], metric: Metric | None, language: str) -> str:
    if not members:
        return '<td class="none"></td>'
    link = f"runs?run={members[0].id}" if len(members) == 1 else "compare?runs=" + ",".join(run.id for run in members[:50])
    if mean is None:
        states = ", ".join(dict.fromkeys(say(language, "state." + run.state) for run in members))
        return f'<td><a href="{link}" class="lab-muted">{esc(states)}</a></td>'
    values = _judged(members, metric)
    share = (mean - span[0]) / (span[1] - span[0]) if span[1] > span[0] else 0.5
    share = share if metric is None or metric.greater else 1 - share
    spread = f" ± {numbers.number(statistics.stdev(values), 2)}" if len(values) > 1 else ""
    waiting = f" <small>{len(values)}/{len(members)}</small>" if len(values) < len(members) else ""
    star = f' <span class="star" title="{esc(say(language, "compare.best"))}">★</span>' if mean == best else ""
    return (f'<td style="--v:{8 + 52 * share:.0f}%" class="told"><a href="{link}" title="{esc(repr(mean))}">{esc(numbers.number(mean))}'
            f"<small>{esc(spread)}</small>{star}{waiting}</a></td>")  # fmt: skip
