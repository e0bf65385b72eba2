"""How the code reads: names of things, files and functions of a size that one can hold in the head."""

from __future__ import annotations

import ast
import functools
import re
from collections import defaultdict
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
FILES = sorted((ROOT / "lab").rglob("*.py"))
VERBS = {"told", "said", "plain", "shown"}  # what happened to a value, where its name is to say what it is
PLAYFUL = {"mourn", "bury", "heed"}
LINES, FUNCTION = 400, 60
LONG = {"_import": "a flag a line", "_carrier": "an actor of Ray is shipped as one class"}  # function: why it may be longer


def ids(path: Path) -> str:
    return str(path.relative_to(ROOT))


@functools.cache
def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def bound(tree: ast.AST) -> list[tuple[str, int]]:
    """Every name that a file gives to a variable, an argument or an attribute."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            found.append((node.id, node.lineno))
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            found.append((node.attr, node.lineno))
        elif isinstance(node, ast.arg):
            found.append((node.arg, node.lineno))
    return found


def nodes(*kinds: type) -> list[tuple[Path, ast.AST]]:
    return [(path, node) for path in FILES for node in ast.walk(parsed(path)) if isinstance(node, kinds)]


def test_names_name_things() -> None:
    wrong = [f"{ids(path)}:{line}: '{name}' does not say what it holds" for path in FILES for name, line in bound(parsed(path)) if name.strip("_") in VERBS]
    for path, node in nodes(ast.FunctionDef, ast.AsyncFunctionDef):
        if PLAYFUL & set(node.name.split("_")):
            wrong.append(f"{ids(path)}:{node.lineno}: {node.name}")
    assert FILES and wrong == []


def test_nothing_is_defined_twice() -> None:
    """Two of one name in one place, as a merge leaves them: the first is dead."""
    wrong = []
    for path, node in nodes(ast.Module, ast.ClassDef):
        defined = [
            each.name
            for each in node.body
            if isinstance(each, (ast.FunctionDef, ast.ClassDef)) and not any(".setter" in ast.unparse(d) for d in each.decorator_list)
        ]
        wrong += [f"{ids(path)}: {name}" for name in sorted({name for name in defined if defined.count(name) > 1})]
    assert wrong == []


def test_files_and_functions_are_short() -> None:
    scripts = [path for path in (ROOT / "lab").rglob("*") if path.suffix in (".js", ".css")]
    lines = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in [*FILES, *scripts]}
    wrong = [f"{ids(path)} has {count} lines, more than {LINES}" for path, count in lines.items() if count > LINES]
    for path, node in nodes(ast.FunctionDef, ast.AsyncFunctionDef):
        if node.name not in LONG and node.end_lineno - node.lineno >= FUNCTION:
            wrong.append(f"{ids(path)}:{node.lineno}: {node.name} has more than {FUNCTION} lines")
    assert scripts and wrong == []


def test_no_two_classes_of_one_name() -> None:
    """Of those that other files may import."""
    homes = defaultdict(list)
    for path in FILES:
        for node in parsed(path).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                homes[node.name].append(ids(path))
    twice = {name: where for name, where in homes.items() if len(where) > 1}
    assert not twice, twice


def test_comments_point_at_files_that_are_there() -> None:
    """A name in capitals with .md, or a path of docs/ or tests/, in a comment or docstring."""
    for path in FILES + sorted((ROOT / "tests").rglob("*.py")):
        for name in re.findall(
            r"(?<![\w/.-])((?:docs|tests|benchmarks|presets|lab)/[\w/.-]+\.(?:py|md|yaml|json)|[A-Z]{3,}\.md)\b", path.read_text(encoding="utf-8")
        ):
            assert (ROOT / name).exists(), f"{path} points at {name}"
