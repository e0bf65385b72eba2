"""How the code reads: names of things, files and functions of a size that one can hold in the head."""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FILES = sorted((ROOT / "lab").rglob("*.py"))
VERBS = {"told", "said", "plain", "shown"}  # what happened to a value, where its name is to say what it is
PLAYFUL = {"mourn", "bury", "heed"}
LINES, FUNCTION = 400, 60
LONG = {"_import": "a flag a line", "_carrier": "an actor of Ray is shipped as one class"}  # function: why it may be longer


def ids(path: Path) -> str:
    return str(path.relative_to(ROOT))


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


@pytest.mark.parametrize("path", FILES, ids=ids)
def test_names_name_things(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for name, line in bound(tree):
        assert name.strip("_") not in VERBS, f"{path}:{line}: '{name}' does not say what it holds"
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            assert not PLAYFUL & set(node.name.split("_")), f"{path}:{node.lineno}: {node.name}"


@pytest.mark.parametrize("path", FILES, ids=ids)
def test_nothing_is_defined_twice(path: Path) -> None:
    """Two of one name in one place, as a merge leaves them: the first is dead."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, (ast.Module, ast.ClassDef)):
            defined = [
                each.name
                for each in node.body
                if isinstance(each, (ast.FunctionDef, ast.ClassDef)) and not any(".setter" in ast.unparse(d) for d in each.decorator_list)
            ]
            assert len(defined) == len(set(defined)), f"{path}: {sorted({name for name in defined if defined.count(name) > 1})}"


@pytest.mark.parametrize("path", FILES, ids=ids)
def test_files_and_functions_are_short(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= LINES, f"{path} has more than {LINES} lines"
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and node.name not in LONG:
            assert node.end_lineno - node.lineno < FUNCTION, f"{path}:{node.lineno}: {node.name} has more than {FUNCTION} lines"


@pytest.mark.parametrize("path", sorted(path for path in (ROOT / "lab").rglob("*") if path.suffix in (".js", ".css")), ids=ids)
def test_scripts_and_styles_are_short(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= LINES


def test_no_two_classes_of_one_name() -> None:
    """Of those that other files may import."""
    homes = defaultdict(list)
    for path in FILES:
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
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
