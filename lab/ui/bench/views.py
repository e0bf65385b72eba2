"""What stands beside the knobs: what the method costs, how it reads in the paper's table, where it comes from."""

from __future__ import annotations

import math

from lab.design.figure import equation
from lab.design.method.count import Count
from lab.design.method.delta import Method
from lab.design.method.forms import FORMS
from lab.design.method.insertions import INSERTIONS
from lab.design.method.notes import notes as notes_on
from lab.design.method.selections import SELECTIONS
from lab.design.plain import numbers
from lab.ui.bench.assessment import Assessment
from lab.ui.shell.markup import esc, percent, weights
from lab.ui.words.refusals import refused
from lab.ui.words.table import deviation, of_preset, say


def costs(found: Assessment, language: str) -> str:
    """Trainable weights with a bar against the whole model, where they are, and what is wrong."""
    word = lambda key, **values: esc(say(language, key, **values))  # noqa: E731
    parts = [f"<h3>{word('costs.title')}</h3>"]
    if found.count:
        parts += _counted(found.count, language)
    elif not found.errors and found.method:
        parts.append(f'<p class="lab-muted">{word("costs.unknown")}</p>')
    else:
        parts.append('<p class="lab-count">–</p>')
    parts.append(_problems(found, language))  # the one verdict: what is wrong, that the weights are not here, or (filled in by the memory plan) whether it fits
    if found.method and found.body and not found.errors:
        parts += [
            f'<p class="lab-note" data-field="method.{path}">{esc(refused(language, sentence))}</p>' for path, sentence in notes_on(found.method, found.body)
        ]
    return "".join(parts)


def _counted(count: Count, language: str) -> list[str]:
    word = lambda key, **values: esc(say(language, key, **values))  # noqa: E731
    share = min(100.0, 100 * count.trainable / max(1, count.total))
    length = 100 * max(0.0, 1 + math.log10(max(share, 1e-5) / 100) / 5)  # 0.001 % … 100 % on a log axis
    ticks = "".join(f'<span style="left:{20 * i}%">{label}</span>' for i, label in enumerate(("0.001 %", "0.01", "0.1", "1", "10", "100")) if i not in (0,))
    after = f' <span class="lab-after">→ {weights(count.final)}</span>' if count.final != count.trainable else ""
    parts = [
        f'<p class="lab-count" data-trainable="{count.trainable}">{weights(count.trainable, "num big")}{after} <span class="lab-share">{percent(count.percent)}</span></p>',
        f'<p class="lab-muted">{word("costs.of", total=numbers.weights(count.total))}</p>',
        f'<div class="lab-scale" role="img" aria-label="{word("costs.bar", percent=numbers.percent(count.percent))}"><i style="width:{length:.1f}%"></i></div>'
        f'<div class="lab-ticks" aria-hidden="true">{ticks}</div>',
    ]
    if len(count.by_delta) > 1:
        rows = "".join(
            f"<tr><td>{esc(_where(name, language))}</td><td>{weights(size)}</td></tr>" for name, size in count.by_delta.items() if size or not count.frozen
        )
        parts.append(f'<table class="lab-table lab-where"><tbody>{rows}</tbody></table>')
    facts = []
    if count.biases:
        facts.append(word("costs.biases", biases=numbers.weights(count.biases)))
    if count.final != count.trainable:
        facts.append(word("costs.final", final=f"{numbers.weights(count.final)} ({numbers.percent(100 * count.final / count.total)})"))
    if count.frozen:
        facts.append(word("costs.frozen", frozen=numbers.weights(count.frozen)))
    facts.append(word("costs.head"))
    return [*parts, f'<p class="lab-muted">{" ".join(facts)}</p>']


def _where(name: str, language: str) -> str:
    """A key of `Count.by_delta` in words: 'Δ1 slots at attn.heads', or what is selected."""
    index, _, rest = name.partition(" ")
    if not index.isdigit():
        kind = next((what for what, one in SELECTIONS.items() if one.counted == name), "")
        return say(language, f"select.{kind}") if kind else name
    form, _, places = rest.partition(" at ")
    label = FORMS[form].label_zh if language == "zh" and form in FORMS else f"{form} at"
    return f"Δ{int(index) + 1} {label} {places}"


def _problems(found: Assessment, language: str) -> str:
    if not found.errors:
        if absent := next((one for one in found.there.values() if one.state != "here"), None):
            return f'<p class="lab-note" role="status">{esc(refused(language, absent.words))}</p>'
        return f'<p class="lab-fine" role="status" data-verdict="asking">{esc(say(language, "costs.verdict.asking"))}</p>'
    rows = "".join(f'<li data-field="{esc(path)}">{esc(refused(language, sentence))}</li>' for path, sentence in found.errors[:6])
    return f'<ul class="lab-problems" role="alert">{rows}</ul>'


def table(method: Method, language: str) -> str:
    """The method's rows of the unified view's Table 1, as Markdown with LaTeX."""
    heads = [say(language, key) for key in ("table.method", "table.form", "table.insertion", "table.representation", "table.composition")]
    lines = ["| " + " | ".join(heads) + " |", "|" + "---|" * len(heads)]
    for delta in method.deltas:
        row = equation.table_row(delta)
        name = _cell(f"❄ {delta.frozen_from}") if delta.frozen_from else _cell(method.name) if delta is method.own[0] else ""
        insertion = INSERTIONS[delta.insertion].label_zh if language == "zh" else INSERTIONS[delta.insertion].label
        form = f"${row['form']}$" if not FORMS[delta.form].before_input else _cell(FORMS[delta.form].label)
        lines.append(f"| {name} | {form} | {insertion} | `{_cell(row['representation'])}` | ${row['composition']}$ |")
    if method.select:
        lines.append(f"| {_cell(method.name) if not method.deltas else ''} | – | – | {say(language, 'select.' + method.select.what)} | – |")
    return "\n".join(lines)


def _cell(text: str) -> str:
    """Text that stays text inside a Markdown table."""
    return "".join("\\" + letter if letter in "\\`*_{}[]()<>#+!|$~" else letter for letter in text.replace("\n", " "))


def notes(method: Method, language: str) -> str:
    """Summary, source and deviations of a method."""
    parts = [f"<p>{esc(of_preset(language, 'methods', method.preset or '', method.summary))}</p>"] if method.summary else []
    if method.paper:
        paper = method.paper
        link = (
            f' <a href="https://arxiv.org/abs/{esc(paper.arxiv)}" target="_blank" rel="noreferrer noopener">arXiv {esc(paper.arxiv)}</a>' if paper.arxiv else ""
        )
        parts.append(f'<p class="lab-muted">{esc(paper.cite)}. <cite>{esc(paper.title)}</cite>{". " if paper.title else ""}{esc(paper.venue)}.{link}</p>')
    if method.deviations:
        points = "".join(f"<li>{esc(deviation(language, text))}</li>" for text in method.deviations)
        parts.append(f"<details><summary>{esc(say(language, 'notes.deviations'))}</summary><ul>{points}</ul></details>")
    return "".join(parts)
