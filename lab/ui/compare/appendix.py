"""Everything of a comparison that a paper needs, as one zip: tables, figures, equations, references, and what it takes to run it again."""

from __future__ import annotations

import importlib.metadata
import io
import json
import platform
import re
import sys
import time
import zipfile
from collections.abc import Callable, Sequence
from typing import Any

from lab import __version__
from lab.design.plain import peaks
from lab.design.plain.called import program
from lab.design.plain.refusal import Refusal
from lab.results import compare, examples, facts, groups, paper, pgfplots
from lab.results.statistics import ByRows
from lab.runs import Run
from lab.ui.compare import overlay, report
from lab.ui.shell import run_facts, verdicts
from lab.ui.words.table import say

PACKAGES = (
    "torch",
    "transformers",
    "accelerate",
    "datasets",
    "tokenizers",
    "safetensors",
    "numpy",
    "scipy",
    "scikit-learn",
    "sacrebleu",
    "rouge-score",
    "bitsandbytes",
    "codecarbon",
)
AXES = {"pareto_percent": "trained share (%)", "pareto_seconds": "time (s)"}
ENGLISH = "en"  # of what is packed
STAMP = (1980, 1, 1, 0, 0, 0)  # of every file in the zip, so that the same comparison is the same file
FORMS: dict[str, tuple[str, Callable[[groups.Tested, list[str]], str]]] = {  # what is taken away as a text: its file, and how it is made
    "latex": ("table.tex", paper.latex_table),
    "markdown": ("table.md", paper.markdown_table),
    "equations": ("equations.tex", paper.equations),
    "bibtex": ("references.bib", lambda tested, names: paper.bibtex([run for group in tested.groups for run in group.runs])),
}


def text_of(runs: Sequence[Run], form: str) -> str:
    """A comparison as one of FORMS. Raises Refusal for another one."""
    if form not in FORMS:
        raise Refusal("A comparison has no form '{form}'; there are {known}.", "form", form=form[:40], known=", ".join(FORMS))
    tested = groups.tested(groups.grouped(runs))
    return FORMS[form][1](tested, groups.names(tested.groups))


def appendix(runs: list[Run], made: str = "", baseline: str = "") -> bytes:
    """The zip. `made`: when, as text; `baseline`: the run whose setting the others are held against."""
    made = made or time.strftime("%Y-%m-%d %H:%M")
    tested = groups.tested(groups.grouped(runs))
    names = groups.names(tested.groups)
    place = next((place for place, group in enumerate(tested.groups) if any(run.id == baseline for run in group.runs)), None)
    against = tested.best() if place is None else place
    by_rows = {} if against is None else examples.differences(tested.groups, against)
    charts = overlay.of_runs(runs, grouped=True)["charts"]
    files = {file: make(tested, names) for file, make in FORMS.values()}
    files |= {
        "results.csv": compare.as_csv(runs),
        "differences.md": _differences(tested, names, place, by_rows),
        "tests.json": _json({**groups.document(tested, names), "rows": [{"one": against, "other": other, **vars(each)} for other, each in by_rows.items()]}),
        "runs.json": _json([_run(run) for run in runs]),
        "report.html": report.report(runs, charts, "en", made, baseline),
        "README.md": _readme(runs, made),
        **{f"specs/{run.id}.yaml": run_facts.spec_yaml(run) for run in runs},
        **_figures(runs, charts),
    }
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as file:
        for name in sorted(files):
            file.writestr(zipfile.ZipInfo(name, STAMP), files[name].encode("utf-8"), zipfile.ZIP_DEFLATED)
    return out.getvalue()


def _figures(runs: list[Run], charts: list[dict[str, Any]]) -> dict[str, str]:
    """Each chart as SVG and as pgfplots, and the parallel coordinates as SVG."""
    found: dict[str, str] = {}
    for chart in charts:
        title, file = report.caption(chart, "en"), re.sub(r"[^a-z0-9_-]+", "-", str(chart["id"]).lower())
        x = {**AXES, "pareto_peak_bytes": f"{peaks.WORDS[facts.peak_kind(runs)]} (B)"}.get(chart["id"], say(ENGLISH, "compare.along.step"))
        if drawn := report.plot(chart):
            found[f"figures/{file}.svg"] = _alone(drawn)
            found[f"figures/{file}.tex"] = pgfplots.picture(chart, title, x, title.partition(" ")[0] if chart.get("scatter") else title, report.place_of)
    if lines := report.parallel_drawing(runs, "en"):
        found["figures/parallel-coordinates.svg"] = _alone(lines)
    return found


def _alone(svg: str) -> str:
    """A drawing of the report as a file of its own."""
    return svg.replace("<svg ", '<svg xmlns="http://www.w3.org/2000/svg" font-family="sans-serif" font-size="11" ', 1)


def _differences(tested: groups.Tested, names: list[str], place: int | None, by_rows: dict[int, ByRows]) -> str:
    lines = verdicts.lines(tested, names, "en", place)
    against = tested.best() if place is None else place
    lines += [verdicts.by_rows(tested, each, against, other, names, ENGLISH) for other, each in by_rows.items() if against is not None]
    return "\n".join(
        [
            f"# {say(ENGLISH, 'answers.title')}",
            "",
            *(f"- {line}" for line in lines),
            "",
            verdicts.stars(tested, "en"),
            "",
            verdicts.by_which_test(tested, ENGLISH),
            "",
        ]
    )


def _run(run: Run) -> dict[str, Any]:
    """What a run came to and what it took, whatever became of it."""
    result = run.result
    return {
        "run": run.id, "name": run.name, "state": run.state, "no_result": facts.why_not(run), "model": facts.model_of(run), "task": facts.task_of(run), "method": facts.method_of(run),
        "seed": run.spec.get("seed"), "best": result.get("best"), "final": result.get("metrics"), "test": result.get("test"), "judge": result.get("judge"),
        "rows": {name: result.get(name) for name in ("train_rows", "validation_rows", "evaluation_rows", "judged_rows")},
        "costs": {name: find(run) for name, find in facts.COST.items()}, "steps": result.get("steps"), "energy": result.get("energy"), "device": result.get("device"),
        "host": run.host, "created": run.created, "origins": run.spec.get("origins"),
    }  # fmt: skip


def _json(document: Any) -> str:
    return json.dumps(document, ensure_ascii=False, indent=1, default=str) + "\n"


def _readme(runs: list[Run], made: str) -> str:
    joules = [value for run in runs if (value := facts.joules(run)) is not None]
    seconds = [value for run in runs if (value := facts.seconds(run)) is not None]
    used = f"{sum(seconds):.0f} s of runs" + (f", {sum(joules):.0f} J in the {len(joules)} runs whose energy was measured or estimated" if joules else "")
    seeds = ", ".join(map(str, dict.fromkeys(run.spec.get("seed") for run in runs)))
    return f"""# Comparison of {len(runs)} runs

Made {made} by Delta Lab {__version__}.

- table.tex, table.md: mean ± deviation over seeds; needs \\usepackage{{booktabs}}
- differences.md, tests.json: which differences are real, with intervals and p values
- figures/: every chart as SVG and as pgfplots code (\\usepackage{{pgfplots}}, \\usepgfplotslibrary{{fillbetween}}, \\pgfplotsset{{compat=1.18}}), colours included
- equations.tex, references.bib: of the methods used; needs \\usepackage{{amsmath,amssymb}}; a preset names its paper's first author, so entries say "and others"
- results.csv, runs.json: every run with its numbers, seed, device, costs and energy; report.html: the same to read
- specs/: each run's frozen specification. To run one again: {program()} run --spec specs/{runs[0].id if runs else "RUN"}.yaml

Seeds: {seeds}. Cost: {used}.

Versions where this was packed (a run's own device is in runs.json): Python {platform.python_version()} on {sys.platform} {platform.machine()}, {_versions()}.
"""


def _versions() -> str:
    found = []
    for name in PACKAGES:
        try:
            found.append(f"{name} {importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:
            continue
    return ", ".join(found)
