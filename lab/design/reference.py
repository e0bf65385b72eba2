"""docs/methods.md, written from the presets: `python -m lab.design.reference` rewrites it, `--check` says whether it is current."""

from __future__ import annotations

import sys
from pathlib import Path

from lab.design.figure.equation import latex
from lab.design.method.delta import Delta, Method
from lab.design.method.forms import FORMS
from lab.design.method.named import load_method
from lab.design.presets.catalogue import names
from lab.design.space import KINDS

PAGE = Path(__file__).resolve().parents[2] / "docs" / "methods.md"


def page() -> str:
    """The whole page as Markdown."""
    lines = [
        "# The methods",
        "",
        "Written from `presets/methods/*.yaml` by `python -m lab.design.reference`; a test keeps it current.",
        "Every method is a list of deltas, points in the four dimensions of He et al. 2022, or a selection of the model's own weights.",
        "",
    ]
    methods = [load_method(name) for name in names("methods")]
    for kind, title in KINDS.items():
        found = [method for method in methods if method.kind == kind]
        if found:
            lines += [f"## {title}", ""]
            for method in found:
                lines += _method(method)
    return "\n".join(lines).rstrip() + "\n"


def _method(method: Method) -> list[str]:
    lines = [f"### {method.name} (`{method.preset}`)", "", method.summary, ""]
    if method.paper:
        link = f" [arXiv {method.paper.arxiv}](https://arxiv.org/abs/{method.paper.arxiv})" if method.paper.arxiv else ""
        lines += [f"{method.paper.cite}{', ' + method.paper.venue if method.paper.venue else ''}.{link}", ""]
    for equation in latex(method):
        lines += [f"$${equation}$$", ""]
    if method.deltas:
        lines += ["| form | representation | insertion | composition | options |", "|---|---|---|---|---|"]
        lines += [_row(delta) for delta in method.deltas] + [""]
    if method.select:
        options = ", ".join(f"{key} {value}" for key, value in method.select.model_dump().items() if key != "what")
        lines += [f"Selection: {method.select.what}{' (' + options + ')' if options else ''}.", ""]
    head = f", of a new task head {method.training.head_lr:g}" if method.training.head_lr else ""
    ratio = f", of second maps {method.training.lr_ratio:g} times that (LoRA+)" if method.training.lr_ratio != 1 else ""
    lines += [f"Default learning rate {method.training.lr:g}{ratio}{head}.", ""]
    if method.deviations:
        lines += ["Deviations from the paper:", "", *(f"- {text}" for text in method.deviations), ""]
    return lines


def _row(delta: Delta) -> str:
    form = FORMS[delta.form]
    skipped = {"at", "form", "insertion", "composition", "rank"}
    defaults = {**{name: info.get_default(call_default_factory=True) for name, info in Delta.model_fields.items()}, **form.defaults}
    options = [f"{form.rank_symbol}={delta.rank}"] if form.has_rank else []
    for name, value in delta.model_dump(mode="json", exclude_none=True).items():
        if name in skipped or value == defaults.get(name):
            continue
        options.append(f"{name} {_words(value)}")
    return f"| {delta.form} | {', '.join(delta.at)} | {delta.insertion} | {delta.composition} | {', '.join(options)} |"


def _words(value: object) -> str:
    if isinstance(value, dict):
        return value.get("name", "") + " (" + ", ".join(f"{k} {_words(v)}" for k, v in value.items() if k != "name") + ")"
    return " ".join(map(str, value)) if isinstance(value, list) else f"{value:g}" if isinstance(value, float) else str(value)


def main(arguments: list[str]) -> int:
    if "--check" in arguments:
        return int(not PAGE.exists() or PAGE.read_text(encoding="utf-8") != page())
    PAGE.write_text(page(), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
