"""docs/fidelity.md: what each preset was compared with, the error, and what differs: python benchmarks/fidelity.py [--tests FILE ... | --page | --check]

Without a flag it runs the comparisons (tests/test_oracle_peft.py, tests/test_oracle_adapters.py where `make oracle` has made its environment,
and the tests with references of their own), keeps the worst errors in benchmarks/fidelity.json and writes the page from them and the
presets; with --tests only these files, beside what is known. --page writes the page alone; --check says by its exit status whether the page is that of the presets and results there are.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from lab.design.method.delta import Method  # noqa: E402
from lab.design.method.named import load_method  # noqa: E402
from lab.design.presets.catalogue import names  # noqa: E402
from lab.design.space import KINDS  # noqa: E402

RESULTS, PAGE = Path(__file__).with_name("fidelity.json"), ROOT / "docs" / "fidelity.md"
TESTS = (
    "test_oracle_peft.py",
    "test_oracle_adapters.py",
    "test_identities.py",
    "test_schedules.py",
    "test_sparse.py",
    "test_spectral.py",
    "test_dropout.py",
    "test_blocks.py",
    "test_combining.py",
    "test_references.py",
)
WITHOUT = "slow or generation or checkpointing or autocast or compiled or traced or deep_copy"  # tests there that compare nothing with a source


def main(arguments: list[str] | None = None) -> int:
    """Run the comparisons and write the page; exit status 1 where a comparison fails or, with --check, the page is not current."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--page", action="store_true", help="write the page from the results that there are")
    parser.add_argument("--check", action="store_true", help="exit status 1 where the page is not that of the presets and results")
    parser.add_argument("--tests", nargs="+", choices=TESTS, metavar="FILE", help=f"run these alone: {', '.join(TESTS)}")
    given = parser.parse_args(arguments)
    if given.check:
        return int(not PAGE.exists() or PAGE.read_text(encoding="utf-8") != page(kept()))
    status = 0 if given.page else compare(given.tests or TESTS)
    PAGE.write_text(page(kept()), encoding="utf-8")
    return status


def kept() -> dict[str, Any]:
    """{"comparisons": [{"method", "against", "what", "error", "on": models, "day"}]}."""
    return json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.exists() else {"comparisons": []}


def compare(files: Sequence[str]) -> int:
    """Run the comparisons of these test files; what was not run (other files, no adapters here) keeps its last result, with its day."""
    with tempfile.TemporaryDirectory(prefix="lab-fidelity-") as folder:
        found = Path(folder) / "found.json"
        tests = [str(ROOT / "tests" / name) for name in files]
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "-q", "-p", "no:randomly", "-k", f"not ({WITHOUT})", *tests],
            cwd=ROOT,
            env={**os.environ, "LAB_FIDELITY": str(found)},
            check=False,
        )
        rows = json.loads(found.read_text(encoding="utf-8"))
    now = {(row["method"], row["against"], row["what"]): {**row, "error": float(f"{row['error']:.2g}"), "day": time.strftime("%Y-%m-%d")} for row in rows}
    before = {(row["method"], row["against"], row["what"]): row for row in kept()["comparisons"]}
    merged = {**{key: row for key, row in before.items() if len(files) < len(TESTS) or row["against"].startswith("adapters")}, **now}
    RESULTS.write_text(json.dumps({"comparisons": [merged[key] for key in sorted(merged)]}, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return done.returncode


def page(results: dict[str, Any]) -> str:
    """The page as Markdown."""
    rows = results["comparisons"]
    lines = [
        "# True to the papers",
        "",
        "What each preset was compared with, how far apart it was, and where it differs from its paper or the authors' code. Written from the",
        "presets and benchmarks/fidelity.json; `python benchmarks/fidelity.py` runs the comparisons and writes both again (adapters' library needs",
        "`make oracle` first). Comparisons are on tiny random models in fp32 on a CPU, on the same weights and inputs. An error is the largest",
        "difference over the size of what is compared (at least 1), the worst over the models named; counts of tensors and steps are whole numbers.",
        "A preset without a comparison was not compared numerically here; what is known of it stands under what differs.",
        "",
        "| method | source | compared with | what | error | on | day |",
        "|---|---|---|---|---|---|---|",
    ]
    methods = sorted((load_method(name) for name in names("methods")), key=lambda method: (list(KINDS).index(method.kind), method.name.lower()))
    for method in methods:
        own = [row for row in rows if row["method"] == method.preset]
        for row in own or [None]:
            told = f"{row['against']} | {row['what']} | {row['error']:.1e} | {', '.join(row['on'])} | {row['day']}" if row else "– | – | – | – | –"
            told = told.replace(" 0.0e+00 ", " 0 ")
            lines.append(f"| [{method.name}](#{method.preset}) | {_source(method)} | {told} |")
    lines += ["", "# What differs", ""]
    for method in methods:
        lines += [f'<a id="{method.preset}"></a>', "", f"**{method.name}** (`{method.preset}`): " + ("" if method.deviations else "nothing that is known."), ""]
        lines += [*(f"- {text}" for text in method.deviations), *([""] if method.deviations else [])]
    return "\n".join(lines).rstrip() + "\n"


def _source(method: Method) -> str:
    if not method.paper:
        return "–"
    paper = f"[{method.paper.cite}](https://arxiv.org/abs/{method.paper.arxiv})" if method.paper.arxiv else method.paper.cite
    return f"{paper}, [{method.paper.code}](https://github.com/{method.paper.code})" if method.paper.code else paper


if __name__ == "__main__":
    sys.exit(main())
