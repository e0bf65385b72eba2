"""The gallery of methods: a card per preset, the map of the space, and what lies further than one step. Nothing here reads the store."""

from __future__ import annotations

import functools
import re
from itertools import groupby

from lab.design.body.anatomy import anatomy
from lab.design.figure import equation
from lab.design.figure.figure import figure
from lab.design.method.delta import Method
from lab.design.method.named import load_method
from lab.design.method.nearest import Near, nearest, neighbours
from lab.design.plain import numbers
from lab.design.presets import catalogue
from lab.design.space import KINDS
from lab.models import resolve
from lab.results import published
from lab.ui.library import space_map as space
from lab.ui.shell.markup import esc
from lab.ui.words.table import deviation, of_preset, say, titled

SHOWN_ON = "minilm-l6"  # the bundled model: its block is what the figures show
DEFINITIONS = re.compile(r"<defs>.*?</defs>", re.DOTALL)


@functools.cache
def methods() -> dict[str, Method]:
    """Every method preset, family by family, the additive ones branch by branch."""
    found = {name: load_method(name) for name in catalogue.names("methods")}
    return dict(sorted(found.items(), key=lambda item: (list(KINDS).index(item[1].kind), item[1].name.lower())))


@functools.lru_cache(maxsize=2)
def gallery(language: str) -> str:
    """All cards as HTML inside one Markdown text (equations stand in it as LaTeX). Without blank lines, which would end the HTML."""
    parts = []
    for kind, group in groupby(methods().items(), key=lambda item: item[1].kind):
        cards = "".join(_card(name, method, language) for name, method in group)
        parts.append(
            f'<section class="lab-family" data-kind="{esc(kind)}"><h2 id="family-{esc(kind)}">{esc(say(language, "method." + kind))}</h2><div class="lab-gallery">{cards}</div></section>'
        )
    return f'<div class="lab-library">{_shared()}{"".join(parts)}</div>'.replace("\n", " ")


def _shared() -> str:
    """Arrow tips and patterns once for all figures: an id may stand in a page only once, and a hidden figure's cannot be used."""
    found = DEFINITIONS.search(figure(methods()["lora"]))
    return f'<svg class="lab-block" width="0" height="0" style="position:absolute" aria-hidden="true">{found.group() if found else ""}</svg>'


def _card(name: str, method: Method, language: str) -> str:
    words = " ".join(
        [
            name,
            method.name,
            titled(language, method.name),
            method.family,
            method.branch,
            say(language, "method." + method.kind),
            method.summary,
            of_preset(language, "methods", name, ""),
            method.paper.cite if method.paper else "",
        ]
    ).lower()
    body = anatomy(resolve(SHOWN_ON).config)
    formulas = "".join(f'<div class="lab-formula">$${esc(line)}$$</div>' for line in equation.latex(method, body))
    drawing = DEFINITIONS.sub("", figure(method, body, language))
    return (
        f'<article class="lab-card lab-method" id="method-{esc(name)}" data-words="{esc(words)}"><header><h3>{esc(titled(language, method.name))}</h3>'
        f'<span class="lab-gap"></span><a class="lab-button" href="present?method={esc(name)}" title="{esc(say(language, "present.open.help"))}">{esc(say(language, "present.open"))}</a>'
        f'<a class="lab-button" href="./?method={esc(name)}">{esc(say(language, "library.open"))}</a></header>'
        f'<div class="lab-thumb">{drawing}</div>{formulas}<p class="lab-summary">{esc(of_preset(language, "methods", name, method.summary))} <code>{esc(name)}</code></p>{_paper(method)}'
        f"{_steps(name, language)}{_deviations(method, language)}{_published(name, language)}</article>"
    )


def _paper(method: Method) -> str:
    paper = method.paper
    if not paper:
        return ""
    link = f' <a href="https://arxiv.org/abs/{esc(paper.arxiv)}" target="_blank" rel="noreferrer noopener">arXiv {esc(paper.arxiv)}</a>' if paper.arxiv else ""
    return f'<p class="lab-muted">{esc(paper.cite)}. <cite>{esc(paper.title)}</cite>{". " if paper.title else ""}{esc(paper.venue)}.{link}</p>'


def _deviations(method: Method, language: str) -> str:
    if not method.deviations:
        return ""
    rows = "".join(f"<li>{esc(deviation(language, text))}</li>" for text in method.deviations)
    return f"<details><summary>{esc(say(language, 'notes.deviations'))}</summary><ul>{rows}</ul></details>"


def _steps(name: str, language: str) -> str:
    """The methods one step away."""
    rows = []
    for one, other, step in neighbours():
        if name in (one, other):
            there, before, after = (other, step.before, step.after) if name == one else (one, step.after, step.before)
            rows.append(f'<li><a href="#method-{esc(there)}">{esc(titled(language, methods()[there].name))}</a>: {esc(_dimension(step.dimension, language))} '
                        f"<code>{esc(before)}</code> → <code>{esc(after)}</code></li>")  # fmt: skip
    return f'<p class="lab-muted">{esc(say(language, "library.step"))}</p><ul class="lab-near">{"".join(rows)}</ul>' if rows else ""


def _dimension(name: str, language: str) -> str:
    key = "dimension." + space.DIMENSIONS.get(name, "")
    return say(language, key) if key != "dimension." else name


def _published(name: str, language: str) -> str:
    found = published.of_method(name)
    if not found:
        return ""
    rows = []
    for (cite, table, setting, percent), group in groupby(found, key=lambda point: (point.cite, point.table, point.setting, point.percent)):
        results = " · ".join(f"{esc(point.task)} {esc(point.metric)} {point.value:g}" for point in group if point.value is not None) or numbers.UNKNOWN
        share = numbers.percent(percent) if percent is not None else numbers.UNKNOWN
        rows.append(
            f"<tr><td>{esc(cite)}, {esc(say(language, 'library.table', n=table) if table.isdigit() else table)}</td><td>{esc(setting)}</td><td class='right'>{esc(share)}</td><td>{results}</td></tr>"
        )
    heads = "".join(f"<th>{esc(say(language, key))}</th>" for key in ("library.source", "library.setting", "library.share", "library.values"))
    return (f'<details class="lab-published"><summary>{esc(say(language, "library.published", n=len(rows)))}</summary><div class="lab-scroll">'
            f'<table class="lab-table"><thead><tr>{heads}</tr></thead><tbody>{"".join(rows)}</tbody></table></div></details>')  # fmt: skip


@functools.lru_cache(maxsize=2)
def chart(language: str) -> str:
    """The map of the space with its legend, and the methods that are further from any other."""
    names = {name: titled(language, method.name) for name, method in methods().items()}
    used = dict.fromkeys(step.dimension for _, _, step in neighbours())
    legend = "".join(f'<span class="way {kind}"><i></i>{esc(_dimension(name, language))}</span>' for name, kind in space.DIMENSIONS.items() if name in used)
    return (f'<h3>{esc(say(language, "library.map"))}</h3><p class="lab-muted">{esc(say(language, "library.map.help"))}</p><div class="lab-ways">{legend}</div>'
            f'<div class="lab-scroll" tabindex="0">{space.svg(names, language)}</div>{_far(language)}')  # fmt: skip


def _far(language: str) -> str:
    joined = {name for one, other, _ in neighbours() for name in (one, other)}
    rows = []
    for name, method in methods().items():
        near = _closest(name) if name not in joined and method.deltas else None
        if near:
            steps = "; ".join(f"{_dimension(step.dimension, language)} {step.before or '–'} → {step.after or '–'}" for step in near.steps)
            rows.append(
                f'<tr><td><a href="#method-{esc(name)}">{esc(titled(language, method.name))}</a></td><td><a href="#method-{esc(near.preset)}">{esc(titled(language, near.name))}</a></td><td>{esc(steps)}</td></tr>'
            )
    heads = "".join(f"<th>{esc(say(language, key))}</th>" for key in ("table.method", "library.nearest", "library.steps"))
    return (f'<details><summary>{esc(say(language, "library.far"))}</summary><div class="lab-scroll"><table class="lab-table"><thead><tr>{heads}</tr></thead>'
            f'<tbody>{"".join(rows)}</tbody></table></div></details>')  # fmt: skip


@functools.cache
def _closest(name: str) -> Near | None:
    return next((near for near in nearest(methods()[name], 3) if near.preset != name and near.steps), None)
