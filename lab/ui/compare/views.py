"""Runs side by side as tables: what came out, with the best marked, and the settings in which they differ."""

from __future__ import annotations

from typing import Any

from lab import origins
from lab.design.plain import numbers
from lab.design.plain.options import fields
from lab.design.spec.run import Origins
from lab.results import compare
from lab.runs import Run
from lab.ui.shell import run_facts
from lab.ui.shell.markup import duration, empty, energy, esc, memory, number, percent, state_badge, weights
from lab.ui.words.table import TABLE, metric_name, say


def _name(run: Run) -> str:
    return f'<a href="runs?run={run.id}" class="lab-run-name"><span class="lab-dot" style="background:{run_facts.colour(run)}"></span>{esc(run.name or run.id)}</a>'


def _columns(found: list[Run]) -> list[tuple[compare.ResultColumn, str, Any]]:
    """(column, the key of its heading or its metric, how it is written)."""
    written = {"trainable": ("chart.trainable", lambda value: weights(int(value))), "percent": ("fact.share", percent), "peak_bytes": ("fact.peak", memory),
             "seconds": ("fact.time", duration)}  # fmt: skip
    columns = [(column, *written.get(column.name, (column.name, number))) for column in compare.columns(found)]
    used = [run.result.get("energy") if isinstance(run.result.get("energy"), dict) else {} for run in found]
    joules = [float(one["joules"]) if isinstance(one.get("joules"), (int, float)) else None for one in used]
    if any(value is not None for value in joules):
        estimated = any(one.get("modelled", True) for one in used if one.get("joules"))
        columns.append((compare.ResultColumn("energy", joules, False), "fact.energy.estimated" if estimated else "fact.energy", energy))
    return columns


def nothing(language: str, counts: dict[str, int]) -> str:
    """What stands there before runs are picked: what to do, and a button that does it. `counts`: runs by state."""
    if not sum(counts.values()):
        return empty(language, "runs.empty")
    button = f'<button type="button" class="lab-cta" data-emit="pick-newest">{esc(say(language, "compare.pick.newest"))}</button>'
    return f'<div class="lab-empty"><p>{esc(say(language, "compare.empty"))}</p>{button if counts["succeeded"] > 1 else ""}</div>'


def results(found: list[Run], language: str) -> str:
    """The table of results: best values of each run, the best of a column with a star."""
    columns = _columns(found)
    heads = "".join(f"<th scope='col' class='right'>{_sorter(_heading(key, language), index + 2)}</th>" for index, (_, key, _) in enumerate(columns))
    marks = [column.best(found) for column, *_ in columns]
    rows = []
    for index, run in enumerate(found):
        cells = "".join(_cell(column.values[index], format, index in mark, language) for (column, _, format), mark in zip(columns, marks, strict=True))
        rows.append(f"<tr><th scope='row'>{_name(run)}</th><td>{state_badge(run.state, language)}</td>{cells}</tr>")
    return (f'<h3>{esc(say(language, "compare.results"))}</h3><div class="lab-scroll"><table class="lab-table lab-results"><thead><tr><th scope="col">'
            f'{_sorter(say(language, "compare.run"), 0)}</th><th scope="col">{_sorter(say(language, "compare.state"), 1)}</th>{heads}</tr></thead><tbody>{"".join(rows)}</tbody></table></div>{run_facts.apart(found, language)}')  # fmt: skip


def _sorter(text: str, column: int) -> str:
    return f'<button type="button" data-sort="{column}">{esc(text)}</button>'


def _heading(key: str, language: str) -> str:
    return say(language, key) if key in TABLE else metric_name(language, key)


def _cell(value: float | None, format: Any, best: bool, language: str) -> str:
    if value is None:
        return f"<td class='right'>{numbers.UNKNOWN}</td>"
    star = f' <span class="star" title="{esc(say(language, "compare.best"))}">★</span>' if best else ""
    return f"<td class='right{' best' if best else ''}' data-value='{value!r}'>{format(value)}{star}</td>"


def settings(found: list[Run], language: str, everything: bool = False) -> str:
    """The table of settings, one row per setting: those that differ, or all."""
    title = f"<h3>{esc(say(language, 'compare.settings.all' if everything else 'compare.settings'))}</h3>"
    rows = compare.settings(found, everything)
    if len(found) < 2 or not rows:
        return title + unlike(found, language) + f'<p class="lab-muted">{esc(say(language, "compare.same"))}</p>'
    heads = "".join(f"<th scope='col'>{_name(run)}</th>" for run in found)
    body = "".join(
        f"<tr><th scope='row'><code>{esc(path)}</code></th>" + "".join(f"<td>{esc(_setting(value))}</td>" for value in values) + "</tr>"
        for path, values in rows.items()
    )
    return f'{title}{unlike(found, language)}<div class="lab-scroll"><table class="lab-table lab-differences"><thead><tr><th></th>{heads}</tr></thead><tbody>{body}</tbody></table></div>'


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
