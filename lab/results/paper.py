"""A comparison for a paper: its table as booktabs LaTeX and as Markdown, its methods' equations, and BibTeX of what they come from.

Only what presets know is written: an entry has title, venue, arXiv number, year and the authors whom the preset cites, "and others" where it names the first.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from lab.design.figure.equation import latex as equations_of
from lab.design.method import named
from lab.design.plain import numbers, peaks
from lab.design.plain.refusal import Refusal
from lab.results import compare
from lab.results.facts import counts, judged_on, measure_of, model_of, peak_kind, task_of
from lab.results.groups import Tested
from lab.runs import Run

SPECIAL = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "$": r"\$", "&": r"\&", "#": r"\#", "%": r"\%", "_": r"\_", "^": r"\textasciicircum{}", "~": r"\textasciitilde{}",
    "<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}", '"': r"\textquotedbl{}",
    "±": r"$\pm$", "×": r"$\times$", "·": r"$\cdot$", "−": r"$-$", "–": "--", "…": r"\ldots{}", "★": r"$\star$", "≤": r"$\leq$", "≥": r"$\geq$", "→": r"$\to$",
    "Δ": r"$\Delta$", "λ": r"$\lambda$", "σ": r"$\sigma$", "α": r"$\alpha$", "β": r"$\beta$", "μ": r"$\mu$", "∞": r"$\infty$", "³": r"$^3$", "²": r"$^2$",
}  # fmt: skip
HEADS = {
    "trainable": "weights",
    "percent": "share",
    "seconds": "time",
    "tokens_per_second": "tokens/s",
    "joules": "energy",
    "pscp": "PSCP",
}
WRITTEN = {"trainable": numbers.weights, "percent": numbers.percent, "peak_bytes": numbers.memory, "seconds": numbers.duration, "joules": numbers.energy,
           "tokens_per_second": lambda value: numbers.number(value, 3)}  # fmt: skip
PSCP = {"title": "PEFT-Bench: A Parameter-Efficient Fine-Tuning Methods Benchmark", "cite": "Belanec et al. 2025", "arxiv": "2511.21285", "venue": "arXiv",
        "authors": "Belanec, Robert and Pecher, Branislav and Srba, Ivan and Bielikova, Maria"}  # fmt: skip


def escape(text: Any) -> str:
    """Text as LaTeX prints it: the ten special characters, what T1 fonts lack in text, and signs that the lab writes as Unicode."""
    return "".join(SPECIAL.get(letter, letter) for letter in " ".join(str(text).split()))


def sheet(tested: Tested, names: Sequence[str], every: bool = False) -> tuple[list[str], list[list[tuple[str, str, bool]]]]:
    """(names of columns, rows of (text, deviation or "", starred)) of groups: name, seeds, what judges them, costs; `every`: other metrics too.

    Fractions are × 100, as papers print them. A group without a result has no row.
    """
    judging = compare.metric_of([run for group in tested.groups for run in group.runs])
    first = judging.name if judging else ""
    columns = [column for column in compare.columns(tested.groups) if every or column.name == first or column.name in compare.COSTS]
    rows = []
    for place, group in enumerate(tested.groups):
        if not group.by_seed:
            continue
        cells = [(names[place], "", False), (str(len(group.by_seed) or numbers.UNKNOWN), "", False)]
        for column in columns:
            mean, spread = column.means[place], column.deviations[place]
            cells.append((*_cell(column.name, mean, spread), column.name == first and place in tested.stars))
        rows.append(cells)
    return ["method", "seeds", *(column.name for column in columns)], rows


def scale(name: str) -> float:
    """What a metric is printed times: 100 for a fraction."""
    metric = measure_of(name)
    return 100.0 if metric and metric.fraction else 1.0


def head(name: str, tested: Tested) -> str:
    """A column's heading."""
    if name == "peak_bytes":
        return peaks.WORDS[peak_kind(run for group in tested.groups for run in group.runs)]
    return HEADS.get(name, name.replace("_", " ") + (" (×100)" if scale(name) == 100 else ""))


def _cell(name: str, mean: float | None, spread: float | None) -> tuple[str, str]:
    if mean is None:
        return numbers.UNKNOWN, ""
    write = WRITTEN.get(name)
    if write:
        return write(mean), write(spread) if spread else ""
    if scale(name) == 100:
        return f"{100 * mean:.1f}", "" if spread is None else f"{100 * spread:.1f}"
    return numbers.number(mean), "" if spread is None else numbers.number(spread, 2)


def latex_table(tested: Tested, names: Sequence[str], caption: str = "", every: bool = False) -> str:
    """A booktabs table (\\usepackage{booktabs}); ★ as a superscript. `caption`: "": what was measured on what."""
    heads, rows = sheet(tested, names, every)
    lines = [
        r"\begin{table}",
        r"\centering",
        rf"\begin{{tabular}}{{l{'r' * (len(heads) - 1)}}}",
        r"\toprule",
        " & ".join(escape(head(name, tested)) for name in heads) + r" \\",
        r"\midrule",
    ]
    for row in rows:
        cells = [escape(text) + (rf" $\pm$ {escape(spread)}" if spread else "") + (r"$^{\star}$" if star else "") for text, spread, star in row]
        lines.append(" & ".join(cells) + r" \\")
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}", rf"\caption{{{escape(caption or _caption(tested))}}}", r"\end{table}", ""])


def _caption(tested: Tested) -> str:
    """What judges the runs, of which models on which tasks and rows."""
    runs = [run for group in tested.groups if group.by_seed for run in group.runs if counts(run)]
    metric = compare.metric_of(runs)
    named = [", ".join(dict.fromkeys(each(run) for run in runs)) for each in (model_of, task_of)]
    parts = sorted({found for run in runs if (found := judged_on(run)) and found[0] < found[1]})
    rows = "; judged on " + ", ".join(f"{some:,} of {whole:,}" for some, whole in parts) + " validation rows" if parts else ""
    stars = "; ★: nothing is significantly better" if tested.stars else ""
    return f"{metric.name if metric else 'Results'} of {named[0]} on {named[1]}, mean ± standard deviation over seeds{rows}{stars}." if runs else ""


def markdown_table(tested: Tested, names: Sequence[str], every: bool = False) -> str:
    """The same as a Markdown table."""
    heads, rows = sheet(tested, names, every)
    cell = lambda text: str(text).replace("\\", "\\\\").replace("|", "\\|").replace("\n", " ").replace("<", "&lt;")  # noqa: E731
    lines = ["| " + " | ".join(cell(head(name, tested)) for name in heads) + " |", "|---" + "|---:" * (len(heads) - 1) + "|"]
    for row in rows:
        lines.append("| " + " | ".join(cell(text) + (f" ± {cell(spread)}" if spread else "") + (" ★" if star else "") for text, spread, star in row) + " |")
    return "\n".join([*lines, ""])


def equations(tested: Tested, names: Sequence[str]) -> str:
    """Each group's equations with its numbers, as displayed maths under its name; a method that stands already is not written again."""
    parts: dict[str, str] = {}
    for group, name in zip(tested.groups, names, strict=True):
        if not group.by_seed:
            continue
        method = group.runs[0].spec.get("method")
        try:
            lines = equations_of(named.method_of(dict(method) if isinstance(method, dict) else str(method)))
        except (Refusal, ValueError, TypeError):
            continue
        body = "\n".join(_displayed(line) for line in lines)
        parts.setdefault(body, rf"\paragraph{{{escape(name)}}}")
    return "\n\n".join(f"{title}\n{body}" for body, title in parts.items()) + "\n"


LINE = 90  # letters of an equation that fit on a line of an article, of those tried


def _displayed(equation: str) -> str:
    """An equation on lines of its own: what would run over a page's edge is broken between its clauses."""
    clauses = equation.split(r",\quad ")
    if len(equation) <= LINE or len(clauses) == 1:
        return rf"\[ {equation} \]"
    rows = ",\\\\\n".join(f"  & {clause}" for clause in clauses)
    return f"\\[ \\begin{{aligned}}\n{rows}\n\\end{{aligned}} \\]"


def bibtex(runs: Sequence[Run]) -> str:
    """An entry for each paper that the runs' methods come from, and for the PSCP score where it was given; '' where none is known."""
    papers: dict[str, Mapping[str, Any]] = {}
    for run in runs:
        method = run.spec.get("method")
        paper = method.get("paper") if isinstance(method, dict) else None
        if isinstance(paper, dict) and paper.get("title"):
            papers.setdefault(str(paper.get("arxiv") or paper["title"]), paper)
    if any(counts(run) and compare.COST_OF["pscp"](run) is not None for run in runs):
        papers.setdefault(PSCP["arxiv"], PSCP)
    keys: dict[str, int] = {}
    return "\n".join(_entry(paper, keys) for paper in papers.values())


def _authors(who: str) -> str:
    """Who is cited ("Ben Zaken et al.", "Li and Liang"), as BibTeX reads names: a family name of two words in braces, since its first word would be a given name."""
    names = re.sub(r" et al\.?$", " and others", who).split(" and ")
    return " and ".join(f"{{{escape(name)}}}" if " " in name else escape(name) for name in names)


def _entry(paper: Mapping[str, Any], keys: dict[str, int]) -> str:
    cite = str(paper.get("cite") or "")
    year = re.search(r"(?:19|20)\d\d", cite) or re.search(r"(?:19|20)\d\d", str(paper.get("venue") or ""))
    who = re.sub(r"\s*(?:19|20)\d\d.*$", "", cite)  # "He et al.", "Li and Liang"
    first = re.sub(r"[^A-Za-z]", "", cite.split()[0] if cite else "paper").lower() or "paper"
    word = next((word for word in re.findall(r"[A-Za-z]{4,}", str(paper["title"]))), "work").lower()
    key = f"{first}{year.group() if year else ''}{word}"
    keys[key] = keys.get(key, 0) + 1
    key += "" if keys[key] == 1 else chr(ord("a") + keys[key] - 1)
    facts = {
        "author": escape(paper["authors"]) if paper.get("authors") else _authors(who),
        "title": f"{{{escape(paper['title'])}}}", "year": year.group() if year else "", "howpublished": escape(paper.get("venue") or ""),
        "eprint": escape(paper.get("arxiv") or ""), "archiveprefix": "arXiv" if paper.get("arxiv") else "",
        "url": f"https://github.com/{paper['code']}" if re.fullmatch(r"[\w.-]+/[\w.-]+", str(paper.get("code") or "")) else "",
    }  # fmt: skip
    return "@misc{" + key + ",\n" + "".join(f"  {name} = {{{value}}},\n" for name, value in facts.items() if value) + "}\n"
