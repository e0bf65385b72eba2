"""Parallel coordinates of several runs: an axis for each setting that varies and for each outcome, a line for each run.

Everything that a drawing needs is decided here; compare/parallel.js draws it to be brushed, `drawing` draws it for the report.
"""

from __future__ import annotations

import math
from typing import Any

from lab.design.plain import numbers
from lab.results import compare, facts
from lab.results.labels import labels_of
from lab.runs import Run
from lab.ui.shell.markup import esc
from lab.ui.shell.run_styles import dash_attribute, run_styles
from lab.ui.words.settings import setting_name
from lab.ui.words.table import metric_name, say, time_units

OUTCOMES = (
    ("trainable", "chart.trainable", ""),
    ("peak_bytes", "", "B"),
    ("seconds", "fact.time", " s"),
)  # of a result, its words ("": as `facts.peak_kind` says), its unit
MOST_AXES = 8  # of settings
MOST_TICKS = 5
NEAREST = 0.055  # of an axis: ticks that stand nearer would be written over each other
TOP, TALL, LOW, SIDE, APART, LETTERS = 46, 260, 22, 112, 124, 16
HALO = 'paint-order="stroke" stroke="#fff" stroke-width="5" stroke-linejoin="round"'  # so that no line crosses a value out


def parallel(runs: list[Run], language: str) -> dict[str, Any]:
    """{"axes": [settings that vary, then outcomes], "lines": [{"id", "label", "colour", "dash"}], "left": what has no axis, as a sentence}, in the runs' order.

    An axis has {"id", "title", "good": "low", "high" or "", "at": where each run stands, 0 at the bottom to 1 at the top,
    "shown": its value as text, "ticks": [[at, text, exact text]]}; None and – where a run has no value. A number's axis is
    logarithmic where its values span a factor of 20 or more. No axis (but that of the metric) has what is the same for all runs, or a setting that tells runs apart as another one does.
    """
    chosen, left = _telling(compare.varying(runs), language)
    axes = [_axis(path, setting_name(language, path).removeprefix("training."), values) for path, values in chosen.items()]
    for field, words, unit in OUTCOMES:
        title = say(language, words or f"fact.peak.{facts.peak_kind(runs)}")
        axes.append(_axis(field, title, [facts.COST[field](run) if facts.counts(run) else None for run in runs], unit, "low"))
    metric = compare.metric_of(runs)
    if metric is not None:
        axes.append(_axis("metric", metric_name(language, metric.name), compare.scores(runs, metric), "", "high" if metric.greater else "low"))
    for axis in axes:
        if axis["id"] == "seconds":
            axis["shown"] = [time_units(language, text) for text in axis["shown"]]
            axis["ticks"] = [[at, time_units(language, text), exact] for at, text, exact in axis["ticks"]]
    there = [axis for axis in axes if any(at is not None for at in axis["at"])]
    constant = [
        axis for axis in there if axis["id"] != "metric" and len({text for at, text in zip(axis["at"], axis["shown"], strict=True) if at is not None}) < 2
    ]
    alike = [f"{axis['title']} {next(text for at, text in zip(axis['at'], axis['shown'], strict=True) if at is not None)}" for axis in constant]
    words = [
        say(language, key, names=("、" if language == "zh" else ", ").join(some))
        for key, some in (("compare.parallel.same", alike), ("compare.parallel.left", left))
        if some
    ]
    labels, styles = labels_of(runs), run_styles([run.number for run in runs])
    lines = [{"id": run.id, "label": labels[run.id], "colour": style.colour, "dash": style.dash} for run, style in zip(runs, styles, strict=True)]
    return {"axes": [axis for axis in there if axis not in constant], "lines": lines, "left": " ".join(words)}


def _telling(varying: dict[str, list[Any]], language: str) -> tuple[dict[str, list[Any]], list[str]]:
    """(settings for an axis, the names of the others): of those that tell the runs apart in the same way the first one."""
    chosen: dict[str, list[Any]] = {}
    seen, left = set(), []
    for path, values in varying.items():
        words = [_words(value) for value in values]
        pattern = tuple(words.index(word) for word in words)
        if pattern in seen or len(chosen) == MOST_AXES:
            left.append(setting_name(language, path).removeprefix("training."))
        else:
            chosen[path] = values
            seen.add(pattern)
    return chosen, left


def _axis(name: str, title: str, values: list[Any], unit: str = "", good: str = "") -> dict[str, Any]:
    about = {"id": name, "title": title, "good": good}
    present = [value for value in values if value is not None]
    if all(isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value) for value in present):
        return {**about, **_numbers(values, sorted(set(present)), unit, whole=name == "seed")}
    words = [_words(value) for value in values]
    choices = list(dict.fromkeys(words))
    place = {word: index / (len(choices) - 1) if len(choices) > 1 else 0.5 for index, word in enumerate(choices)}
    return {**about, "at": [place[word] for word in words], "shown": words, "ticks": [[place[word], word, word] for word in choices]}


def _numbers(values: list[Any], present: list[float], unit: str, whole: bool) -> dict[str, Any]:
    log = bool(present) and present[0] > 0 and present[-1] >= 20 * present[0]
    at = math.log10 if log else float
    low, wide = (at(present[0]), at(present[-1]) - at(present[0])) if present else (0.0, 0.0)
    place = lambda value: (at(value) - low) / wide if wide else 0.5  # noqa: E731
    marks = present
    if len(present) > MOST_TICKS:
        marks = [10 ** (low + share * wide) if log else low + share * wide for share in (0, 0.25, 0.5, 0.75, 1)]
    texts = _apart(sorted({*present, *marks}), unit, whole)
    ticks = _spread([[place(mark), texts[mark], numbers.number(mark, 6)] for mark in marks])
    return {"at": [None if value is None else place(value) for value in values],
            "shown": [numbers.UNKNOWN if value is None else texts[value] for value in values], "ticks": ticks}  # fmt: skip


def _apart(values: list[float], unit: str, whole: bool) -> dict[float, str]:
    """Each value as text, with as many digits as it takes to tell different values apart."""
    show = {"B": numbers.memory, " s": lambda value, digits: numbers.duration(value)}.get(unit, (lambda value, digits: str(value)) if whole else numbers.number)
    for digits in (3, 4, 5, 6):
        texts = {value: show(value, digits) for value in values}
        if len(set(texts.values())) == len(values):
            break
    return texts


def _spread(ticks: list[list[Any]]) -> list[list[Any]]:
    """The ticks that can be written below each other: the lowest, and of the others those that leave room, the highest among them."""
    kept = ticks[:1]
    for tick in ticks[1:]:
        if tick[0] - kept[-1][0] >= NEAREST:
            kept.append(tick)
        elif tick is ticks[-1] and len(kept) > 1:
            kept[-1] = tick
    return kept


def _words(value: Any) -> str:
    return numbers.UNKNOWN if value is None else ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def drawing(value: dict[str, Any], tints: list[str], language: str) -> str:
    """The lines as one still SVG, "" where there are not two runs and two axes to draw. `tints`: a colour per line."""
    axes, lines = value["axes"], value["lines"]
    if len(axes) < 2 or len(lines) < 2:
        return ""
    wide = 2 * SIDE + (len(axes) - 1) * APART
    across = lambda index: SIDE + index * APART  # noqa: E731
    down = lambda share: TOP + (1 - share) * TALL  # noqa: E731
    parts = []
    for index, (line, tint) in enumerate(zip(lines, tints, strict=True)):
        path, open_ = "", False
        for place, axis in enumerate(axes):
            at = axis["at"][index]
            path += "" if at is None else f"{'L' if open_ else 'M'}{across(place)} {down(at):.1f}{'' if open_ else 'h0'}"
            open_ = at is not None
        about = "\n".join([line["label"], *(f"{axis['title']}: {axis['shown'][index]}" for axis in axes)])
        parts.append(
            f'<path d="{path}" fill="none" stroke="{tint}" stroke-width="1.8" stroke-opacity="0.8" stroke-linejoin="round" stroke-linecap="round"{dash_attribute(line["dash"])}><title>{esc(about)}</title></path>'
        )
    for place, axis in enumerate(axes):
        x = across(place)
        parts.append(f'<line x1="{x}" x2="{x}" y1="{TOP}" y2="{TOP + TALL}" stroke="{"#c2571a" if axis["good"] else "#64748b"}"/>'
                     f'<text x="{x}" y="16" text-anchor="middle">{esc(_clipped(axis["title"]))}<title>{esc(axis["title"])}</title></text>')  # fmt: skip
        parts.append(f'<text x="{x}" y="31" text-anchor="middle">{esc(say(language, "compare.good." + axis["good"]))}</text>' if axis["good"] else "")
        beside = f'x="{x + 7}"' if place else f'x="{x - 7}" text-anchor="end"'  # on the side of the first axis where no lines are
        parts += [f'<text {beside} {HALO} y="{down(at) + 4:.1f}">{esc(_clipped(text))}<title>{esc(exact)}</title></text>' for at, text, exact in axis["ticks"]]
    return f'<svg viewBox="0 0 {wide} {TOP + TALL + LOW}" width="{wide}" height="{TOP + TALL + LOW}">{"".join(parts)}</svg>'


def _clipped(text: str) -> str:
    return text if len(text) <= LETTERS else text[: LETTERS - 1] + "…"
