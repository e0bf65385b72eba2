"""A look inside a run as cards: tables of layers and projections, a curve of singular values, confusion, and rows to read."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from lab.design.plain import numbers
from lab.results.facts import method_of, model_of, task_of
from lab.runs import Run, default
from lab.ui.shell import run_facts
from lab.ui.shell.markup import esc
from lab.ui.words.refusals import refused
from lab.ui.words.table import say

LISTED = 200
WIDE, HIGH = 320, 150  # of a curve
MEASURES = ("relative", "effective_rank", "alignment", "intruders")


def rows() -> list[dict[str, Any]]:
    """The runs that have an adapter, newest first."""
    found = [
        {"id": run.id, "name": run.name or run.id, "colour": run_facts.colour(run), "model": model_of(run), "task": task_of(run), "method": method_of(run)}
        for run in default().store.list(limit=LISTED)
        if run.state != "queued" and run_facts.has_adapter(run)
    ]
    return run_facts.labelled(found)


def look(found: dict[str, Any], language: str) -> str:
    """All cards of one run."""
    notes = "".join(f'<p class="lab-said" role="note">{esc(refused(language, note))}</p>' for note in found["notes"])
    parts = [notes, _weights(found["weights"], language), _layers(found, language), _slots(found["slots"], language), _readings(found["readings"], language),
             _lens(found["lens"], language), _answers(found["answers"], language)]  # fmt: skip
    return f'<div class="lab-in">{"".join(parts)}</div>'


def differing(one: Run, other: Run, found: dict[str, Any], language: str) -> str:
    """The rows on which two runs answer differently."""
    names = {"one": one.name or one.id, "other": other.name or other.id}
    sentence = say(language, "inside.differ.told", rows=f"{found['rows']:,}", first=f"{found['one_right']:,}", second=f"{found['other_right']:,}", **names)
    table = _rows_table([say(language, "inside.text"), say(language, "inside.right"), names["one"], names["other"]],
                        [[row["text"], row["reference"], _answer(row["one"], row["one_chance"]), _answer(row["other"], row["other_chance"])] for row in found["differ"]])  # fmt: skip
    return _card("inside.differ", f"<p>{esc(sentence)}</p>{_filtered(table, language) if found['differ'] else ''}", language)


def _answer(answer: Any, chance: float | None) -> str:
    return str(answer) + (f" ({100 * chance:.0f} %)" if chance is not None else "")


def _card(key: str, body: str, language: str, help: str = "") -> str:
    about = f'<p class="lab-muted">{esc(say(language, help))}</p>' if help else ""
    return f'<section class="lab-card lab-in-card"><h3>{esc(say(language, key))}</h3>{about}{body}</section>'


# -- weights -----------------------------------------------------------------------------------------------------------------------


def _weights(found: list[dict[str, Any]], language: str) -> str:
    if not found:
        return _card("inside.weights", f"<p>{esc(say(language, 'inside.weights.none'))}</p>", language)
    columns = list(dict.fromkeys((f"{one['stack']} " if one["stack"] == "cross" else "") + one["representation"] for one in found))
    stacks = sorted({"decoder" if one["stack"] == "cross" else one["stack"] for one in found})
    layers = sorted({("decoder" if one["stack"] == "cross" else one["stack"], one["layer"]) for one in found})
    cells = {
        (
            "decoder" if one["stack"] == "cross" else one["stack"],
            one["layer"],
            (f"{one['stack']} " if one["stack"] == "cross" else "") + one["representation"],
        ): one
        for one in found
    }
    tables = "".join(
        f'<figure class="lab-in-figure"><figcaption><b>{esc(say(language, f"inside.{measure}"))}</b> <span class="lab-muted">{esc(say(language, f"inside.{measure}.help"))}</span></figcaption>'
        + _heat(
            columns,
            [(f"{stack} {layer}" if len(stacks) > 1 else str(layer), [cells.get((stack, layer, column)) for column in columns]) for stack, layer in layers],
            measure,
        )
        + "</figure>"
        for measure in MEASURES
    )
    largest = max(found, key=lambda one: one["relative"])
    where = f"{largest['stack']}.{largest['layer']}.{largest['representation']}"
    curve = f'<figure class="lab-in-figure"><figcaption><b>{esc(say(language, "inside.spectrum", where=where))}</b> <span class="lab-muted">{esc(say(language, "inside.spectrum.help"))}</span></figcaption>{_curve(largest, language)}</figure>'
    return _card("inside.weights", f'<div class="lab-in-grid">{tables}{curve}</div>', language, "inside.weights.help")


def _heat(columns: Sequence[str], lines: Sequence[tuple[str, Sequence[Any]]], measure: str) -> str:
    """A table of one measure, its cells the darker the larger their number; what it stands for by chance is on hover."""
    values = [one[measure] for _, cells in lines for one in cells if one is not None and one[measure] is not None]
    most = max(values, default=0) or 1

    def cell(one: Any) -> str:
        if one is None or one[measure] is None:
            return '<td class="lab-in-none">–</td>'
        value = one[measure]
        words = f"{value} / {one['of']}" if measure == "intruders" else f"{100 * value:.2g} %" if measure in ("relative", "alignment") else f"{value:.3g}"
        hint = f"by chance {100 * one['by_chance']:.2g} %" if measure == "alignment" else repr(value)
        return f'<td style="--share:{value / most:.3f}" title="{esc(hint)}">{esc(words)}</td>'

    return _table(columns, [(name, "".join(cell(one) for one in cells)) for name, cells in lines])


def _table(columns: Sequence[str], lines: Sequence[tuple[str, str]]) -> str:
    head = "".join(f'<th scope="col">{esc(column)}</th>' for column in columns)
    body = "".join(f'<tr><th scope="row">{esc(name)}</th>{cells}</tr>' for name, cells in lines)
    return f'<div class="lab-in-scroll" tabindex="0"><table class="lab-in-heat"><thead><tr><td></td>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def _curve(one: dict[str, Any], language: str) -> str:
    """Singular values of ΔW and of W, on a logarithmic axis."""
    top = max(one["values_weight"][0], one["values"][0])
    floor = min(value for value in (*one["values"], *one["values_weight"]) if value >= top * 1e-4)

    def line(values: Sequence[float], css: str) -> str:
        points = [(index, value) for index, value in enumerate(values) if value >= floor]
        step, span = WIDE / max(1, len(values) - 1), math.log(top / floor) or 1.0
        return f'<polyline class="{css}" points="{" ".join(f"{index * step:.1f},{HIGH * math.log(top / value) / span:.1f}" for index, value in points)}"/>'

    label = say(
        language,
        "inside.spectrum.alt",
        top=numbers.number(one["values"][0]),
        weight=numbers.number(one["values_weight"][0]),
        rank=f"{one['effective_rank']:.1f}",
    )
    return (f'<svg class="lab-in-curve" role="img" aria-label="{esc(label)}" viewBox="-4 -6 {WIDE + 8} {HIGH + 12}">{line(one["values_weight"], "frozen")}{line(one["values"], "trained")}</svg>'
            f'<p class="lab-muted"><i class="lab-in-key frozen"></i> W <i class="lab-in-key trained"></i> ΔW · {esc(label)}</p>')  # fmt: skip


# -- layers, slots, readings ---------------------------------------------------------------------------------------------------------


def _layers(found: dict[str, Any], language: str) -> str:
    bars = "".join(
        f'<tr><th scope="row">{esc(one["stack"] + " " if one["stack"] != "layers" else "")}{one["layer"]}</th><td><span class="lab-share-bar"><i style="width:{100 * max(0.0, one["cka"]):.1f}%"></i></span></td>'
        f'<td class="right num">{one["cka"]:.3f}</td></tr>'
        for one in found["cka"]
        if one["cka"] is not None
    )
    sentence = say(language, "inside.cka.told", rows=f"{found['rows']:,}")
    return _card("inside.cka", f'<p class="lab-muted">{esc(sentence)}</p><table class="lab-labels"><tbody>{bars}</tbody></table>', language, "inside.cka.help")


def _slots(found: list[dict[str, Any]], language: str) -> str:
    if not found:
        return ""
    heads = max(len(one["heads"]) for one in found)
    most = max(max(one["heads"]) for one in found) or 1
    lines = [
        (f"{one['stack']} {one['layer']}", "".join(f'<td style="--share:{value / most:.3f}" title="{value!r}">{value:.2f}</td>' for value in one["heads"]))
        for one in found
    ]
    return _card("inside.slots", _table([str(head) for head in range(heads)], lines), language, "inside.slots.help")


def _readings(found: dict[str, float], language: str) -> str:
    if not found:
        return ""
    lines = "".join(f'<tr><th scope="row"><code>{esc(name)}</code></th><td class="right num" title="{value!r}">{esc(numbers.number(value))}</td></tr>'
                    for name, value in sorted(found.items()) if value is not None)  # fmt: skip
    body = f'<details><summary>{esc(say(language, "inside.readings.count", n=len(found)))}</summary><table class="lab-table"><tbody>{lines}</tbody></table></details>'
    return _card("inside.readings", body, language, "inside.readings.help")


def _lens(found: dict[str, Any] | None, language: str) -> str:
    if not found:
        return ""

    def words(layer: list[list[Any]]) -> str:
        return " ".join(f'<span class="lab-in-word" title="{100 * chance:.2g} %">{esc(word)}</span>' for word, chance in layer)

    lines = "".join(
        f'<tr><th scope="row">{number}</th><td>{words(on)}</td><td>{words(off)}</td></tr>'
        for number, (on, off) in enumerate(zip(found["on"], found["off"], strict=True))
    )
    head = "".join(f'<th scope="col">{esc(text)}</th>' for text in (say(language, "inside.layer"), say(language, "try.on"), say(language, "try.off.text")))
    body = f'<blockquote>{esc(found["text"])}</blockquote><div class="lab-in-scroll" tabindex="0"><table class="lab-table"><thead><tr>{head}</tr></thead><tbody>{lines}</tbody></table></div>'
    return _card("inside.lens", body, language, "inside.lens.help")


# -- answers -------------------------------------------------------------------------------------------------------------------------


def _answers(found: dict[str, Any] | None, language: str) -> str:
    if not found:
        return _card("inside.answers", f"<p>{esc(say(language, 'inside.answers.none'))}</p>", language)
    parts = [_confusion(found["confusion"], language)] if found["confusion"] else []
    for key in ("worst", "least_certain"):
        if found.get(key):
            parts.append(f"<details><summary>{esc(say(language, f'inside.{key}'))}</summary>{_filtered(_listed(found[key], language), language)}</details>")
    sentence = say(language, "inside.answers.told", rows=f"{found['judged']:,}")
    return _card("inside.answers", f'<p class="lab-muted">{esc(sentence)}</p>{"".join(parts)}', language)


def _confusion(found: dict[str, Any], language: str) -> str:
    labels = found["labels"]
    most = max(max(row) for row in found["counts"]) or 1
    lines = [(label, "".join(f'<td class="{"hit" if at == place else ""}" style="--share:{count / most:.3f}">{count:,}</td>' for at, count in enumerate(row)))
             for place, (label, row) in enumerate(zip(labels, found["counts"], strict=True))]  # fmt: skip
    share = lambda value: "–" if value is None else f"{value:.3f}"  # noqa: E731
    classes = "".join(f'<tr><th scope="row">{esc(one["label"])}</th><td class="right num">{share(one["precision"])}</td><td class="right num">{share(one["recall"])}</td><td class="right num">{share(one["f1"])}</td><td class="right num">{one["rows"]:,}</td></tr>'
                      for one in found["classes"])  # fmt: skip
    head = "".join(f'<th scope="col" class="right">{esc(text)}</th>' for text in ("precision", "recall", "F1", say(language, "inside.rows")))
    return (f'<p class="lab-muted">{esc(say(language, "inside.confusion"))}</p>{_table(labels, lines)}'
            f'<table class="lab-table lab-in-classes"><thead><tr><td></td>{head}</tr></thead><tbody>{classes}</tbody></table>')  # fmt: skip


def _listed(found: list[dict[str, Any]], language: str) -> str:
    named = [say(language, f"inside.{key}") for key in ("text", "right", "given", "chance", "loss")]
    value: Callable[[Any], str] = lambda one: "" if one is None else f"{one:.3f}"  # noqa: E731
    return _rows_table(
        named, [[row["text"], row.get("reference", ""), row.get("prediction", ""), value(row.get("chance")), value(row.get("loss"))] for row in found]
    )


def _rows_table(columns: Sequence[str], lines: Sequence[Sequence[Any]]) -> str:
    head = "".join(f'<th scope="col">{esc(column)}</th>' for column in columns)
    body = "".join("<tr>" + "".join(f"<td>{esc(cell)}</td>" for cell in line) + "</tr>" for line in lines)
    return f'<div class="lab-in-scroll" tabindex="0"><table class="lab-table lab-in-rows"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def _filtered(table: str, language: str) -> str:
    """A list with a field that leaves the rows with some words."""
    words = esc(say(language, "inside.filter"))
    return f'<input type="search" class="lab-in-filter" placeholder="{words}" aria-label="{words}">{table}'
