"""A sweep before its launch, in words; and after it, as a matrix of two of its axes."""

from __future__ import annotations

from typing import Any

import numpy as np

from lab.design.plain import numbers
from lab.design.plain.refusal import Refusal
from lab.design.presets import tables
from lab.design.spec.families import Metric
from lab.results import compare, groups, published
from lab.results.facts import counts, why_not
from lab.runs import Run, default
from lab.ui.shell import run_facts, run_list, verdicts
from lab.ui.shell.markup import esc
from lab.ui.sweep import grid
from lab.ui.words.refusals import refused
from lab.ui.words.settings import setting_name
from lab.ui.words.table import metric_name, say

TAGS, PREVIEW, COUNTED = 60, 8, 200
TWO_AT_MOST = 40  # values of an axis that a matrix shows
MOST_TESTED = 300  # cells between which differences are tested
SENTENCES = 5  # before the others are folded


def before(asked: dict[str, Any], language: str) -> tuple[str, bool]:
    """(how many runs and what they train, whether they can be launched)."""
    try:
        found = grid.specs_of(asked)
    except Refusal as problem:
        return f'<p class="lab-said wrong" role="alert" data-field="{esc(problem.field)}">{esc(refused(language, problem))}</p>', False
    trained = [grid.weights(spec) for spec in found[:COUNTED]]
    known = [count for count in trained if count is not None]
    steps = sum(spec.training.steps or 0 for spec in found)
    span = " … ".join(dict.fromkeys(numbers.weights(value) for value in (min(known), max(known)))) if known else numbers.UNKNOWN
    rows = "".join(f"<tr><td>{esc(spec.name)}</td><td class='right'>{esc(numbers.weights(count) if count is not None else numbers.UNKNOWN)}</td></tr>"
                   for spec, count in zip(found[:PREVIEW], trained, strict=False))  # fmt: skip
    more = f'<p class="lab-muted">{esc(say(language, "sweep.more", n=len(found) - PREVIEW))}</p>' if len(found) > PREVIEW else ""
    dropped = ", ".join(grid.dropped(asked))
    lost = f'<p class="lab-said" role="note">{esc(say(language, "sweep.dropped", names=dropped))}</p>' if dropped else ""
    return (f'<p class="lab-count" data-runs="{len(found)}">{esc(say(language, "sweep.runs", n=f"{len(found):,}"))}</p>'
            f'<p class="lab-muted">{esc(say(language, "sweep.each", span=span))}{" " + esc(say(language, "sweep.steps", n=f"{steps:,}")) if steps else ""}</p>{lost}'
            f'<details><summary>{esc(say(language, "sweep.list.runs"))}</summary><table class="lab-table">{rows}</table>{more}</details>'), True  # fmt: skip


def tags() -> list[str]:
    """Tags that two or more runs have in common, those of sweeps first, then by their newest run."""
    seen: dict[str, int] = {}
    for run in default().store.list(specs=False, limit=run_list.LENGTH):
        for tag in run.tags:
            seen[tag] = seen.get(tag, 0) + 1
    return sorted((tag for tag, count in seen.items() if count > 1), key=lambda tag: (not tag.startswith("sweep-"), tag not in tables.names()))[:TAGS]


def matrix(runs: list[Run], rows: str, columns: str, language: str) -> str:
    """Best metric by two axes ("": none): the mean over seeds with its deviation, averaged over the axes that are left out; cells fill as runs finish."""
    found, metric = compare.varying(runs), compare.metric_of(runs)
    across, down = found.get(columns, [""] * len(runs)), found.get(rows, [""] * len(runs))
    heads, sides = _values(across), _values(down)
    averaged = [path for path in found if path not in (rows, columns, "seed")]
    cells: dict[tuple[str, str], list[Run]] = {}
    for run, x, y in zip(runs, across, down, strict=True):
        cells.setdefault((_value(y), _value(x)), []).append(run)
    tested = _tested(runs, cells, {path: found[path] for path in averaged})
    means = {place: group.mean for place, group in zip(cells, tested.groups, strict=True) if group.mean is not None and group.metric == metric}
    stars = {place for number, place in enumerate(cells) if number in tested.stars}
    span = (min(means.values(), default=0.0), max(means.values(), default=1.0))
    papers = _published({side: [run for (row, _), members in cells.items() if row == side for run in members] for side in sides}) if rows == "method" else {}
    group_at = dict(zip(cells, tested.groups, strict=True))
    body = "".join(
        f"<tr><th scope='row'>{esc(side)}</th>{''.join(_cell(group_at.get((side, head)), (side, head) in stars, span, metric, language) for head in heads)}"
        f"{''.join(_published_as(papers[key].get(side, [])) for key in papers)}</tr>"
        for side in sides
    )
    titles = "".join(f"<th scope='col'>{esc(head)}</th>" for head in heads)
    titles += "".join(
        f"<th scope='col' class='paper'>{esc(cite)}<small>{esc(_short(task))} {esc(metric_name(language, unit))}</small></th>" for cite, task, unit in papers
    )
    corner = " \\ ".join(setting_name(language, path) for path in (rows, columns) if path)
    return (f'<p class="lab-muted">{esc(_caption(runs, metric, averaged, language))}</p><div class="lab-scroll" tabindex="0" role="region" aria-label="{esc(say(language, "compare.results"))}"><table class="lab-matrix"><thead><tr><th>{esc(corner)}</th>{titles}</tr></thead>'
            f"<tbody>{body}</tbody></table></div>{run_facts.apart(runs, language)}{_answers(tested, list(cells), language)}")  # fmt: skip


def _tested(runs: list[Run], cells: dict[tuple[str, str], list[Run]], averaged: dict[str, list[Any]]) -> groups.Tested:
    """The cells as groups, paired by the settings that they average over."""
    found = [groups.group_of(members) for members in cells.values()]
    if len(found) > MOST_TESTED:  # too many to correct for: none would be significant
        return groups.tested(found[:0]) if not found else groups.Tested(found, groups.tested([]).pairs, np.zeros((0, 0), bool), frozenset())
    apart = {run.id: " ".join(_value(values[place]) for values in averaged.values()) for place, run in enumerate(runs)}
    return groups.tested(found, [apart[run.id] for group in found for run in group.runs] if averaged else None)


def _caption(runs: list[Run], metric: Metric | None, averaged: list[str], language: str) -> str:
    name = metric_name(language, metric.name) if metric else say(language, "chart.metric")
    also = (
        say(language, "sweep.caption.also", names=("、" if language == "zh" else ", ").join(setting_name(language, path) for path in averaged))
        if averaged
        else ""
    )
    return say(language, "sweep.caption", metric=name, done=sum(run.over for run in runs), all=len(runs)) + also


def _answers(tested: groups.Tested, places: list[tuple[str, str]], language: str) -> str:
    """What a star means, and the sentences of the best cell against the others."""
    if not len(tested.comparable):
        return ""
    names = [" · ".join(filter(None, place)) or tested.groups[number].name for number, place in enumerate(places)]
    found = verdicts.lines(tested, names, language)
    items = lambda some: "".join(f"<li>{esc(one)}</li>" for one in some)  # noqa: E731
    rest = (
        f'<details><summary>{esc(say(language, "answers.more", n=len(found) - SENTENCES))}</summary><ul class="lab-verdicts">{items(found[SENTENCES:])}</ul></details>'
        if len(found) > SENTENCES
        else ""
    )
    body = f'<ul class="lab-verdicts">{items(found[:SENTENCES])}</ul>{rest}' if found else ""
    return f'<p class="lab-muted">{esc(verdicts.stars(tested, language))}</p>{body}'


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


def _cell(group: groups.Group | None, star: bool, span: tuple[float, float], metric: Metric | None, language: str) -> str:
    if group is None:
        return '<td class="none"></td>'
    members = group.runs
    link = f"runs?run={members[0].id}" if len(members) == 1 else "compare?runs=" + ",".join(run.id for run in members[:50])
    if group.mean is None or group.metric != metric:
        states = ", ".join(
            dict.fromkeys(say(language, "state." + run.state) if why_not(run) != "untrained" else say(language, "sweep.untrained") for run in members)
        )
        return f'<td><a href="{link}" class="lab-muted">{esc(states)}</a></td>'
    share = (group.mean - span[0]) / (span[1] - span[0]) if span[1] > span[0] else 0.5
    share = share if metric is None or metric.greater else 1 - share
    spread = f" ± {numbers.number(group.deviation, 2)} ({len(group.by_seed)})" if group.deviation is not None else ""
    counted = sum(map(counts, members))
    waiting = f" <small>{counted}/{len(members)}</small>" if counted < len(members) else ""
    marked = f' <span class="star" title="{esc(say(language, "compare.best"))}">★</span>' if star else ""
    return (f'<td style="--v:{8 + 52 * share:.0f}%" class="told"><a href="{link}" title="{esc(repr(group.mean))}">{esc(numbers.number(group.mean))}'
            f"<small>{esc(spread)}</small>{marked}{waiting}</a></td>")  # fmt: skip
