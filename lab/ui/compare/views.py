"""Runs side by side as tables: what came out, with the best marked, and the settings in which they differ."""

from __future__ import annotations

from typing import Any

from lab import origins
from lab.design.plain import numbers
from lab.design.plain.options import fields
from lab.design.spec.run import Origins
from lab.results import compare, examples, facts, groups
from lab.results.labels import labels, labels_of
from lab.runs import Run
from lab.ui.shell import run_facts, verdicts
from lab.ui.shell.markup import duration, empty, energy, esc, memory, number, percent, state_badge, weights
from lab.ui.shell.run_styles import RunStyle, run_styles, style_mark
from lab.ui.words.table import TABLE, metric_name, say

SENTENCES = 8  # before the others are folded


def _names(found: list[Run]) -> list[str]:
    """A link for each run: how it is drawn, and its name with what tells it from the others first."""
    named, styles = labels_of(found), run_styles([run.number for run in found])
    return [_linked(style, run.name or run.id, named[run.id], f"runs?run={run.id}") for run, style in zip(found, styles, strict=True)]


def _linked(style: RunStyle, whole: str, name: str, link: str) -> str:
    return f'<a href="{esc(link)}" class="lab-run-name" title="{esc(whole)}">{style_mark(style)}<span>{esc(name)}</span></a>'


def _written(runs: list[Run], language: str) -> dict[str, tuple[str, Any]]:
    """(the key of a cost's heading, how it is written)."""
    estimated = any(run.result["energy"].get("modelled", True) for run in runs if facts.joules(run))
    return {"trainable": ("chart.trainable", lambda value: weights(int(value))), "percent": ("fact.share", percent), "peak_bytes": (f"fact.peak.{facts.peak_kind(runs)}", memory),
            "seconds": ("fact.time", lambda seconds: duration(language, seconds)), "tokens_per_second": ("fact.speed", lambda value: f"{esc(numbers.number(value, 3))} tok/s"),
            "joules": ("fact.energy.estimated" if estimated else "fact.energy", energy), "pscp": ("answers.pscp", number)}  # fmt: skip


def nothing(language: str, counts: dict[str, int]) -> str:
    """What stands there before runs are picked: what to do, and a button that does it. `counts`: runs by state."""
    if not sum(counts.values()):
        return empty(language, "runs.empty")
    button = f'<button type="button" class="lab-cta" data-emit="pick-newest">{esc(say(language, "compare.pick.newest"))}</button>'
    return f'<div class="lab-empty"><p>{esc(say(language, "compare.empty"))}</p>{button if counts["succeeded"] > 1 else ""}</div>'


def results(found: list[Run], language: str, by_seeds: bool = True, baseline: str = "") -> str:
    """The table of results, a row for each setting over its seeds (`by_seeds`) or for each run: what judges them with stars, what they cost, other metrics."""
    tested = tests(found, by_seeds)
    groups, names, written = tested.groups, label(tested.groups), _written(found, language)
    columns = compare.columns(groups)
    place = _pinned(groups, baseline)
    heads = "".join(f"<th scope='col' class='right'{_help(column.name, language)}>{_sorter(_heading(written.get(column.name, (column.name,))[0], language), index + 3)}</th>"
                    for index, column in enumerate(columns))  # fmt: skip
    judging, marks = compare.metric_of(found), list(labels({str(place): name for place, name in enumerate(names)}).values())
    styles = run_styles([group.runs[0].number for group in groups])
    rows = []
    for index, group in enumerate(groups):
        cells = "".join(
            _cell(column, index, place, written, index in tested.stars and judging is not None and column.name == judging.name, language) for column in columns
        )
        rows.append(f"<tr{' class=pinned' if index == place else ''}><th scope='row'>{_row_name(group, styles[index], (names[index], marks[index]), index == place, language)}</th><td>{_states(group, language)}</td>"
                    f"<td class='right' data-value='{len(group.by_seed)}'>{len(group.by_seed) or numbers.UNKNOWN}</td>{cells}</tr>")  # fmt: skip
    aside = any(value is not None for column in columns for value in column.aside)
    notes = [verdicts.stars(tested, language)] + ([say(language, "answers.none")] if aside else [])
    titles = "".join(
        f"<th scope='col'>{_sorter(say(language, key), index)}</th>" for index, key in enumerate(("compare.run", "compare.state", "answers.seeds"))
    )
    return (f'<h3>{esc(say(language, "compare.results"))}</h3><div class="lab-scroll" tabindex="0" role="region" aria-label="{esc(say(language, "compare.results"))}"><table class="lab-table lab-results"><thead><tr>'
            f'{titles}{heads}</tr></thead><tbody>{"".join(rows)}</tbody></table></div>{"".join(f"<p class=lab-muted>{esc(note)}</p>" for note in notes)}{run_facts.apart(found, language)}')  # fmt: skip


def tests(found: list[Run], by_seeds: bool = True) -> groups.Tested:
    """The groups of some runs, or each run by itself, with the tests between them."""
    return groups.tested(groups.grouped(found) if by_seeds else groups.alone(found))


def label(found: list[groups.Group]) -> list[str]:
    """What the groups are called."""
    return groups.names(found)


def answers(found: list[Run], language: str, baseline: str = "") -> str:
    """Which differences are real: a sentence for each setting against the baseline, or the best one; by seeds, and by rows where they were kept."""
    tested = tests(found)
    names, place = label(tested.groups), _pinned(tested.groups, baseline)
    place = tested.best() if place is None else place
    found_out = verdicts.lines(tested, names, language, place)
    if place is None or not found_out:
        return ""
    by_rows = [verdicts.by_rows(tested, each, place, other, names, language) for other, each in examples.differences(tested.groups, place).items()]
    rows = (
        f'<h4 title="{esc(say(language, "answers.rows.help"))}">{esc(say(language, "answers.rows.title"))}</h4>{_sentences(by_rows, language)}'
        if by_rows
        else ""
    )
    return (f'<h3>{esc(say(language, "answers.title"))}</h3>{_sentences(found_out, language)}<p class="lab-muted">{esc(verdicts.by_which_test(tested, language))}</p>{rows}'
            + (f'<p class="lab-muted">{esc(say(language, "answers.rows.help"))}</p>' if by_rows else ""))  # fmt: skip


def _sentences(sentences: list[str], language: str) -> str:
    first, rest = sentences[:SENTENCES], sentences[SENTENCES:]
    items = lambda some: "".join(f"<li>{esc(one)}</li>" for one in some)  # noqa: E731
    more = f'<details><summary>{esc(say(language, "answers.more", n=len(rest)))}</summary><ul class="lab-verdicts">{items(rest)}</ul></details>' if rest else ""
    return f'<ul class="lab-verdicts">{items(first)}</ul>{more}'


def _pinned(found: list[groups.Group], baseline: str) -> int | None:
    """The place of the group that a run is in."""
    return next((place for place, group in enumerate(found) if baseline and any(run.id == baseline for run in group.runs)), None)


def _row_name(group: groups.Group, style: RunStyle, name: tuple[str, str], pinned: bool, language: str) -> str:
    link = f"runs?run={group.runs[0].id}" if len(group.runs) == 1 else "compare?group=no&runs=" + ",".join(run.id for run in group.runs)
    pin = f'<button type="button" class="lab-pin" data-pin="{group.runs[0].id}" aria-pressed="{str(pinned).lower()}" title="{esc(say(language, "answers.baseline.help"))}">{esc(say(language, "answers.baseline.pin"))}</button>'
    return _linked(style, *name, link) + pin


def _states(group: groups.Group, language: str) -> str:
    return " ".join(state_badge(state, language) for state in dict.fromkeys(run.state for run in group.runs))


def _help(name: str, language: str) -> str:
    return f' title="{esc(say(language, "answers.pscp.help"))}"' if name == "pscp" else ""


def _sorter(text: str, column: int) -> str:
    return f'<button type="button" data-sort="{column}">{esc(text)}</button>'


def _heading(key: str, language: str) -> str:
    return say(language, key) if key in TABLE else metric_name(language, key)


def _cell(column: compare.NumberColumn, index: int, baseline: int | None, written: dict[str, tuple[str, Any]], star: bool, language: str) -> str:
    write = written.get(column.name, ("", number))[1]
    value, spread, aside = column.means[index], column.deviations[index], column.aside[index]
    if value is None:
        return f"<td class='right lab-aside'>{'(' + write(aside) + ')' if aside is not None else numbers.UNKNOWN}</td>"
    marked = f' <span class="star" title="{esc(say(language, "compare.best"))}">★</span>' if star else ""
    around = f" <small>± {esc(_spread(column.name, spread))}</small>" if spread or (spread == 0 and column.name not in compare.COSTS) else ""
    apart = ""
    delta = value - column.means[baseline] if baseline is not None and column.means[baseline] is not None else 0.0
    if delta:
        good = " up" if (delta > 0) == column.greater else " down"
        apart = f"<small class='lab-delta{good}'>{esc(_signed(column.name, delta))}</small>"
    return f"<td class='right{' best' if star else ''}' data-value='{value!r}'>{write(value)}{around}{marked}{apart}</td>"


def _spread(name: str, value: float) -> str:
    writers = {"peak_bytes": numbers.memory, "seconds": numbers.duration, "joules": numbers.energy, "percent": numbers.percent}
    return writers[name](value) if name in writers else numbers.number(value, 2)


def _signed(name: str, delta: float) -> str:
    text = numbers.weights(abs(delta)) if name == "trainable" else _spread(name, abs(delta)) if name in compare.COSTS else numbers.number(abs(delta), 3)
    return ("+" if delta > 0 else "−") + text


def settings(found: list[Run], language: str, everything: bool = False) -> str:
    """The table of settings, one row per setting: those that differ, or all."""
    title = f"<h3>{esc(say(language, 'compare.settings.all' if everything else 'compare.settings'))}</h3>"
    rows = compare.settings(found, everything)
    if len(found) < 2 or not rows:
        return title + unlike(found, language) + f'<p class="lab-muted">{esc(say(language, "compare.same"))}</p>'
    heads = "".join(f"<th scope='col'>{name}</th>" for name in _names(found))
    body = "".join(
        f"<tr><th scope='row'><code>{esc(path)}</code></th>" + "".join(f"<td>{esc(_setting(value))}</td>" for value in values) + "</tr>"
        for path, values in rows.items()
    )
    return f'{title}{unlike(found, language)}<div class="lab-scroll"><table class="lab-table lab-differences"><thead><tr><td></td>{heads}</tr></thead><tbody>{body}</tbody></table></div>'


def unlike(found: list[Run], language: str) -> str:
    """A warning where runs that name one task or model were not made from the same data or weights."""
    parts = origins.unlike([run.spec for run in found])
    if not parts:
        return ""
    names = {field.path: field.zh if language == "zh" and field.zh else field.label for field in fields(Origins)}
    joined = ("、" if language == "zh" else ", ").join(names[part] for part in parts)
    return f'<p class="lab-said wrong" role="note">{esc(say(language, "compare.unlike", parts=joined))}</p>'


def _setting(value: Any) -> str:
    if value is None:
        return numbers.UNKNOWN
    return ", ".join(map(str, value)) if isinstance(value, list) else numbers.number(value) if isinstance(value, float) else str(value)
