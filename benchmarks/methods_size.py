"""docs/methods-size.md: the files and lines of code that each method took: python benchmarks/methods_size.py [--check]

A preset's method is looked up in the registries: its forms, compositions, insertion forms, starts, rank allocations, schedules and selection, each one file in
lab/design/method, and what has the same name in lab/engine. A file that at least `SHARED` presets use is the mechanism, and no method's own.
Lines of code are those that are neither blank, comment nor docstring.
"""

from __future__ import annotations

import ast
import inspect
import statistics
import sys
from collections import Counter
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from lab.design.method.compositions import COMPOSITIONS  # noqa: E402
from lab.design.method.delta import Method  # noqa: E402
from lab.design.method.forms import FORMS  # noqa: E402
from lab.design.method.insertions import INSERTIONS  # noqa: E402
from lab.design.method.named import load_method  # noqa: E402
from lab.design.method.starts import STARTS  # noqa: E402
from lab.design.presets.catalogue import names  # noqa: E402
from lab.design.space import KINDS  # noqa: E402

PAGE, SHARED = ROOT / "docs" / "methods-size.md", 4


def main(arguments: list[str]) -> int:
    """Write the page; with --check, exit status 1 where it is not current."""
    text = page()
    if "--check" in arguments:
        return int(not PAGE.exists() or PAGE.read_text(encoding="utf-8") != text)
    PAGE.write_text(text, encoding="utf-8")
    return 0


def page() -> str:
    """The page as Markdown."""
    methods = sorted((load_method(name) for name in names("methods")), key=lambda method: (list(KINDS).index(method.kind), method.name.lower()))
    used = {method.preset: files(method) for method in methods}
    times = Counter(file for each in used.values() for file in each)
    rows, sizes = [], []
    for method in methods:
        own = [file for file in used[method.preset] if times[file] < SHARED]
        sizes.append(sum(map(code, own)))
        told = ", ".join(f"{file.relative_to(ROOT / 'lab')} ({code(file)})" for file in own) or "–"
        preset = ROOT / "presets" / "methods" / f"{method.preset}.yaml"
        rows.append(f"| {method.name} | {told} | {sizes[-1]} | {len(preset.read_text(encoding='utf-8').splitlines())} |")
    mechanism = sorted(file for file, count in times.items() if count >= SHARED)
    return "\n".join([
        "# What each method took",
        "",
        "Files of a method's own in lab/, their lines of code (neither blank, comment nor docstring), and the lines of its preset. A file that at least",
        f"{SHARED} presets use is the mechanism and no method's own: {', '.join(file.stem for file in mechanism)}. A file that two or three use counts for each.",
        "What a method needed in shared files besides (a name in a list, a PEFT type's tensors) is not counted. Written by `python benchmarks/methods_size.py`.",
        "",
        f"Median over the {len(sizes)} presets: {statistics.median(sizes):g} lines of code; over the {sum(map(bool, sizes))} that have files of their own: "
        f"{statistics.median([size for size in sizes if size]):g}.",
        "",
        "| method | files of its own | lines of code | lines of the preset |",
        "|---|---|---|---|",
        *rows,
    ]) + "\n"  # fmt: skip


def files(method: Method) -> list[Path]:
    """The files of what a method names, sorted."""
    named: list[Any] = [each for delta in method.deltas for each in (delta.schedule, delta.allocation) if each] + ([method.select] if method.select else [])
    for delta in method.deltas:
        named += [FORMS[delta.form], COMPOSITIONS[delta.composition], INSERTIONS[delta.insertion]]
        named += [STARTS[delta.init]] if delta.init in STARTS else []
    found = {Path(inspect.getfile(type(one))) for one in named}
    twins = {twin for file in found for twin in (ROOT / "lab" / "engine").rglob(f"{file.stem}.py") if twin.parent.name in ("engine", file.parent.name)}
    return sorted(found | twins)


def code(file: Path) -> int:
    """Lines of code of a file."""
    text = file.read_text(encoding="utf-8")
    tree = ast.parse(text)
    doc = {
        line
        for node in ast.walk(tree)
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef)) and ast.get_docstring(node) is not None
        for line in range(node.body[0].lineno, node.body[0].end_lineno + 1)
    }
    return sum(bool(line.strip()) and not line.strip().startswith("#") and number not in doc for number, line in enumerate(text.splitlines(), 1))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
