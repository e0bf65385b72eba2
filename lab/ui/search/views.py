"""A search on its page: the verdict, its trade-offs as charts, its trials as a table, and which options mattered."""

from __future__ import annotations

import math
from typing import Any

from lab import searching
from lab.design.plain import numbers
from lab.design.plain.refusal import Refusal
from lab.design.spec.search import SearchSpec
from lab.results.compare import front
from lab.searching.record import DONE, OVER, PRESET, SearchRecord, Trial
from lab.ui.search import form
from lab.ui.shell.markup import duration, empty, esc, memory, number, percent
from lab.ui.words.refusals import refused
from lab.ui.words.table import metric_name, say

COSTS = (  # chart, of a trial, as d3 writes it, unit
    ("percent", lambda trial: trial.percent, "g", " %"),
    ("peak_bytes", lambda trial: trial.memory, "s", "B"),
    ("seconds", lambda trial: trial.standing[2], "r", " s"),
)
COLOURS = {PRESET: "var(--run-1)", "space": "var(--run-0)", "chosen": "var(--run-3)"}


def before(asked: Any, language: str) -> tuple[str, bool]:
    """(what the form would begin or what is wrong with it, whether it can begin)."""
    try:
        found = form.spec_of_form(asked)
        searching.check(found)
    except Refusal as problem:
        return f'<p class="lab-said wrong" role="alert" data-field="{esc(problem.field)}">{esc(refused(language, problem))}</p>', False
    rungs = ", ".join(f"{rung:,}" for rung in [*found.ladder, found.steps] if rung) if found.ladder[-1] != found.steps else f"{found.steps:,}"
    words = say(language, "search.before", trials=found.trials, rungs=rungs, finalists=found.finalists, baselines=found.baselines, seeds=found.seeds)
    budget = _budget(found, language)
    return f'<p class="lab-count">{esc(budget)}</p><p class="lab-muted">{esc(words)}</p>', True


def _budget(found: SearchSpec, language: str) -> str:
    bounds = found.budget
    parts = [say(language, "search.budget.percent", share=numbers.percent(bounds.percent)) if bounds.percent is not None else "",
             say(language, "search.budget.weights", n=numbers.weights(bounds.weights)) if bounds.weights is not None else "",
             numbers.memory(bounds.memory) if bounds.memory is not None else ""]  # fmt: skip
    return " · ".join(filter(None, parts)) or say(language, "search.budget.none")


def state_of(record: SearchRecord) -> str:
    """running, interrupted, stopped or ended."""
    return str(searching.summary(record)["state"])


def verdict(record: SearchRecord, state: str, language: str) -> str:
    """What it has found so far, in sentences."""
    word = lambda key, **values: esc(say(language, key, **values))  # noqa: E731
    found = record.search()
    title = (found.title_zh if language == "zh" else found.title) or record.name
    trained, over = len([trial for trial in record.trials if trial.value is not None]), len([trial for trial in record.trials if trial.state == OVER])
    head = (f"<h3>{esc(title)} <span class='lab-state {_badge(state)}' data-state='{esc(state)}'>{word('search.state.' + state)}</span></h3>"
            f"<p class='lab-muted'>{word('search.phase.' + record.phase)} {word('search.so.far', trained=trained, all=found.trials, over=over, refused=sum(record.refused.values()))} "
            f"{duration(language, record.seconds)}</p>")  # fmt: skip
    sentences = [refused(language, one) for one in record.verdict.get("sentences") or ()]
    noise = bool(record.verdict.get("noise")) and record.phase == DONE
    answer = "".join(f"<p class='{'lab-note' if noise and place == len(sentences) - 1 else 'lab-told'}'>{esc(one)}</p>" for place, one in enumerate(sentences))
    note = f"<p class='lab-muted'>{esc(refused(language, record.note))}</p>" if record.note else ""
    runs = [one.run for number in record.chosen for one in record.trials[number].finals.values()]
    link = f"<p class='lab-muted'><a href='compare?runs={','.join(runs[:50])}'>{word('search.compare')}</a></p>" if runs else ""
    return head + answer + note + link


def _badge(state: str) -> str:
    return {"ended": "succeeded", "stopped": "cancelled"}.get(state, state)


def charts(record: SearchRecord) -> dict[str, Any] | None:
    """The metric against each cost, with the front of what no other beats; None before there are two designs."""
    judged = [trial for trial in record.trials if trial.standing[0] is not None]
    drawn = []
    for name, cost_of, reads, unit in COSTS:
        points = [{"id": str(trial.number), "label": f"{trial.number} · {trial.label}", "colour": _colour(trial, record),
                   "x": cost, "y": trial.standing[0]} for trial in judged if (cost := cost_of(trial)) and math.isfinite(cost)]  # fmt: skip
        if len(points) > 1:
            best = front([(point["x"], point["y"]) for point in points], record.greater)
            drawn.append({"id": f"pareto_{name}", "scatter": True, "wide": 4, "reads": f".3~{reads}", "metric": record.metric, "unit": unit, "points": points,
                          **({"words": "chart.pareto.planned", "cost": "search.memory"} if name == "peak_bytes" else {}),
                          "front": [list(point) for point in best], "papers": [], "traces": []})  # fmt: skip
    return {"key": record.name, "along": "step", "charts": drawn, "grouped": False} if drawn else None


def _colour(trial: Trial, record: SearchRecord) -> str:
    """Of a design on the charts and in the table: those of the last rung, presets, the others."""
    return COLOURS["chosen" if trial.number in record.chosen else trial.origin]


def trials(record: SearchRecord, language: str) -> str:
    """The table of trials, the best first and those over the budget last."""
    if not record.trials:
        return empty(language, "search.empty")
    word = lambda key, **values: esc(say(language, key, **values))  # noqa: E731
    sign = -1.0 if record.greater else 1.0
    rows = sorted(record.trials, key=lambda one: (one.state == OVER, one.number not in record.chosen, -one.step, sign * (one.standing[0] or 0.0), one.number))
    metric = esc(metric_name(language, record.metric))
    heads = "".join(f"<th scope='col'{css}>{text}</th>" for text, css in (
        (word("search.trial"), ""), (word("search.design"), ""), (word("search.state"), ""), (word("library.share"), " class='right'"), (word("search.memory"), " class='right'"),
        (word("search.step"), " class='right'"), (metric, " class='right'")))  # fmt: skip
    body = "".join(_row(trial, record, language) for trial in rows)
    missed = "".join(f"<li>{esc(refused(language, sentence))} ×{count}</li>" for sentence, count in sorted(record.refused.items(), key=lambda one: -one[1]))
    more = (
        f"<details><summary>{word('search.refused', n=sum(record.refused.values()))}</summary><ul class='lab-refused'>{missed}</ul></details>" if missed else ""
    )
    return f"<h3>{word('search.trials')}</h3><div class='lab-scroll'><table class='lab-table lab-trials'><thead><tr>{heads}</tr></thead><tbody>{body}</tbody></table></div>{more}"


def _row(trial: Trial, record: SearchRecord, language: str) -> str:
    runs = [one.run for one in (*trial.tests.values(), *trial.finals.values(), *reversed(trial.rungs))]
    label = f"<a href='runs?run={runs[0]}'>{esc(trial.label)}</a>" if runs else esc(trial.label)
    mark = f" <small>{esc(say(language, 'search.preset'))}</small>" if trial.origin == PRESET else ""
    star = f" <span class='star' title='{esc(say(language, 'search.winner'))}'>★</span>" if trial.number == record.verdict.get("better") else ""
    value, step, _ = trial.standing
    dot = f"<span class='lab-dot' style='background:{_colour(trial, record)}'></span>" if value is not None else ""
    seeds = f" <small>n={len(trial.finals)}</small>" if trial.final is not None else ""
    reason = f"<small class='lab-why'>{esc(refused(language, trial.reason))}</small>" if trial.reason else ""
    css = "over" if trial.state == OVER else "chosen" if trial.number in record.chosen else ""
    return (f"<tr class='{css}' data-trial='{trial.number}' data-state='{trial.state}'><td>{trial.number}</td><th scope='row'>{dot}{label}{mark}{star}{reason}</th>"
            f"<td>{esc(say(language, 'search.trial.' + trial.state))}</td><td class='right'>{percent(trial.percent)}</td><td class='right'>{memory(trial.memory)}</td>"
            f"<td class='right'>{step or ''}</td><td class='right'>{number(value)}{seeds}</td></tr>")  # fmt: skip


def matters(record: SearchRecord, language: str) -> str:
    """Which options mattered, as bars."""
    title = f"<h3>{esc(say(language, 'search.matters'))}</h3>"
    if not record.importance:
        return title + f"<p class='lab-muted'>{esc(say(language, 'search.matters.none'))}</p>"
    bars = "".join(f"<tr><th scope='row'><code>{esc(path)}</code></th><td><i style='width:{100 * share:.1f}%'></i></td><td class='right'>{numbers.percent(100 * share)}</td></tr>"
                   for path, share in sorted(record.importance.items(), key=lambda one: -one[1]))  # fmt: skip
    conditional = any(axis.when for axis in _spec(record).space.values())
    note = say(language, "search.matters.help", step=_spec(record).ladder[0]) + (" " + say(language, "search.matters.some") if conditional else "")
    return f"{title}<table class='lab-table lab-matters'>{bars}</table><p class='lab-muted'>{esc(note)}</p>"


def _spec(record: SearchRecord) -> SearchSpec:
    return record.search()


def may(record: SearchRecord, state: str) -> dict[str, bool]:
    """What can be done with a search now."""
    over = record.phase == DONE
    return {"halt": state in ("running", "interrupted") and not over, "go_on": state in ("stopped", "interrupted") and not over}
